"""The egress guard: one filtering proxy process through which everything goes that a crawl fetches.

In comes a policy (one JSON line on standard input: hosts of one card, lab pairs, upstream, caps, a password), out goes
the port it listens on (first line of standard output) and then one line per refusal. Each request is checked anew
(`vault/egress.py`), so each hop of a redirect is too. It ends when its standard input ends: no parent, no way out. Its
one argument is how much of its log is wanted.

Wire: an HTTP proxy (RFC 9112, section 3.2.2 absolute-form and 3.2.3 CONNECT) on loopback. A connection goes on after a
plain answer whose length is beyond doubt, and each of its requests is read and checked anew; any other ends with it.
A refusal is a 403 with the code as its reason phrase and in a header `X-Facewarden-Refused`, which no site
can send: the head of every plain answer is read strictly and written anew. (What comes through a tunnel is the site's.)
"""

import asyncio
import base64
import contextlib
import hmac
import json
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Awaitable

import h11

from vault.egress import REFUSAL_TEXT, STREAM_BYTES, Dialler, Policy, Target, parse_authority, parse_target
from vault.errors import EgressRefused
from vault.log import get_logger, set_up_logging
from vault.urls import show_url

USER = "crawl"
HEAD_SECONDS = 20.0
IDLE_SECONDS = 60.0
LONGEST_PLACE = 200  # letters of what was asked for, as a refusal shows it
METHODS = {b"GET", b"HEAD", b"OPTIONS", b"CONNECT"}  # those that read (RFC 9110, section 9.2.1), and tunnels
HOP_HEADERS = {b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
               b"trailer", b"upgrade"}  # fmt: skip
OUR_HEADERS = b"x-facewarden-"
NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:")  # of a field, as RFC 9110 has it (5.1): no space before its colon
LENGTH = re.compile(rb"[0-9]{1,15}")
BODILESS = (b"204", b"304")
STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: [^\r\n\0]*)?")
REWRITTEN_HEADERS = HOP_HEADERS | {b"host", b"transfer-encoding", b"content-length"}

log = get_logger(__name__)


