"""The guard's decisions: a table of hostile addresses and spellings, and the guard process itself."""

import contextlib
import http.client
import http.server
import ipaddress
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import httpx2
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.proxy import GuardProcess
from tests.fakes import Socks
from vault import egress
from vault.addresses import is_public
from vault.egress import Policy, Target, check_target, parse_authority, parse_rule, parse_target
from vault.errors import EgressRefused

SPECIAL = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.1.2.3",
    "169.254.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.170", "192.0.2.1",
    "192.31.196.1", "192.52.193.1", "192.88.99.1", "192.168.0.1", "192.175.48.1", "198.18.0.1", "198.19.255.255",
    "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16",
    "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:10.0.0.1", "64:ff9b::127.0.0.1",
    "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::1", "100::1", "100:0:0:1::1", "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::",
    "2002:a00:1::", "2002:808:808::", "2620:4f:8000::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fd12::1",
    "fe80::1", "fe80::1%1", "fec0::1", "ff02::1", "ff0e::1", "4000::1", "1::1",
]  # fmt: skip
PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "172.15.255.255", "172.32.0.1", "100.63.255.255", "100.128.0.1",
          "2606:4700:4700::1111", "2a00:1450:4001:80b::200e", "64:ff9b::8.8.8.8"]  # fmt: skip


@pytest.mark.parametrize("address", SPECIAL)
def test_a_special_address_is_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@given(st.ip_addresses(v=6))
def test_no_ipv6_form_smuggles_a_private_ipv4(address: ipaddress.IPv6Address) -> None:
    """Whatever carries an IPv4 address is public only if that address is."""
    low = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    for prefix in ("::", "::ffff:0:0", "64:ff9b::"):
        carried = ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) | int(low))
        assert not is_public(carried) or is_public(low)
    assert not is_public(ipaddress.IPv6Address(0x2002 << 112 | int(low) << 80))


HOSTILE_URLS = [
    "http://good.example@127.0.0.1/", "http://good.example:80@evil.example/", "http://evil.example#@good.example/",
    "http://evil.example\\@good.example/", "http://good.example\\.evil.example/", "http://good.example\t.evil/",
    "http://good.example\n/", "http:// good.example/", "http://good.example /", "http://good.example%00.evil/",
    "http://g\u043eod.example/", "http://good\u3002example/", "http://xn--/", "http://good..example/", "http://./",
    "http:///etc/passwd", "http:good.example/", "http:/good.example/", "//good.example/", "file:///etc/passwd",
    "ftp://good.example/", "gopher://good.example/", "data:text/html,x", "javascript:alert(1)", "ws://good.example/",
    "http://good.example:0/", "http://good.example:22/", "http://good.example:6379/", "http://good.example:99999/",
    "http://good.example:080x/", "http://good.example:/", "http://[::1]/", "http://[::ffff:127.0.0.1]/",
    "http://[good.example]/", "http://[::1/", "http://127.0.0.1/", "http://2130706433/", "http://0x7f000001/",
    "http://0177.0.0.1/", "http://127.1/", "http://0/", "http://localhost/", "http://169.254.169.254/latest/meta-data",
    "http://evil.example/?good.example", "http://good.example.evil.example/", "http://evilgood.example/",
    "http://evil.example/good.example", "http://sub.good.example/", "HTTP://EVIL.EXAMPLE/",
]  # fmt: skip
GOOD_URLS = ["http://good.example/", "http://GOOD.example./x?y=1#z", "https://good.example/a", "http://a.wild.example/",
             "http://a.b.wild.example/", "http://ports.example:8080/"]  # fmt: skip
POLICY = Policy(hosts=("good.example", "*.wild.example", "ports.example:8080"))


def decide(url: str) -> Target:
    target, _path = parse_target(url)
    check_target(target, POLICY)
    return target


@pytest.mark.parametrize("url", HOSTILE_URLS)
def test_a_hostile_address_is_refused_without_a_name_service(url: str) -> None:
    with pytest.raises(EgressRefused):
        decide(url)


