"""The web server's outer edge: who may come in, and for how long they may take. In come connections, out go requests.

uvicorn has no limit for a head that drips, none for one visitor's connections, and drops an answer when it closes on a
body that is still coming. So its protocol is made stricter here: deadlines for head and answer, caps in all and for
each network (whoever has sent no whole request yet makes room), and a moment to read on after a refusal.
"""

import asyncio
import logging
import resource
from collections import Counter
from dataclasses import dataclass, replace
from enum import Enum
from http import HTTPStatus
from ipaddress import ip_address, ip_network
from typing import Any, ClassVar

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from dashboards.app import make_app
from dashboards.headers import HEADERS
from dashboards.limits import MOST_HEAD, RETRY_SECONDS
from dashboards.pages import TROUBLES
from vault.addresses import name_network
from vault.settings import Settings

DESCRIPTORS = 65_536  # that we ask the system for
OTHER_DESCRIPTORS = 128  # what a process needs beside connections: libraries, database, box, Redis
BACKLOG = 128  # connections that are taken in one go, before any of them is looked at
SWEEP_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """What a connection may take: seconds, and how many there may be."""

    head: float = 10.0  # from the connection, or the first byte of the next request, until the head is whole
    answer: float = 60.0  # from then until the answer is written; the body has a deadline of its own (limits.py)
    idle: float = 5.0  # between two requests
    flush: float = 30.0  # for a client to take the answer
    linger: float = 15.0  # that we read on after refusing a body, so that the client gets to see why
    most: int = 1_000
    most_of_network: int = 128  # of one /24 or /56


class Phase(Enum):
    HEAD = 1  # a request is yet to come whole
    ANSWER = 2
    IDLE = 3  # answered
    LINGER = 4  # refused; what still comes is thrown away


class Door(H11Protocol):
    """One connection. `late_at`: when it has taken too long, by the loop's clock."""

    keeper: ClassVar["Doorkeeper"]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.phase = Phase.HEAD
        self.late_at = self.loop.time() + self.keeper.terms.head
        self.wire = transport
        super().connection_made(Curtain(transport, self))
        if not self.keeper.admit(self):
            self.refuse("busy")

    def connection_lost(self, exc: Exception | None) -> None:
        self.keeper.forget(self)
        super().connection_lost(exc)

    @property
    def host(self) -> str:
        return self.client[0] if self.client else ""

    @property
    def is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def is_waiting(self) -> bool:
        """Is it we who wait, for the rest of a request, for another one, or for an answer to be taken?"""
        return not self.is_answering or self.conn.their_state is h11.SEND_BODY

    def data_received(self, data: bytes) -> None:
        if self.phase is Phase.LINGER or self.wire.is_closing():
            return
        if self.phase is Phase.IDLE:
            self._begin(Phase.HEAD, self.keeper.terms.head)
        super().data_received(data)
        if self.phase is Phase.HEAD and self.is_answering:
            self._begin(Phase.ANSWER, self.keeper.terms.answer)

    def on_response_complete(self) -> None:
        if self.phase is not Phase.LINGER:
            self._begin(Phase.IDLE, self.keeper.terms.flush)
        super().on_response_complete()  # may begin with a request that came right behind
        if self.phase is Phase.IDLE and self.is_answering:
            self._begin(Phase.ANSWER, self.keeper.terms.answer)

    def _begin(self, phase: Phase, seconds: float) -> None:
        self.phase, self.late_at = phase, self.loop.time() + seconds

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP; uvicorn's own answer has none of our headers."""
        if self.is_answering:
            self.wire.abort()
        else:
            self.refuse("request_malformed")

    def refuse(self, code: str) -> None:
        """Answer without having understood the request, and close."""
        self.wire.write(write_refusal(code))
        self.linger()

    def linger(self) -> None:
        """Say no more, but read on for a while: closing on bytes that nobody has read would take our answer with it."""
        self._begin(Phase.LINGER, self.keeper.terms.linger)
        self.flow.resume_reading()
        if self.wire.can_write_eof():
            self.wire.write_eof()

    def has_unread(self) -> bool:
        return self.conn.their_state in (h11.SEND_BODY, h11.ERROR)

    def expire(self) -> None:
        """It took too long."""
        if self.phase is Phase.HEAD and self.conn.trailing_data[0]:
            self.wire.write(write_refusal("request_timeout"))
            self._begin(Phase.LINGER, 0.0)  # the next time is the last
            self.wire.close()
        else:
            self.wire.abort()

    def shutdown(self) -> None:
        if self.phase is Phase.LINGER:
            self.wire.abort()
        else:
            super().shutdown()


