"""Faults and hostile answers that a crawl must bear."""

import contextlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from cli.supervisor import ROOT
from crawler.browser import find_chromium
from tests.apart import Apart, NotAllowed
from tests.crawler.test_crawl import CARD, chain_site, html, sign
from tests.fakes import NOT_FOUND, Answer, Site, Socks
from tests.samples import count
from vault.keys import Keys
from vault.settings import Settings, child_environment
from vault.store import Connection

MakeSite = Callable[[Callable[[str], Answer]], Site]


@pytest.fixture(autouse=True)
def made_keys(keys: Keys) -> None:
    """Every crawl needs the key file."""


@pytest.fixture
def apart() -> Iterator[Apart]:
    try:
        with Apart() as made:
            yield made
    except NotAllowed as exc:
        pytest.skip(f"no network of its own for a test here: {exc}")


def crawl_argv(card: Path, *lab: int) -> list[str]:
    return [sys.executable, "-P", "-m", "cli", "crawl", str(card), *(f"--lab=127.0.0.1:{port}" for port in lab)]


def crawl_env(settings: Settings) -> dict[str, str]:
    return {**child_environment(settings), "PYTHONPATH": str(ROOT)}


# -- 16: hidden services, and a proxy that is down ---------------------------------------------------------------------


def onion_card(settings: Settings, tmp_path: Path, port: int, top: str = "") -> Path:
    text = CARD.format(top=top, read="", pages=100, port=80).replace("127.0.0.1:80", "market.onion")
    text = text.replace("[read]", f'proxy = "socks5h://127.0.0.1:{port}"\n[read]')
    card = tmp_path / "onion.toml"
    card.write_text(sign(settings, text, tmp_path))
    return card