@pytest.mark.parametrize("url", GOOD_URLS)
def test_what_the_card_names_is_allowed(url: str) -> None:
    assert decide(url).host


@pytest.mark.parametrize("host", ["wild.example", "evilwild.example", "a.wild.example.evil"])
def test_a_wildcard_covers_names_under_it_only(host: str) -> None:
    with pytest.raises(EgressRefused):
        check_target(Target(host=host, port=80), POLICY)


@pytest.mark.parametrize("entry", ["", "a b", "*.127.0.0.1", "http://x", "x/y", "x:0", "*", "x:70000", "*.*.x"])
def test_a_host_that_means_nothing_is_refused_on_the_card(entry: str) -> None:
    with pytest.raises(EgressRefused):
        parse_rule(entry)


@given(st.text(max_size=40))
def test_an_authority_is_read_one_way_or_not_at_all(text: str) -> None:
    try:
        target = parse_authority(text, 80)
    except EgressRefused:
        return
    assert parse_authority(target.pair, None) == target
    assert not set("@/\\?# \t\r\n%") & set(target.host)


def test_an_onion_address_never_goes_without_its_proxy() -> None:
    policy = Policy(hosts=("abc.onion",))
    with pytest.raises(EgressRefused) as caught:
        check_target(Target(host="abc.onion", port=80), policy)
    assert caught.value.stable_code == "upstream_unavailable"


# -- names that resolve inside, and the process -----------------------------------------------------------------------


class Inside(http.server.BaseHTTPRequestHandler):
    """A server on loopback that must not be reached, and one that may (with --lab)."""

    protocol_version = "HTTP/1.1"
    hits: list[str]

    def do_GET(self) -> None:
        type(self).hits.append(self.path)
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = f"{self.path} {self.headers.get('proxy-authorization')} {self.headers['host']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def inside() -> Iterator[int]:
    Inside.hits = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Inside)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


def through(guard: GuardProcess) -> httpx2.Client:
    return httpx2.Client(proxy=guard.address_with_password, trust_env=False, timeout=10)


def test_loopback_is_reached_only_as_an_exact_lab_pair(inside: int) -> None:
    host = f"127.0.0.1:{inside}"
    with GuardProcess(Policy(hosts=(host, f"localhost:{inside}"))) as guard, through(guard) as client:
        answer = client.get(f"http://{host}/x")
        assert (answer.status_code, answer.reason_phrase) == (403, "address_refused")
    assert Inside.hits == []
    with GuardProcess(Policy(hosts=(host, f"localhost:{inside}"), lab=(host,))) as guard, through(guard) as client:
        assert client.get(f"http://{host}/x").text == f"/x None {host}"
        assert client.get(f"http://localhost:{inside}/y").status_code == 403
        assert ("address_refused", f"http://localhost:{inside}/y") in wait_for_refusals(guard)
    assert Inside.hits == ["/x"]


def wait_for_refusals(guard: GuardProcess) -> list[tuple[str, str]]:
    deadline = time.monotonic() + 5
    while guard.refusals.empty() and time.monotonic() < deadline:
        time.sleep(0.01)
    return guard.take_refusals()


def test_each_hop_of_a_redirect_is_checked_anew(inside: int) -> None:
    host = f"127.0.0.1:{inside}"
    with GuardProcess(Policy(hosts=(host,), lab=(host,))) as guard, through(guard) as client:
        answer = client.get(f"http://{host}/to/http://169.254.169.254/latest", follow_redirects=True)
        assert (answer.status_code, answer.reason_phrase) == (403, "host_not_on_card")


@pytest.mark.parametrize("url", ["https://evil.example/", "https://127.0.0.1/", "https://good.example:22/"])
def test_a_tunnel_is_checked_like_everything_else(url: str) -> None:
    with GuardProcess(POLICY) as guard, through(guard) as client, pytest.raises(httpx2.ProxyError, match="403"):
        client.get(url)


def test_nobody_else_on_the_machine_can_use_the_guard(inside: int) -> None:
    host = f"127.0.0.1:{inside}"
    with GuardProcess(Policy(hosts=(host,), lab=(host,))) as guard:
        for proxy in (guard.address, guard.address.replace("//", "//crawl:guess@")):
            with httpx2.Client(proxy=proxy, trust_env=False) as client:
                assert client.get(f"http://{host}/x").status_code == 407
    assert Inside.hits == []


