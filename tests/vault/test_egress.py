"""The guard's decisions: a table of hostile addresses and spellings, and the guard process itself."""

import asyncio
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
from tests.fakes import NameService, Network, Socks
from vault import egress
from vault.addresses import is_public
from vault.egress import (
    Dialler,
    Policy,
    Target,
    check_target,
    mix_families,
    parse_authority,
    parse_rule,
    parse_target,
)
from vault.errors import EgressRefused
from vault.names import Names
from vault.socks import parse_socks

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


def dial(dialler: Dialler, host: str = "good.example", port: int = 80) -> str:
    """The address that was reached, or the code of the refusal."""

    async def run() -> str:
        network = dialler._connect.__self__  # type: ignore[attr-defined]
        try:
            _, writer = await dialler.dial(Target(host=host, port=port))
        except EgressRefused as exc:
            return exc.stable_code
        writer.close()
        network.far_end.close()
        return str(network.dialled[-1])

    return asyncio.run(run())


def make_dialler(
    answers: dict[str, list[str]] | Names, network: Network, policy: Policy | None = None, own: tuple[str, ...] = ()
) -> Dialler:
    names = answers if isinstance(answers, Names) else Names(NameService(answers))
    own_addresses = frozenset(map(ipaddress.ip_address, own))
    return Dialler(policy or POLICY, names, network.connect, lambda: own_addresses)


OUTSIDE = "93.184.216.34"


def test_a_name_is_resolved_once_and_the_checked_address_is_dialled() -> None:
    """A name that answers a public address first and 127.0.0.1 next: only the first is ever dialled."""
    answers, network = {"good.example": [OUTSIDE]}, Network([OUTSIDE])
    service = NameService(answers)
    dialler = make_dialler(Names(service), network)
    assert dial(dialler) == OUTSIDE
    answers["good.example"] = ["127.0.0.1"]
    assert dial(dialler) == "address_refused"
    assert (network.dialled, service.asked["good.example"]) == ([OUTSIDE], 2)


@pytest.mark.parametrize("count", [1, 15, 16, 499])
def test_one_inner_address_among_many_refuses_the_name(count: int) -> None:
    many = [f"93.184.{n // 250}.{n % 250 + 1}" for n in range(count)]
    network = Network(many)
    for answer in ([*many, "10.0.0.1"], ["::1", *many]):
        assert dial(make_dialler({"good.example": answer}, network)) == "address_refused"
    assert network.dialled == []


def test_a_name_with_500_dead_addresses_costs_one_deadline_and_sixteen_attempts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(egress, "DIAL_SECONDS", 1.0)
    monkeypatch.setattr(egress, "STAGGER_SECONDS", 0.01)
    many = [f"93.184.{n // 250}.{n % 250 + 1}" for n in range(500)]
    network = Network()
    began = time.monotonic()
    assert dial(make_dialler({"good.example": many}, network)) == "unreachable"
    assert time.monotonic() - began < 3
    assert len(network.dialled) == 16
    refusing = Network(refusing=many)
    assert dial(make_dialler({"good.example": many}, refusing)) == "unreachable"
    assert len(refusing.dialled) == 16


def test_the_first_address_that_answers_is_used_whatever_the_others_do() -> None:
    dead = [f"93.184.216.{n}" for n in range(1, 6)]
    network = Network([OUTSIDE], refusing=["93.184.216.9"])
    began = time.monotonic()
    assert dial(make_dialler({"good.example": ["93.184.216.9", *dead, OUTSIDE]}, network)) == OUTSIDE
    assert time.monotonic() - began < 5


def test_addresses_of_both_families_are_tried_in_turn() -> None:
    assert mix_families(["2606::1", "2606::2", "2606::3", "1.1.1.1"]) == ["2606::1", "1.1.1.1", "2606::2", "2606::3"]
    assert mix_families([]) == []


def resolve_all(service: NameService, hosts: list[str], seconds: float) -> tuple[list[str], float]:
    """What each of the names gives, asked for at once, and how long the last one took, which is asked for after all
    others."""

    async def run() -> tuple[list[str], float]:
        names = Names(service, seconds)

        async def ask(host: str) -> str:
            try:
                return (await names.resolve(host))[0]
            except EgressRefused as exc:
                return exc.stable_code

        first = [asyncio.ensure_future(ask(host)) for host in hosts[:-1]]
        await asyncio.sleep(0)
        began = time.monotonic()
        last = await ask(hosts[-1])
        took = time.monotonic() - began
        return [*(await asyncio.gather(*first)), last], took

    try:
        return asyncio.run(run())
    finally:
        service.end.set()


