"""The doors of a real server: large, endless, slow and many requests are refused, and everybody else is served."""

import contextlib
import http.client
import re
import resource
import select
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fastapi import FastAPI

from bench.disturb import find_ports
from cli.supervisor import ROOT
from dashboards.app import list_routes, make_app
from dashboards.headers import HEADERS
from dashboards.limits import AT_ONCE, MOST_BODY, MOST_HERE, MOST_OF_NETWORK
from dashboards.server import Terms, make_server
from vault.keys import Keys
from vault.settings import Settings, child_environment

HOST = "127.0.0.1"
QUICK = Terms(head=1.5, answer=4.0, flush=1.5, linger=2.0)


@dataclass(kw_only=True)
class Running:
    """A server in a thread of this process."""

    port: int
    app: FastAPI
    threads: list[threading.Thread] = field(default_factory=list)


Serve = Callable[..., Running]


@pytest.fixture
def serve(settings: Settings, keys: Keys) -> Iterator[Serve]:
    with contextlib.ExitStack() as stack:

        def start(terms: Terms = QUICK, patience: float = 1.5, proxies: str = "") -> Running:
            own = settings.replace("web", port=find_ports(), proxies=proxies)
            app = make_app(own, patience=patience)
            server = make_server(own, app, terms)
            thread = threading.Thread(target=server.run)
            thread.start()

            def stop() -> None:
                server.should_exit = True
                thread.join(15)
                assert not thread.is_alive(), "it stops whatever its visitors do"

            stack.callback(stop)
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.02)
            return Running(port=own.web.port, app=app)

        yield start