def ask_name_and_dial() -> None:
    """What must never happen, done once by hand so that the listener is seen to hear it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"a name is asked for", ("10.255.255.53", 53))
    for address, family in (("93.184.216.34", socket.AF_INET), ("127.0.0.1", socket.AF_INET)):
        with socket.socket(family, socket.SOCK_STREAM) as sock, contextlib.suppress(OSError):
            sock.settimeout(0.2)
            sock.connect((address, 80))


def test_the_listener_hears_a_name_asked_for_and_an_address_dialled(apart: Apart) -> None:
    apart.do(ask_name_and_dial)
    time.sleep(0.2)
    assert apart.strays == {("udp", "10.255.255.53", 53), ("tcp", "93.184.216.34", 80)}


@pytest.mark.parametrize("top", ["", 'rendering = "browser"'])
def test_a_hidden_service_is_crawled_by_name_and_waits_while_its_proxy_is_down(
    settings: Settings, conn: Connection, tmp_path: Path, apart: Apart, top: str
) -> None:
    if top and find_chromium(settings) is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    size = 4 if top else 12
    site = apart.do(Site, chain_site(size))
    card = onion_card(settings, tmp_path, 9150, top)
    down = apart.run(crawl_argv(card), crawl_env(settings))
    assert (down.returncode, "stopped: upstream_unavailable" in down.stdout) == (3, True), down.stderr
    assert "source: dead (upstream_unavailable" in down.stdout
    assert conn.execute("select state, attempts, error_code from page").fetchall() == [
        ("ready", 0, "upstream_unavailable")
    ]
    assert apart.strays == set(), "no name was asked for, nothing was dialled"

    socks = apart.do(Socks, site.server_port, 9150)
    apart.do(socks.start)
    done = apart.run(crawl_argv(card), crawl_env(settings))
    assert done.returncode == 0, done.stderr
    assert count(conn, "select count(*) from listing") == size
    assert count(conn, "select count(*) from sample") == size
    assert set(socks.asked) == {(3, b"market.onion")}, "3: a name, which the proxy resolves"
    assert apart.strays == set()
    site.shutdown()


# -- 15, 17: a page that tries everything, a browser that breaks, a guard that is gone ---------------------------------


SOON = {"FACEWARDEN_CRAWL_RENDER_SECONDS": "12"}  # instead of 50, so that the tests are over sooner


def hostile_scripts(trap: Site, udp: int) -> dict[str, str]:
    """Pages that do what a browser could be talked into, by path."""
    url, socket_url = trap.url, trap.url.replace("http", "ws")
    return {
        "/vectors": f"""
            const go = (f) => {{ try {{ f() }} catch (e) {{}} }};
            go(() => fetch('{url}/fetch', {{mode: 'no-cors'}}).catch(() => 0));
            go(() => fetch('/redirect').catch(() => 0));
            go(() => new WebSocket('{socket_url}/socket'));
            go(() => new EventSource('{url}/events'));
            go(() => navigator.sendBeacon('{url}/beacon', 'x'));
            go(() => new Worker(URL.createObjectURL(new Blob(["fetch('{url}/worker', {{mode: 'no-cors'}})"]))));
            go(() => navigator.serviceWorker.register('/service.js').catch(() => 0));
            go(() => {{
                const peer = new RTCPeerConnection({{iceServers: [
                    {{urls: 'stun:127.0.0.1:{udp}'}}, {{urls: 'stun:10.1.2.3:{udp}'}},
                    {{urls: 'turn:127.0.0.1:{udp}?transport=tcp', username: 'a', credential: 'b'}}]}});
                peer.createDataChannel('x');
                peer.createOffer().then(offer => peer.setLocalDescription(offer));
            }});
            go(() => fetch('http://metadata.internal/latest').catch(() => 0));
            go(() => fetch('http://169.254.169.254/latest').catch(() => 0));
            document.write(`<article><h1>what it shows</h1></article>
                <iframe src="{url}/frame"></iframe><img src="{url}/image">
                <link rel=prefetch href="{url}/prefetch"><link rel=preconnect href="{url}">
                <link rel=dns-prefetch href="//name.of-nobody.example"><link rel=stylesheet href="{url}/style">
                <object data="{url}/object"></object><form action="{url}/form" target=_blank></form>
                <meta http-equiv="refresh" content="9;url={url}/refresh">`);
            go(() => document.forms[0].submit());""",
        "/download": "const a = document.createElement('a'); a.href = '/own-file'; a.download = 'x.bin'; a.click();",
        "/away": f"location = '{url}/away';",
        "/popups": "for (let i = 0; i < 1000; i++) window.open('/popup' + i, '_blank');",
        "/unload": "addEventListener('beforeunload', e => { e.preventDefault(); while (true); });",
        "/blob": "const all = []; for (let i = 0; i < 64; i++) all.push(new Uint8Array(32 << 20).fill(i + 1)); "
        "window.kept = new Blob(all); window.all = all;",
        "/alerts": "while (true) alert('x');",
        "/spin": "setTimeout(() => { while (true); }, 300);",
    }


def test_a_page_that_tries_everything_reaches_nothing_and_keeps_nobody_waiting(
    settings: Settings, conn: Connection, tmp_path: Path, apart: Apart
) -> None:
    if find_chromium(settings) is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    trap = apart.do(Site, lambda path: html("inside"))
    udp = apart.do(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    udp.setblocking(False)
    scripts = hostile_scripts(trap, udp.getsockname()[1])

    def answer(path: str) -> Answer:
        if path == "/":
            order = ("/spin", *scripts, "/good1", "/good2")
            return html("".join(f'<a class="item" href="{each}">x</a>' for each in order))
        if path == "/redirect":
            return 302, {"Location": f"{trap.url}/redirected"}, b""
        if path == "/own-file":
            return 200, {"Content-Type": "application/octet-stream", "Content-Disposition": "attachment"}, b"x" * 999
        if path == "/service.js":
            return 200, {"Content-Type": "text/javascript"}, f"fetch('{trap.url}/service')".encode()
        if path in scripts:
            return html(f"<script>{scripts[path]}</script><article><h1>lot {path}</h1></article>")
        return html(f"<article><h1>lot {path}</h1></article>") if path.startswith("/good") else NOT_FOUND

    site = apart.do(Site, answer)
    text = CARD.format(top='rendering = "browser"', read="", pages=100, port=site.server_port)
    card = tmp_path / "card.toml"
    card.write_text(sign(settings, text.replace("concurrency = 8", "concurrency = 2"), tmp_path))
    with tempfile.TemporaryDirectory(prefix="fw") as scratch:  # short: Chromium's socket lies in it
        homes = [Path(scratch) / name for name in ("home", "tmp")]
        for folder in homes:
            folder.mkdir()
        env = {**crawl_env(settings), "HOME": str(homes[0]), "TMPDIR": str(homes[1]), **SOON}
        process = apart.do(
            subprocess.Popen, crawl_argv(card, site.server_port), env=env, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            found = wait_until_tried(conn, len(scripts) + 3, seconds=150)
            family = psutil.Process(process.pid).children(recursive=True)
            assert any("--type=renderer" in child.cmdline() for child in family if child.is_running())
        finally:
            process.kill()
            process.wait()
        _gone, alive = psutil.wait_procs(family, 15)
        assert alive == [], "a crawl that is killed leaves no browser and no guard behind"
        assert [path for folder in homes for path in folder.rglob("*") if path.is_file()] == []
    assert {path: code for path, (code, _) in found.items() if code} == {
        "away": "redirect_refused", "blob": "failed_browser", "alerts": "failed_browser", "spin": "failed_browser",
    }  # fmt: skip
    assert max(seconds for _, seconds in found.values()) < 60
    titles = {title for (title,) in conn.execute("select title from listing_version").fetchall()}
    assert titles >= {"what it shows", "lot /download", "lot /popups", "lot /unload", "lot /good1", "lot /good2"}
    assert trap.hits == {}, "nothing inside was reached"
    with pytest.raises(BlockingIOError):
        udp.recv(2048)
    assert apart.strays == set(), "no name was asked for, nothing but loopback was dialled"
    assert count(conn, "select count(*) from ledger where entry like '%%refusal%%'") >= 8, "and the guard said so"


def wait_until_tried(conn: Connection, total: int, seconds: float) -> dict[str, tuple[str | None, float]]:
    """Until each page has ended once: its code and how long it was in flight, by its name."""
    began: dict[str, float] = {}
    ended: dict[str, tuple[str | None, float]] = {}
    deadline = time.monotonic() + seconds
    while len(ended) < total and time.monotonic() < deadline:
        for name, state, code in conn.execute(
            "select substring(url from '[^/]*$'), state, error_code from page where attempts > 0"
        ).fetchall():
            began.setdefault(name, time.monotonic())
            if state in ("done", "quarantined") or code:
                ended.setdefault(name, (code, time.monotonic() - began[name]))
        time.sleep(0.1)
    return ended


@pytest.mark.parametrize("top", ["", 'rendering = "browser"'])
def test_a_guard_that_dies_in_mid_crawl_ends_it_and_nothing_goes_past_it(
    settings: Settings, conn: Connection, tmp_path: Path, apart: Apart, top: str
) -> None:
    if top and find_chromium(settings) is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    inner = chain_site(60)

    def answer(path: str) -> Answer:
        time.sleep(0.05)
        return inner(path)

    site = apart.do(Site, answer)
    card = tmp_path / "card.toml"
    card.write_text(sign(settings, CARD.format(top=top, read="", pages=100, port=site.server_port), tmp_path))
    process = apart.do(
        subprocess.Popen, crawl_argv(card, site.server_port), env=crawl_env(settings), stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    while sum(site.hits.values()) < 8:
        assert process.poll() is None
        time.sleep(0.01)
    (guard,) = [each for each in psutil.Process(process.pid).children() if "vault.guard" in each.cmdline()]
    guard.kill()
    psutil.wait_procs([guard], 10)
    time.sleep(0.2)  # what it had passed on arrives
    before = sum(site.hits.values())
    told, _ = process.communicate(timeout=120)
    assert (process.returncode, "stopped: guard_gone" in told) == (3, True), told
    assert sum(site.hits.values()) == before, "nothing was fetched without it"
    assert apart.strays == set()
    assert count(conn, "select count(*) from page where state = 'quarantined'") == 0


def test_a_browser_that_crashes_or_hangs_is_replaced_and_its_pages_are_tried_again(
    settings: Settings, conn: Connection, tmp_path: Path, make_site: MakeSite
) -> None:
    if find_chromium(settings) is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    size = 8
    site = make_site(chain_site(size))
    card = tmp_path / "card.toml"
    text = CARD.format(top='rendering = "browser"', read="", pages=100, port=site.server_port)
    card.write_text(sign(settings, text, tmp_path))
    process = subprocess.Popen(
        crawl_argv(card, site.server_port), env={**crawl_env(settings), **SOON}, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    broken = []
    for pages, number in ((2, signal.SIGKILL), (4, signal.SIGSTOP)):
        while count(conn, "select count(*) from page where kind = 'page' and state = 'done'") < pages:
            assert process.poll() is None
            time.sleep(0.02)
        (browser,) = find_browsers(process.pid)
        broken += [browser, *browser.children(recursive=True)]
        browser.send_signal(number)
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 0, told
    assert count(conn, "select count(*) from listing") == size
    assert count(conn, "select count(*) from page where attempts > 1") >= 1
    assert psutil.wait_procs(broken, 5)[1] == [], "nothing of them is left, not even a zombie"


def find_browsers(pid: int) -> list[psutil.Process]:
    """Chromium's first process of a crawl, not those that it started."""
    return [
        child for child in psutil.Process(pid).children(recursive=True)
        if "--user-data-dir=" in (line := " ".join(child.cmdline())) and "--type=" not in line
    ]  # fmt: skip