class Guard:
    """The proxy itself. One a crawl."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self._dialler = policy, Dialler(policy)
        self._bytes = 0
        wanted = base64.b64encode(f"{USER}:{policy.password}".encode()).decode()
        self._authorization = f"Basic {wanted}".encode()

    async def serve(self) -> asyncio.Server:
        return await asyncio.start_server(self._handle, "127.0.0.1", 0, limit=STREAM_BYTES)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._serve_one(reader, writer):
                pass
        except (h11.RemoteProtocolError, asyncio.IncompleteReadError, TimeoutError, OSError) as exc:
            log.info("a connection ended early", error=type(exc).__name__)
        except asyncio.CancelledError:  # the guard ends; asyncio of Python 3.11 would log it as an error of ours
            log.info("a connection ended with the guard")
        finally:
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):  # the guard may end while this does
                await writer.wait_closed()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request, checked and answered. May the connection go on after it?"""
        place = "-"
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                data = await reader.read(STREAM_BYTES)
            if not data:
                return False
            async with asyncio.timeout(HEAD_SECONDS):
                request, alone = await self._read_request(data, reader)
            headers = dict(request.headers)
            if not hmac.compare_digest(headers.get(b"proxy-authorization", b""), self._authorization):
                await self._reply(writer, 407, "password wanted", [b'Proxy-Authenticate: Basic realm="facewarden"'])
                return False
            place = show_url(request.target.decode("ascii", "replace"))[:LONGEST_PLACE]
            if request.method not in METHODS:
                raise EgressRefused("method_refused", request.method.decode("ascii", "replace")[:20])
            if request.method == b"CONNECT":
                await self._tunnel(parse_authority(request.target.decode("ascii", "replace"), None), reader, writer)
                return False
            return await self._forward(request, writer) and alone
        except EgressRefused as exc:
            self._tell(exc, place)
            await self._reply(writer, 403, exc.case, [])
            return False

    async def _read_request(self, data: bytes, reader: asyncio.StreamReader) -> tuple[h11.Request, bool]:
        """One whole request that begins with `data`, and whether nothing came behind it: pipelined bytes are never read
        as a request (request smuggling). Raises EgressRefused: method_refused, for one with a body."""
        wire = h11.Connection(h11.SERVER, max_incomplete_event_size=STREAM_BYTES)
        wire.receive_data(data)
        request: h11.Request | None = None
        while True:
            event = wire.next_event()
            if event is h11.NEED_DATA:
                wire.receive_data(await reader.read(STREAM_BYTES))
            elif isinstance(event, h11.Request):
                request = event
                if event.method == b"CONNECT":
                    return event, False
            elif isinstance(event, h11.Data):
                raise EgressRefused("method_refused", "a request with a body")
            else:
                assert request is not None
                return request, not wire.trailing_data[0]

    async def _forward(self, request: h11.Request, writer: asyncio.StreamWriter) -> bool:
        """Returns whether the answer was as long as its head says, so that another may follow it."""
        url = request.target.decode("ascii", "replace")
        if not url.lower().startswith("http:"):
            raise EgressRefused("scheme_refused", "https goes through CONNECT")
        target, path = parse_target(url)
        host = target.name if target.port == 80 else target.pair
        upstream_reader, upstream = await self._dialler.dial(target)
        try:
            lines = [request.method + b" " + path.encode() + b" HTTP/1.1", b"Host: " + host.encode()]
            headers = request.headers.raw_items()
            lines += [name + b": " + value for name, value in headers if name.lower() not in REWRITTEN_HEADERS]
            upstream.write(b"\r\n".join([*lines, b"Connection: close", b"", b""]))
            async with asyncio.timeout(IDLE_SECONDS):
                lines = await read_head(upstream_reader)
            length = None if request.method == b"HEAD" else find_length(lines)
            writer.write(write_head(lines, goes_on=length is not None))
            async with asyncio.timeout(self.policy.most_seconds):
                return await self._copy(upstream_reader, writer, length)
        finally:
            upstream.close()

    async def _tunnel(self, target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream = await self._dialler.dial(target)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            await asyncio.wait_for(
                _first_done(self._copy(upstream_reader, writer), self._copy(reader, upstream)),
                self.policy.most_seconds,
            )
        finally:
            upstream.close()

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, length: int | None = None
    ) -> bool:
        """As many bytes as there are, or exactly `length`: what a site sends behind them is dropped, since it would be
        read as the next answer. Returns whether there were `length`."""
        while length != 0:
            async with asyncio.timeout(IDLE_SECONDS):
                data = await reader.read(STREAM_BYTES if length is None else min(STREAM_BYTES, length))
            if not data:
                return False
            self._bytes += len(data)
            if self._bytes > self.policy.most_bytes:
                self._tell(EgressRefused("budget_spent"), "-")
                return False
            writer.write(data)
            await writer.drain()
            length = None if length is None else length - len(data)
        return True

    async def _reply(self, writer: asyncio.StreamWriter, status: int, reason: str, headers: list[bytes]) -> None:
        text = REFUSAL_TEXT.get(reason, reason).encode()
        lines = [f"HTTP/1.1 {status} {reason}".encode(), *headers, b"X-Facewarden-Refused: " + reason.encode()]
        lines += [b"Content-Type: text/plain", b"Content-Length: %d" % len(text), b"Connection: close", b"", text]
        with contextlib.suppress(OSError):
            writer.write(b"\r\n".join(lines))
            await writer.drain()

    def _tell(self, refusal: EgressRefused, place: str) -> None:
        """One line to the parent, which keeps it in the ledger."""
        log.info("refused", code=refusal.case, place=place, detail=refusal.message)
        print(json.dumps({"refused": refusal.case, "place": place}), flush=True)  # noqa: T201  this is the protocol