@dataclass(frozen=True, kw_only=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


def connect(port: int, source: str = HOST) -> socket.socket:
    return socket.create_connection((HOST, port), 20, (source, 0))


def read(sock: socket.socket) -> Answer:
    """The next answer. Raises OSError, HTTPException."""
    answer = http.client.HTTPResponse(sock)
    answer.begin()
    return Answer(status=answer.status, headers={k.lower(): v for k, v in answer.getheaders()}, body=answer.read())


def ask(port: int, request: str | bytes, source: str = HOST) -> Answer:
    with connect(port, source) as sock:
        sock.sendall(request if isinstance(request, bytes) else request.encode())
        return read(sock)


def get(path: str = "/health", *headers: str) -> str:
    return "\r\n".join((f"GET {path} HTTP/1.1", f"Host: {HOST}", *headers, "", ""))


def post(path: str, body: str | bytes = b"", *headers: str, kind: str = "application/x-www-form-urlencoded") -> bytes:
    sent = body if isinstance(body, bytes) else body.encode()
    lines = (
        f"POST {path} HTTP/1.1",
        f"Host: {HOST}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(sent)}",
        *headers,
    )
    return "\r\n".join((*lines, "", "")).encode() + sent


def is_well(port: int, source: str = HOST) -> bool:
    return ask(port, get(), source).status == 200


def is_closed(sock: socket.socket, seconds: float) -> bool:
    """Does the server end it in this time, with or without a word?"""
    sock.settimeout(seconds)
    try:
        while sock.recv(65_536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def check_refusal(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, code.encode() in answer.body) == (status, True), answer
    assert {name: answer.headers[name.lower()] for name in HEADERS} == HEADERS
    assert b"Traceback" not in answer.body


# -- bodies ------------------------------------------------------------------------------------------------------------


def list_open_files() -> int:
    """Bytes of files that this process holds open without a name."""
    total = 0
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if str(path.readlink()).endswith("(deleted)"):
                total += path.stat().st_size
    return total


@pytest.mark.parametrize("length", [f"Content-Length: {1 << 40}", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize(
    "kind", ["multipart/form-data; boundary=xx", "application/x-www-form-urlencoded", "application/json"]
)
def test_a_body_without_end_is_refused_at_64_kb_and_nothing_of_it_is_kept(serve: Serve, kind: str, length: str) -> None:
    port, before = serve().port, list_open_files()
    with connect(port) as sock:
        sock.sendall(f"POST /me/link HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: {kind}\r\n{length}\r\n\r\n".encode())
        if "chunked" not in length:
            sock.sendall(b'--xx\r\nContent-Disposition: form-data; name="z"; filename="x"\r\n\r\n')
        block = b"a" * (1 << 20)
        for _ in range(64):  # we are heard out for a while, so that we get to read the answer
            sock.sendall(b"100000\r\n" + block + b"\r\n" if "chunked" in length else block)
        answer = read(sock)
        assert list_open_files() - before < 1 << 20
        assert is_well(port)
    assert answer.status in (413, 415)
    assert answer.headers["connection"] == "close"


def test_who_never_stops_sending_is_cut_off(serve: Serve) -> None:
    port = serve().port
    with connect(port) as sock:
        sock.sendall(f"POST /me/link HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {1 << 40}\r\n\r\n".encode())
        started, block = time.monotonic(), b"a" * (1 << 16)
        with pytest.raises(OSError):
            while time.monotonic() - started < 15:
                sock.sendall(block)
                time.sleep(0.01)
    assert time.monotonic() - started < 10


def fill(length: int) -> str:
    return "address=" + "a" * (length - len("address="))


def test_a_form_may_have_64_kb_and_not_a_byte_more(serve: Serve) -> None:
    port = serve().port
    assert ask(port, post("/me/link", fill(MOST_BODY))).status == 200
    check_refusal(ask(port, post("/me/link", fill(MOST_BODY + 1))), 413, "body_too_large")
    chunked = f"POST /me/link HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    chunked += "Transfer-Encoding: chunked\r\n\r\n"
    for length, status in ((MOST_BODY, 200), (MOST_BODY + 1, 413)):
        body = "".join(f"{len(part):x}\r\n{part}\r\n" for part in re.findall(".{1,5000}", fill(length)))
        assert ask(port, f"{chunked}{body}0\r\n\r\n").status == status


@pytest.mark.parametrize(
    "kind", ["multipart/form-data; boundary=xx", "application/json", "text/plain", "image/jpeg", "", "x; charset=x"]
)
def test_no_route_takes_anything_but_plain_forms(serve: Serve, kind: str) -> None:
    running = serve()
    routes = list_routes(running.app)
    assert len(routes) > 10
    for method, path in [*routes, ("PUT", "/"), ("POST", "/nowhere"), ("POST", "/static/x")]:
        request = post(re.sub(r"\{[^}]+\}", "x", path), '{"a": 1}', kind=kind).replace(b"POST", method.encode(), 1)
        check_refusal(ask(running.port, request), 415, "media_type_not_allowed")


def test_a_body_that_drips_has_an_end(serve: Serve) -> None:
    port = serve().port
    with connect(port) as sock:
        sock.sendall(post("/me/link", fill(1000))[:-990])
        started = time.monotonic()
        while not select_readable(sock, 0.1) and time.monotonic() - started < 10:
            sock.sendall(b"a")
        check_refusal(read(sock), 408, "request_timeout")
    assert 1.0 < time.monotonic() - started < 5.0


def select_readable(sock: socket.socket, seconds: float) -> bool:
    return bool(select.select([sock], [], [], seconds)[0])


# -- heads -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_text", "status", "code"),
    [
        (get("/", *(f"X-{n}: a" for n in range(70))), 431, "head_too_large"),
        (get("/", *(f"X-{n}: {'a' * 1000}" for n in range(17))), 431, "head_too_large"),
        (get("/" + "a" * 5000), 414, "path_too_long"),
        (get("/?" + "a" * 5000), 414, "path_too_long"),
        (get("/?page=1&page=2"), 400, "request_invalid"),
        (get("/?" + "&".join(f"{n}=1" for n in range(40))), 400, "request_invalid"),
        (post("/me/link", "address=a&address=b").decode(), 400, "request_invalid"),
        (post("/me/link", "&".join(f"{n}=1" for n in range(40))).decode(), 400, "request_invalid"),
        ("NONSENSE\r\n\r\n", 400, "request_malformed"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "request_malformed"),
        (get("/", "Content-Length: -1"), 400, "request_malformed"),
        (get("/", "Content-Length: 1", "Content-Length: 2"), 400, "request_malformed"),
        (get("/", "Content-Length: " + "9" * 30), 400, "request_malformed"),
        (get("/", "X: " + "a" * 300_000), 400, "request_malformed"),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "request_malformed"),
    ],
)
def test_a_request_that_cannot_be_ours_is_refused_with_a_code(
    serve: Serve, request_text: str, status: int, code: str
) -> None:
    port = serve().port
    check_refusal(ask(port, request_text), status, code)
    assert is_well(port)


@pytest.mark.parametrize("begin", ["", "G", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-a: "])
def test_a_head_that_does_not_come_whole_has_an_end(serve: Serve, begin: str) -> None:
    port = serve().port
    with connect(port) as sock:
        sock.sendall(begin.encode())
        started = time.monotonic()
        while not select_readable(sock, 0.1) and time.monotonic() - started < 10:
            with contextlib.suppress(OSError):
                sock.sendall(b"a" if len(begin) > 1 else b"")
        assert is_closed(sock, 3.0)
    assert 1.0 < time.monotonic() - started < 5.0


def test_so_has_the_head_of_a_second_request_and_a_connection_that_is_left_open(serve: Serve) -> None:
    port = serve(Terms(head=1.5, idle=2.0)).port
    for more in (b"", b"GET / HTTP/1.1\r\nX: "):
        with connect(port) as sock:
            sock.sendall(get().encode())
            assert read(sock).status == 200
            sock.sendall(more)
            assert is_closed(sock, 6.0)


def test_a_visitor_who_does_not_read_is_cut_off(serve: Serve) -> None:
    port = serve(Terms(head=2.0, answer=2.0, flush=2.0)).port
    with connect(port) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with contextlib.suppress(OSError):
            for _ in range(400):
                sock.sendall(get("/static/vendor/pico.min.css").encode())
        time.sleep(5.0)
        with pytest.raises(OSError):
            for _ in range(100):
                sock.sendall(get().encode())
                time.sleep(0.01)
    assert is_well(port)


def test_connections_are_kept_and_used_again(serve: Serve) -> None:
    port = serve().port
    with connect(port) as sock:
        for request in (
            get(),
            get("/"),
            post("/leave", "form_token=a"),
            post("/leave"),
            get("/static/icon.svg"),
            get(),
        ):
            sock.sendall(request if isinstance(request, bytes) else request.encode())
            assert read(sock).status in (200, 303, 400)
        sock.sendall(get().encode() * 3)
        with sock.makefile("rb") as file:
            told = b""
            while told.count(b'"redis"') < 3:
                told += file.read1()
        sock.sendall(post("/me/link", "address=a", "Expect: 100-continue")[:-9])
        assert b"100" in sock.recv(1000)
        sock.sendall(b"address=a")
        assert read(sock).status == 200


# -- many --------------------------------------------------------------------------------------------------------------

HALF = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-a: "
HALF_FORM = post("/me/link", fill(100))[:-50]


@pytest.fixture
def many_descriptors() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip(f"this test needs 4,096 descriptors, and may have {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, hard))


@pytest.mark.parametrize("networks", [1, 40])
@pytest.mark.parametrize("half", [HALF, HALF_FORM, b""], ids=["head", "form", "nothing"])
def test_eleven_hundred_half_requests_at_1024_descriptors_keep_nobody_out(
    settings: Settings, keys: Keys, tmp_path: Path, many_descriptors: None, networks: int, half: bytes
) -> None:
    own = settings.replace("web", port=find_ports())
    argv = [sys.executable, "-P", "-m", "cli", "web"]
    with (
        open(tmp_path / "log", "wb") as log,
        contextlib.ExitStack() as stack,
    ):
        web = subprocess.Popen(
            argv, env={**child_environment(own), "PYTHONPATH": str(ROOT)}, stdout=log, stderr=log,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024)),
        )  # fmt: skip
        stack.callback(web.wait, 30)
        stack.callback(web.terminate)
        wait_for_port(own.web.port)
        for number in range(1100):
            sock = stack.enter_context(connect(own.web.port, f"127.0.{1 + number % networks}.1"))
            with contextlib.suppress(OSError):
                sock.sendall(half)
        started = time.monotonic()
        for source in (HOST, "127.0.1.1", "127.200.0.1"):
            assert is_well(own.web.port, source)
        assert time.monotonic() - started < 3.0
        assert len(list(Path(f"/proc/{web.pid}/fd").iterdir())) < 1000
    assert "Too many open files" not in (tmp_path / "log").read_text()


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            connect(port).close()
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def add_slow_page(app: FastAPI, seconds: float) -> None:
    def show_slow() -> dict[str, str]:
        time.sleep(seconds)
        return {"slow": "page"}

    app.add_api_route("/slow", show_slow)


def test_a_request_that_is_answered_makes_room_for_nobody(serve: Serve) -> None:
    running = serve(Terms(most_of_network=3, most=5))
    add_slow_page(running.app, 1.5)
    with contextlib.ExitStack() as stack:
        busy = [stack.enter_context(connect(running.port)) for _ in range(3)]
        for sock in busy:
            sock.sendall(get("/slow").encode())
        time.sleep(0.3)
        refused = ask(running.port, get())
        check_refusal(refused, 429, "busy")
        assert int(refused.headers["retry-after"]) > 0
        assert is_well(running.port, "127.0.1.1"), "another network's visitors are none of that one's"
        halves = [stack.enter_context(connect(running.port, "127.0.2.1")) for _ in range(4)]
        for sock in halves:
            sock.sendall(HALF)
        assert is_well(running.port, "127.0.3.1"), "the oldest half request makes room"
        assert [read(sock).status for sock in busy] == [200] * 3


def test_too_many_at_once_are_told_to_come_back_and_health_answers(serve: Serve) -> None:
    running = serve(Terms())
    add_slow_page(running.app, 0.4)
    stop, healthy = threading.Event(), []

    def look() -> None:
        while not stop.wait(0.05):
            started = time.monotonic()
            assert is_well(running.port)
            healthy.append(time.monotonic() - started)

    with ThreadPoolExecutor(160) as visitors:
        looking = visitors.submit(look)
        one = list(visitors.map(lambda _: ask(running.port, get("/slow")), range(120)))
        others = list(visitors.map(lambda n: ask(running.port, get("/slow"), f"127.0.{1 + n % 20}.1"), range(150)))
        stop.set()
        looking.result()
    assert Counter(answer.status for answer in (*one, *others)).keys() <= {200, 429}
    refused = [answer for answer in (*one, *others) if answer.status != 200]
    assert {int(answer.headers["retry-after"]) > 0 for answer in refused} == {True}
    assert any(b"too_many_requests" in answer.body for answer in one), f"{MOST_OF_NETWORK} of a network"
    assert not any(b"too_many_requests" in answer.body for answer in others)
    assert any(b"busy" in answer.body for answer in others), f"{MOST_HERE} in all"
    assert sum(answer.status == 200 for answer in others) >= AT_ONCE
    assert max(healthy) < 2.0
    assert is_well(running.port)


@pytest.mark.parametrize(
    ("proxies", "statuses"),
    [("", {200, 429}), ("10.0.0.0/8", {200, 429}), ("127.0.0.0/8 ::1", {200}), ("127.0.0.1", {200})],
)
def test_a_proxy_names_the_visitor_only_where_the_settings_say_so(
    serve: Serve, proxies: str, statuses: set[int]
) -> None:
    port = serve(proxies=proxies).port
    forwarded = [post("/me/link", "address=a", f"X-Forwarded-For: 203.0.{n}.1") for n in range(10)]
    assert {ask(port, request).status for request in forwarded} == statuses