def test_a_second_request_cannot_ride_on_the_first_ones_check(inside: int) -> None:
    """Two requests in one write to the proxy: the second is never forwarded."""
    host = f"127.0.0.1:{inside}"
    with GuardProcess(Policy(hosts=(host,), lab=(host,))) as guard:
        credentials = guard.authorization
        one = f"GET http://{host}/%s HTTP/1.1\r\nHost: {host}\r\nProxy-Authorization: {credentials}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", guard.port)) as sock:
            sock.sendall((one % "first" + one % "second").encode())
            answer = b""
            while data := sock.recv(65536):
                answer += data
    assert Inside.hits == ["/first"]
    assert answer.count(b"HTTP/1.1") == 1


def test_a_name_is_resolved_once_and_the_checked_address_is_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that answers a public address first and 127.0.0.1 next: only the first is ever dialled."""
    import asyncio

    answers = [["93.184.216.34"], ["127.0.0.1"]]
    dialled: list[str] = []

    async def resolve_once(self: object, host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(0, 0, 0, "", (address, port)) for address in answers.pop(0)]

    async def connect(address: str, port: int, **_: object) -> None:
        dialled.append(address)
        raise OSError("not now")

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve_once)
    monkeypatch.setattr(asyncio, "open_connection", connect)
    for _ in range(2):
        with pytest.raises(EgressRefused):
            asyncio.run(egress.dial(Target(host="good.example", port=80), POLICY))
    assert dialled == ["93.184.216.34"]


def test_one_inner_address_among_many_refuses_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    async def both(self: object, host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(0, 0, 0, "", (address, port)) for address in ("93.184.216.34", "10.0.0.1")]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", both)
    with pytest.raises(EgressRefused) as caught:
        asyncio.run(egress.dial(Target(host="good.example", port=80), POLICY))
    assert caught.value.stable_code == "address_refused"


def test_the_guard_ends_when_its_parent_does(inside: int) -> None:
    script = (
        "import os, signal\nfrom crawler.proxy import GuardProcess\nfrom vault.egress import Policy\n"
        "g = GuardProcess(Policy(hosts=('x.example',)))\nprint(g.pid, g.port, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
    )
    port = int(done.stdout.split()[1])
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 0.5).close()
        except OSError:
            break
        time.sleep(0.05)
    else:
        pytest.fail("the guard outlived its parent")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_guard_leaves_no_traceback_and_ctrl_c_is_not_for_it(
    number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    with GuardProcess(POLICY) as guard:
        process = psutil.Process(guard.pid)
        assert os.getsid(guard.pid) == guard.pid, "not in the session of the terminal"
        process.send_signal(number)
        if number == signal.SIGTERM:
            psutil.wait_procs([process], 10)
            assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
        else:
            with through(guard) as client:
                assert client.get("http://elsewhere.example/").reason_phrase == "host_not_on_card"
    assert "Traceback" not in capfd.readouterr().err


def test_a_guard_that_ends_with_a_connection_open_leaves_no_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    host = f"127.0.0.1:{answer_once(b'HTTP/1.1 200 OK' + END + b'the first half')}"
    guard = GuardProcess(Policy(hosts=(host,), lab=(host,)))
    with through(guard) as client, contextlib.suppress(httpx2.HTTPError), client.stream("GET", f"http://{host}/"):
        guard.stop()
    assert "Traceback" not in capfd.readouterr().err


def test_a_guard_that_ends_while_connections_close_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """They close just before it: then it waits for their ends when it is asked to end itself."""
    before = logging.root.level
    logging.root.setLevel(logging.WARNING)
    try:
        for _ in range(5):
            with GuardProcess(POLICY) as guard:
                wires = [socket.create_connection(("127.0.0.1", guard.port)) for _ in range(300)]
                wires[-1].sendall(b"GET http://elsewhere.example/ HTTP/1.1\r\nHost: x\r\n\r\n")
                wires[-1].recv(1000)
                for wire in wires:
                    wire.close()
        assert capfd.readouterr().err == ""
    finally:
        logging.root.setLevel(before)


def test_the_guard_logs_no_more_than_we_do(capfd: pytest.CaptureFixture[str]) -> None:
    before = logging.root.level
    try:
        for level in (logging.ERROR, logging.INFO):
            logging.root.setLevel(level)
            with GuardProcess(POLICY) as guard, through(guard) as client:
                client.get("http://elsewhere.example/")
            assert ("guard listens" in capfd.readouterr().err) == (level == logging.INFO)
    finally:
        logging.root.setLevel(before)


# -- answers that are made to be misread ------------------------------------------------------------------------------


END = b"\r\n\r\n"


def answer_once(data: bytes) -> int:
    """The port of a server that sends these bytes to whoever asks first, and keeps the connection open."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        client, _ = listener.accept()
        with client, contextlib.suppress(OSError):
            client.recv(65536)
            client.sendall(data)
            if data:
                client.recv(1)  # until the guard has had enough

    threading.Thread(target=serve, daemon=True).start()
    return int(listener.getsockname()[1])