async def _first_done(*ways: Awaitable[object]) -> None:
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def read_head(reader: asyncio.StreamReader) -> list[bytes]:
    """The lines of a response's head, interim responses (RFC 9110, section 15.2) passed over. Raises EgressRefused:
    unreachable for no answer at all, answer_invalid for one that parsers could read differently."""
    size = 0
    lines: list[bytes] = []
    while True:
        try:
            line = await reader.readuntil(b"\n")
        except asyncio.LimitOverrunError as exc:
            raise EgressRefused("answer_invalid", "a line over 64 KiB in its head") from exc
        except asyncio.IncompleteReadError as exc:
            code = "answer_invalid" if size or exc.partial else "unreachable"
            raise EgressRefused(code, "it ends before its head does") from exc
        size += len(line)
        if size > STREAM_BYTES:
            raise EgressRefused("answer_invalid", "a head over 64 KiB")
        text = line[:-2]
        if not line.endswith(b"\r\n") or b"\r" in text or b"\0" in text:
            raise EgressRefused("answer_invalid", "a line that does not end as HTTP's do")
        if text:
            lines.append(text)
            continue
        found = STATUS_LINE.fullmatch(lines[0]) if lines else None
        if found is None or found[1] == b"101":
            raise EgressRefused("answer_invalid", "no status line of HTTP/1")
        if not found[1].startswith(b"1"):
            return lines
        lines = []


def find_length(lines: list[bytes]) -> int | None:
    """How long the body behind this head is (RFC 9112, section 6.3), None where only the connection's end would tell or
    two parsers could differ."""
    if not lines[0].startswith(b"HTTP/1.1 "):
        return None
    fields = [line.partition(b":") for line in lines[1:]]
    names = [name.strip().lower() for name, _, _ in fields]
    if b"transfer-encoding" in names or not all(NAME.match(line) for line in lines[1:]):
        return None
    lengths = [value.strip() for name, (_, _, value) in zip(names, fields, strict=True) if name == b"content-length"]
    if lines[0].split(b" ")[1] in BODILESS:
        return 0
    return int(lengths[0]) if len(lengths) == 1 and LENGTH.fullmatch(lengths[0]) else None


def write_head(lines: list[bytes], *, goes_on: bool = False) -> bytes:
    """A response head without hop-by-hop headers and without ours, saying whether the connection ends with it."""
    kept: list[bytes] = []
    keep = False
    for line in lines[1:]:
        if line[:1] not in b" \t":  # else it goes on with the header before (RFC 9112, section 5.2)
            name = line.split(b":", 1)[0].strip().lower()
            keep = name not in HOP_HEADERS and not name.startswith(OUR_HEADERS)
        if keep:
            kept.append(line)
    return b"\r\n".join([lines[0], *kept, b"Connection: keep-alive" if goes_on else b"Connection: close", b"", b""])


async def run_guard(policy: Policy) -> None:
    """Serve until standard input ends or somebody asks us to stop."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    threading.Thread(target=watch_input, args=(loop, ended), daemon=True).start()
    server = await Guard(policy).serve()
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)  # noqa: T201
    log.info("guard listens", hosts=list(policy.hosts), lab=list(policy.lab), upstream=bool(policy.upstream))
    started = time.monotonic()
    await ended.wait()
    server.close()
    log.info("guard ends", seconds=round(time.monotonic() - started, 1))


def watch_input(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    """The end of standard input is the end of our parent. Read bare: the lock of `sys.stdin` would outlive the loop."""
    while os.read(0, 4096):
        pass
    with contextlib.suppress(RuntimeError):  # the loop has ended already
        loop.call_soon_threadsafe(ended.set)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends our parent, which then ends us
    wanted = sys.argv[1] if len(sys.argv) > 1 else "INFO"
    set_up_logging("guard", level=logging.getLevelNamesMapping().get(wanted, logging.INFO), to=sys.stderr)
    asyncio.run(run_guard(Policy.from_json(sys.stdin.readline())))


if __name__ == "__main__":
    main()