class Curtain(asyncio.Transport):
    """The transport as uvicorn sees it: closing it while a body is still coming means to linger."""

    def __init__(self, wire: asyncio.Transport, door: Door) -> None:
        super().__init__()
        self._wire, self._door = wire, door

    def close(self) -> None:
        if self.is_closing():
            return
        if self._door.has_unread():
            self._door.linger()
        else:
            self._wire.close()

    def is_closing(self) -> bool:
        return self._door.phase is Phase.LINGER or self._wire.is_closing()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._wire.write(data)

    def pause_reading(self) -> None:
        self._wire.pause_reading()

    def resume_reading(self) -> None:
        self._wire.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._wire.get_extra_info(name, default)


class Doorkeeper:
    """Every connection of the server, in the order in which they came. `proxies`: hosts or networks whose connections
    are many visitors', so that they count in all only."""

    def __init__(self, terms: Terms, proxies: str = "") -> None:
        self.terms = terms
        self._proxies = [ip_network(each) for each in proxies.split()]
        self._doors: dict[Door, str] = {}
        self._of_network: Counter[str] = Counter()
        self._sweeping = False

    def admit(self, door: Door) -> bool:
        """May it stay? Somebody whose request has not come whole makes room for it, one of those of whom most are here,
        the oldest first."""
        network = name_network(door.host)
        if self._of_network[network] >= self.terms.most_of_network and not self._is_proxy(door.host):
            crowded = [each for each, of in self._doors.items() if of == network]
        elif len(self._doors) >= self.terms.most:
            crowded = list(self._doors)
        else:
            crowded = []
        if crowded and not self._make_room(crowded):
            return False
        self._doors[door] = network
        self._of_network[network] += 1
        if not self._sweeping:
            self._sweeping = True
            door.loop.call_later(SWEEP_SECONDS, self._sweep, door.loop)
        return True

    def forget(self, door: Door) -> None:
        network = self._doors.pop(door, None)
        if network is not None:
            self._of_network[network] -= 1
            if not self._of_network[network]:
                del self._of_network[network]

    def _is_proxy(self, host: str) -> bool:
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self._proxies)

    def _make_room(self, crowded: list[Door]) -> bool:
        waiting = [door for door in crowded if door.is_waiting]
        if not waiting:
            return False
        door = max(waiting, key=lambda each: self._of_network[self._doors[each]])
        self.forget(door)
        door.wire.abort()
        return True

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        for door in [door for door in self._doors if door.late_at <= loop.time()]:
            door.expire()
        self._sweeping = bool(self._doors)
        if self._sweeping:
            loop.call_later(SWEEP_SECONDS, self._sweep, loop)


def write_refusal(code: str) -> bytes:
    """An answer as it goes over the wire, for those whose request never reaches the application."""
    trouble = TROUBLES[code]
    status = HTTPStatus(trouble.status)
    body = f"{trouble.message}\n{code}\n".encode()
    headers = {
        **HEADERS,
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Length": str(len(body)),
        "Retry-After": str(RETRY_SECONDS),
        "Connection": "close",
    }
    lines = (f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in headers.items()))
    return "\r\n".join((*lines, "", "")).encode() + body


def raise_descriptor_limit() -> int:
    """As many descriptors as the system lets us have; how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft


def make_server(settings: Settings, app: FastAPI, terms: Terms) -> uvicorn.Server:
    """A server that is not started yet."""
    proxies = settings.web.proxies
    config = uvicorn.Config(
        app,
        host=settings.web.host,
        port=settings.web.port,
        http=type("DoorOfThisServer", (Door,), {"keeper": Doorkeeper(terms, proxies)}),
        ws="none",
        backlog=BACKLOG,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies.split(),
        h11_max_incomplete_event_size=MOST_HEAD,
        timeout_keep_alive=round(terms.idle),
        timeout_graceful_shutdown=10,
    )
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # it warns of every malformed request
    return uvicorn.Server(config)


def run_web(settings: Settings) -> None:
    """Serve until SIGTERM. A port in use ends it with exit code 1; the supervisor checks before.

    Raises KeyFileError.
    """
    terms = Terms()
    room = raise_descriptor_limit() - OTHER_DESCRIPTORS - 3 * BACKLOG  # some are on their way in, some on theirs out
    terms = replace(terms, most=max(1, min(terms.most, room)))
    make_server(settings, make_app(settings), terms).run()