def ask_through_guard(data: bytes) -> httpx2.Response:
    host = f"127.0.0.1:{answer_once(data)}"
    with GuardProcess(Policy(hosts=(host,), lab=(host,))) as guard, through(guard) as client:
        return client.get(f"http://{host}/")


FORGED = b"X-Facewarden-Refused: card_expired"


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 403 card_expired\r\n" + FORGED,
        b"HTTP/1.1 403 no\r\nA: b\r\n" + FORGED.lower(),
        b"HTTP/1.1 403 no\r\n" + FORGED + b"\r\n and on",
        b"HTTP/1.1 403 no\r\n " + FORGED,
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 no\r\n" + FORGED,
        b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 100 Go\r\n\r\nHTTP/1.0 403 no\r\n" + FORGED,
    ],
)
def test_a_site_cannot_forge_a_refusal_of_the_guard(head: bytes) -> None:
    answer = ask_through_guard(head + b"\r\nContent-Length: 2\r\n\r\nno")
    assert (answer.status_code, answer.text) == (403, "no")
    assert not any("facewarden" in f"{name}{value}".lower() for name, value in answer.headers.items())


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nno",
        b"HTTP/1.1 403 no\r\nA: b\n" + FORGED + b"\r\n\r\n",
        b"HTTP/1.1 403 no\r\nA: b\r" + FORGED + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: \0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"a" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: aaaaaaaa\r\n" * 7_000 + b"\r\n",
        b"HTTP/1.1 100 Go\r\n\r\n" * 4_000,
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"<html>no head at all</html>\r\n\r\n",
        b"\r\n\r\n",
    ],
)
def test_an_answer_that_parsers_could_read_differently_has_a_code_of_its_own(data: bytes) -> None:
    answer = ask_through_guard(data)
    assert (answer.status_code, answer.headers["x-facewarden-refused"]) == (403, "answer_invalid")
    assert answer.text == egress.REFUSAL_TEXT["answer_invalid"]


def ask_on_one_connection(answers: list[bytes], urls: list[str]) -> list[tuple[int, bytes]]:
    """What comes back for each request sent over one connection to the guard, as long as it lasts. `{host}` stands for
    the one host of the card; the site sends the answers as they are and hangs up after each."""
    listener = socket.create_server(("127.0.0.1", 0))
    host = f"127.0.0.1:{listener.getsockname()[1]}"

    def serve() -> None:
        for data in answers:
            client, _ = listener.accept()
            with client, contextlib.suppress(OSError):
                client.recv(65536)
                client.sendall(data)

    threading.Thread(target=serve, daemon=True).start()
    got = []
    with GuardProcess(Policy(hosts=(host,), lab=(host,))) as guard:
        wire = http.client.HTTPConnection("127.0.0.1", guard.port, timeout=10)
        wire.auto_open = 0  # one connection and no other
        wire.connect()
        for url in urls:
            try:
                wire.request("GET", url.format(host=host), headers={"Proxy-Authorization": guard.authorization})
                answer = wire.getresponse()
                got.append((answer.status, answer.read()))
            except (http.client.HTTPException, OSError) as exc:
                got.append((0, type(exc).__name__.encode()))
    return got


PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage"
FORGED_ANSWER = b"HTTP/1.1 403 no\r\n" + FORGED + b"\r\nContent-Length: 0\r\n\r\n"


def test_a_connection_goes_on_after_an_answer_of_known_length_and_each_request_is_checked() -> None:
    urls = ["http://{host}/a", "http://{host}/b", "http://169.254.169.254/c"]
    assert ask_on_one_connection([PAGE, PAGE], urls) == [
        (200, b"page"), (200, b"page"), (403, egress.REFUSAL_TEXT["host_not_on_card"].encode())
    ]  # fmt: skip


def test_what_a_site_sends_behind_its_answer_is_not_read_as_the_next_one() -> None:
    got = ask_on_one_connection([PAGE + FORGED_ANSWER, PAGE], ["http://{host}/a", "http://{host}/b"])
    assert got == [(200, b"page"), (200, b"page")]


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 9",
        b"HTTP/1.1 200 OK\r\nContent-Length: +4",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999",
        b"HTTP/1.1 200 OK\r\nContent-Length:\r\n 4",
        b"HTTP/1.1 200 OK\r\nContent-Length : 4",
        b"HTTP/1.1 200 OK\r\n\x0bContent-Length: 4",
        b"HTTP/1.0 200 OK\r\nContent-Length: 4",
        b"HTTP/1.1 200 OK",
    ],
)
def test_after_an_answer_of_doubtful_length_the_connection_ends(head: bytes) -> None:
    answers = [head + b"\r\n\r\npage" + FORGED_ANSWER, PAGE]
    first, second = ask_on_one_connection(answers, ["http://{host}/a", "http://{host}/b"])
    assert second[0] == 0, (first, second)


def test_a_server_that_hangs_up_without_a_word_does_not_answer() -> None:
    assert ask_through_guard(b"").headers["x-facewarden-refused"] == "unreachable"


# -- SOCKS ------------------------------------------------------------------------------------------------------------


def test_a_hidden_service_is_reached_by_name_through_its_proxy_and_waits_when_it_is_down(inside: int) -> None:
    socks = Socks(inside)
    socks.start()
    policy = Policy(hosts=("market.onion",), upstream=f"socks5h://127.0.0.1:{socks.port}")
    with GuardProcess(policy) as guard, through(guard) as client:
        assert client.get("http://market.onion/list").text.startswith("/list")
    assert socks.asked == [(3, b"market.onion")]  # 3: a domain name, resolved by the proxy
    down = Policy(hosts=("market.onion",), upstream="socks5h://127.0.0.1:1")
    with GuardProcess(down) as guard, through(guard) as client:
        assert client.get("http://market.onion/list").reason_phrase == "upstream_unavailable"


@pytest.mark.parametrize(
    ("silent_at", "dead", "code"),
    [
        ("greeting", b"", "upstream_unavailable"),
        ("request", b"", "unreachable"),  # the proxy is well: it is the service that does not come up
        ("", b"market.onion", "unreachable"),
    ],
)
def test_a_proxy_that_is_down_is_told_from_a_service_that_is(
    inside: int, monkeypatch: pytest.MonkeyPatch, silent_at: str, dead: bytes, code: str
) -> None:
    import asyncio

    monkeypatch.setattr(egress, "DIAL_SECONDS", 0.5)
    monkeypatch.setattr(egress, "GREETING_SECONDS", 0.5)
    socks = Socks(inside)
    socks.silent_at, socks.dead = silent_at, {dead}
    socks.start()
    policy = Policy(hosts=("market.onion",), upstream=f"socks5h://127.0.0.1:{socks.port}")
    with pytest.raises(EgressRefused) as caught:
        asyncio.run(egress.dial(Target(host="market.onion", port=80), policy))
    assert caught.value.stable_code == code