@pytest.mark.parametrize("hosts", [["a.hangs.example"] * 40, [f"n{n}.hangs.example" for n in range(40)]])
def test_forty_names_that_hang_keep_no_other_name_waiting(hosts: list[str]) -> None:
    service = NameService({"good.example": [OUTSIDE]})
    found, took = resolve_all(service, [*hosts, "good.example"], 1.0)
    assert found == ["name_unknown"] * 40 + [OUTSIDE]
    assert took < 1
    assert max(service.asked.values()) == 1, "one lookup a name, however many ask for it"


def test_lookups_that_were_left_behind_are_bounded_and_not_begun_again() -> None:
    service = NameService({"good.example": [OUTSIDE]})

    async def run() -> None:
        names = Names(service, 0.01)
        for host in [*(f"n{n}.hangs.example" for n in range(300)), "n0.hangs.example"]:
            with pytest.raises(EgressRefused) as caught:
                await names.resolve(host)
            assert caught.value.stable_code == "name_unknown"
            for name, (since, future) in list(names._running.items()):  # as if they had been asked long ago
                names._running[name] = since - 9, future
        assert await names.resolve("good.example") == [OUTSIDE]

    asyncio.run(run())
    service.end.set()
    assert sum(service.asked.values()) <= 10


def test_a_name_without_an_answer_or_none_at_all_is_unknown() -> None:
    network = Network()
    assert dial(make_dialler({}, network)) == "name_unknown"
    assert network.dialled == []


# -- ourselves --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "policy_own", "interfaces", "host"),
    [
        ([OUTSIDE], (), (OUTSIDE,), "good.example"),
        ([OUTSIDE, "1.1.1.1"], (), ("1.1.1.1",), "good.example"),
        (["2606:4700::1"], (), ("2606:4700::1",), "good.example"),
        ([OUTSIDE], (OUTSIDE,), (), "good.example"),
        ([OUTSIDE], ("us.example",), (), "good.example"),  # which resolves to the same address
        ([OUTSIDE], ("good.example",), (), "good.example"),
        ([], (), (OUTSIDE,), OUTSIDE),
        ([], ("2606:4700::1",), (), "2606:4700::1"),
    ],
)
def test_our_own_public_address_is_refused_by_whatever_name(
    answer: list[str], policy_own: tuple[str, ...], interfaces: tuple[str, ...], host: str
) -> None:
    network = Network([OUTSIDE, "1.1.1.1", "2606:4700::1"])
    policy = Policy(hosts=("good.example", f"[{host}]" if ":" in host else host), own=policy_own)
    dialler = make_dialler({"good.example": answer, "us.example": [OUTSIDE]}, network, policy, interfaces)
    assert dial(dialler, host) == "address_refused"
    assert network.dialled == []


def test_a_lookup_of_our_own_name_that_hangs_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egress, "OWN_PATIENCE", 0.2)
    service = NameService({"good.example": [OUTSIDE]})
    policy = Policy(hosts=("good.example",), own=("us.hangs.example",))
    began = time.monotonic()
    assert dial(make_dialler(Names(service), Network([OUTSIDE]), policy)) == OUTSIDE
    assert time.monotonic() - began < 2
    service.end.set()


def test_the_address_of_an_interface_of_this_machine_is_refused(inside: int) -> None:
    """In a network of its own, whose loopback has a public address."""
    code = f"""import http.server, threading, httpx2
from crawler.proxy import GuardProcess
from vault.egress import Policy
hits = []
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self): hits.append(self.path)
server = http.server.ThreadingHTTPServer(("0.0.0.0", 8600), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
with GuardProcess(Policy(hosts=("{OUTSIDE}:8600",))) as guard:
    answer = httpx2.Client(proxy=guard.address_with_password, trust_env=False).get("http://{OUTSIDE}:8600/metrics")
    print(answer.status_code, answer.reason_phrase, hits)"""
    script = f"ip link set lo up && ip addr add {OUTSIDE}/32 dev lo && exec {sys.executable} -c '{code}'"
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode and not done.stdout:
        pytest.skip(f"no network of its own for a test here: {done.stderr[:200]}")
    assert done.stdout.split() == ["403", "address_refused", "[]"], done.stderr


def test_no_lab_pair_opens_a_port_of_ours(inside: int) -> None:
    host = f"127.0.0.1:{inside}"
    with GuardProcess(Policy(hosts=(host,), lab=(host,), own_ports=(inside,))) as guard, through(guard) as client:
        assert client.get(f"http://{host}/x").reason_phrase == "address_refused"
    assert Inside.hits == []


# -- only reading -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"])
def test_nothing_but_reading_passes_the_guard(inside: int, method: str) -> None:
    host = f"127.0.0.1:{inside}"
    with GuardProcess(Policy(hosts=(host,), lab=(host,))) as guard, through(guard) as client:
        assert client.request(method, f"http://{host}/x").reason_phrase == "method_refused"
        assert client.request("GET", f"http://{host}/x", content=b"vote=5").reason_phrase == "method_refused"
    assert Inside.hits == []


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
    before = logging.root.level, logging.root.handlers[:]
    logging.root.handlers[:] = [logging.StreamHandler(sys.__stderr__)]  # where ours goes, a child's goes
    try:
        for level in (logging.ERROR, logging.INFO):
            logging.root.setLevel(level)
            with GuardProcess(POLICY) as guard, through(guard) as client:
                client.get("http://elsewhere.example/")
            assert ("guard listens" in capfd.readouterr().err) == (level == logging.INFO)
    finally:
        logging.root.setLevel(before[0])
        logging.root.handlers[:] = before[1]


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
    monkeypatch.setattr(egress, "DIAL_SECONDS", 3.0)
    monkeypatch.setattr(egress, "GREETING_SECONDS", 3.0)
    socks = Socks(inside)
    socks.silent_at, socks.dead = silent_at, {dead}
    socks.start()
    assert dial_through(socks, "market.onion") == code


def dial_through(socks: Socks, host: str, identity: str = "", login: str = "") -> str:
    """ "", or the code of the refusal."""
    policy = Policy(hosts=(host,), upstream=f"socks5h://{login}127.0.0.1:{socks.port}", identity=identity)

    async def run() -> None:
        _, writer = await Dialler(policy, Names(NameService({}))).dial(parse_authority(host, 80))
        writer.close()

    try:
        asyncio.run(run())
    except EgressRefused as exc:
        return exc.stable_code
    return ""


SPECIAL_NAMES = [
    "localhost", "LOCALHOST", "localhost.", "a.localhost", "router", "intranet", "printer.local", "nas.local.",
    "metadata.google.internal", "ip-10-0-0-1.ec2.internal", "host.docker.internal", "db.svc.cluster.local",
    "nas.home.arpa", "1.0.0.10.in-addr.arpa", "x.ip6.arpa", "nas.lan", "nas.home", "nas.corp", "nas.localdomain",
    "fritz.box", "www.fritz.box", "localtest.me", "a.localtest.me", "lvh.me", "10.0.0.1.nip.io", "app.127.0.0.1.nip.io",
    "10-0-0-1.sslip.io", "192-168-1-1.example.com", "x.169.254.169.254.example.com", "a.test",
    "127.0.0.1", "10.0.0.1", "169.254.169.254", "2130706433", "017700000001", "0177.0.0.1", "0x7f000001", "0x7f.0.0.1",
    "0x7f.1", "127.1", "127.0.1", "1.1", "0", "0x", "a.1", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
    "[fd00::1]", "[64:ff9b::7f00:1]", "[fe80::1]", "[2002:7f00:1::]", "192.168.1.1", "100.64.0.1", "198.18.0.1",
]  # fmt: skip


@pytest.mark.parametrize("host", SPECIAL_NAMES)
def test_a_name_or_address_that_leads_inside_is_never_sent_to_the_proxy(inside: int, host: str) -> None:
    socks = Socks(inside)
    socks.start()
    assert dial_through(socks, host) in ("address_refused", "url_refused")
    assert socks.asked == []


@pytest.mark.parametrize(
    "host", ["market.onion", "market.com", "a.market.co.uk", "local.market.com", "lan.com", "internal.io",
             "93.184.216.34", "1-2-3-4.market.com", "10-20.market.com", "test.com", "x.xn--p1ai", "[2606:4700::1]",
             "home.market.com"]
)  # fmt: skip
def test_a_public_name_is_sent_to_the_proxy(inside: int, host: str) -> None:
    socks = Socks(inside)
    socks.start()
    assert dial_through(socks, host) == ""
    assert len(socks.asked) == 1


@pytest.mark.parametrize(
    ("bound", "code"),
    [
        ("127.0.0.1", "address_refused"), ("127.9.9.9", "address_refused"), ("169.254.3.4", "address_refused"),
        ("::1", "address_refused"), ("fe80::1", "address_refused"), ("::ffff:127.0.0.1", "address_refused"),
        ("0.0.0.0", ""), ("::", ""), ("93.184.216.34", ""), ("2606:4700::1", ""),
        ("10.1.2.3", ""), ("172.17.0.2", ""), ("192.168.0.2", ""), ("100.64.0.9", ""), ("fd00::5", ""),  # behind NAT
    ],
)  # fmt: skip
def test_what_the_proxy_says_it_reached_from_inside_is_refused(inside: int, bound: str, code: str) -> None:
    socks = Socks(inside)
    socks.bound = bound
    socks.start()
    assert dial_through(socks, "market.com") == code


def test_each_crawl_has_an_identity_of_its_own_at_the_proxy(inside: int) -> None:
    """Tor gives each user and password circuits of their own (IsolateSOCKSAuth)."""
    socks = Socks(inside)
    socks.start()
    policy = Policy(hosts=("market.onion",), upstream=f"socks5h://127.0.0.1:{socks.port}")
    for _ in range(2):
        with GuardProcess(policy) as guard, through(guard) as client:
            for path in ("a", "b"):
                client.get(f"http://market.onion/{path}")
    first, second, third, fourth = socks.users
    assert first == second != third == fourth
    assert all(user.startswith(b"facewarden:") and len(user) > 30 for user in socks.users)


def test_an_account_of_the_cards_own_is_used_and_a_proxy_without_accounts_is_asked_without(inside: int) -> None:
    socks = Socks(inside)
    socks.logins = {b"olga:a:b"}
    socks.start()
    assert dial_through(socks, "market.com", "random", login="olga:a%3Ab@") == ""
    assert dial_through(socks, "market.com", "random", login="olga:wrong@") == "upstream_unavailable"
    assert dial_through(socks, "market.com", "random") == "", "our own credentials are nobody's there"
    assert socks.users == [b"olga:a:b", b""]


@pytest.mark.parametrize(
    "url", ["socks5://p:1", "socks5h://p", "socks5h://p:0", "socks5h://p:99999", "socks5h://p:1/x", "http://p:1",
            "socks5h://u@p:1", "socks5h://:x@p:1", "socks5h:///:1", "socks5h://p:1?x", "socks5h://a b:1", "socks5h://[x]:1x"]
)  # fmt: skip
def test_what_is_no_address_of_a_proxy_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="socks5h"):
        parse_socks(url)


@pytest.mark.parametrize(
    "answer",
    [b"", b"\5", b"HTTP/1.1 400 Bad", b"\4\0", b"\5\xff", b"\5\1", b"\5\0\5", b"\5\0\5\0\0\7aaaa",
     b"\5\0\4\0\0\1aaaaaa", b"\5\0\5\0\0\3\377", b"\5\0\5\0\0\3\1", b"\5\2\1\1"],
)  # fmt: skip
def test_a_proxy_that_speaks_something_else_is_a_refusal(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egress, "GREETING_SECONDS", 1.0)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for _ in range(2):
            client, _ = listener.accept()
            with client, contextlib.suppress(OSError):
                client.recv(300)
                client.sendall(answer)
                client.recv(300)

    threading.Thread(target=serve, daemon=True).start()
    policy = Policy(
        hosts=("market.com",), upstream=f"socks5h://127.0.0.1:{listener.getsockname()[1]}", identity="x" * 32
    )
    with pytest.raises(EgressRefused) as caught:
        asyncio.run(Dialler(policy, Names(NameService({}))).dial(Target(host="market.com", port=80)))
    assert caught.value.stable_code in ("upstream_unavailable", "unreachable")
