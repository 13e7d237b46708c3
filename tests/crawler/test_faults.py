"""Faults and hostile answers that a crawl must bear.

Where each line of the list of faults that concerns crawling is tested, if not here:

| line | test |
|---|---|
| database gone in mid-crawl (7) | test_crawl: a_crawl_whose_database_goes_away_says_so |
| evidence disk full at every write (9) | here: a_disk_that_is_full |
| kill -9 at 25, 50, 75 % (14) | test_crawl: kills_in_mid_crawl_lose_nothing |
| browser crash, hang, zombie (15) | here: a_browser_that_crashes_or_hangs, a_page_that_tries_everything |
| Tor down, SOCKS stalls (16) | here: a_hidden_service; test_egress: a_proxy_that_is_down |
| guard down (17) | here: a_guard_that_dies_in_mid_crawl |
| bombs, lengths that lie, drip, huge pages, titles, redirects, odd links | here: hostile_answers |
| charsets, forged refusals, files that are no pages | test_crawl: hostile_pages_end_in_codes |
| redirect to itself, loop, to an inner address, file: | test_crawl: failures_end_in_their_codes |
| special addresses, URLs that parsers read differently | test_egress: SPECIAL, HOSTILE_URLS |
| a name that answers another address next | test_egress: a_name_is_resolved_once |
| browser vectors, popups, alert(), Blob | here: a_page_that_tries_everything |
| robots | test_crawl: robots_txt_is_obeyed, a_robots_txt_at_fault |
| login, captcha, block, 200 with an error, empty, other layout | test_health: a_shop_that_changes; test_verdicts |
| honeypots, calendars, endless pages | test_life: a_calendar_without_end; test_crawl: the_page_budget_ends |
"""

import contextlib
import gzip
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import brotli  # type: ignore[import-untyped]
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
from vault.store.captures import list_captures, read_record

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
    assert (process.returncode, "stopped: guard_gone" in told, "failed 0," in told) == (3, True, True), told
    assert sum(site.hits.values()) == before, "nothing was fetched without it"
    assert apart.strays == set()
    assert count(conn, "select count(*) from page where state = 'quarantined'") == 0
    waiting = conn.execute("select attempts, error_code from page where state = 'ready' and error_code is not null")
    assert set(waiting) == {(0, "guard_gone")}, "what could not be fetched without it has failed at nothing"


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
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            line = " ".join(child.cmdline())
            if "--user-data-dir=" in line and "--type=" not in line:
                found.append(child)
    return found


# -- 9: a disk that is full --------------------------------------------------------------------------------------------


def test_a_disk_that_is_full_at_any_write_costs_nothing_but_time(
    settings: Settings, keys: Keys, conn: Connection, tmp_path: Path, make_site: MakeSite
) -> None:
    """Files of a crawl may grow to so many bytes and no further: in a WARC record, in a blob, and later in either."""
    big = {number: bytes([number]) * 30_000 for number in range(6)}

    def answer(path: str) -> Answer:
        if path.startswith("/pic/"):
            return 200, {"Content-Type": "image/png"}, b"\x89PNG" + big[int(path[5])]
        if path == "/robots.txt":
            return NOT_FOUND
        at = int(path[1:] or 0)
        links = "".join(f'<a class="item" href="/{to}">x</a>' for to in range(6))
        noise = random.Random(at).randbytes(900).hex()
        return html(f'{links}<article><h1>lot {at}</h1><img src="/pic/{at}"></article><!-- {noise} -->')

    site = make_site(answer)
    card = tmp_path / "card.toml"
    card.write_text(sign(settings, CARD.format(top="", read="", pages=100, port=site.server_port), tmp_path))

    def crawl_within(most: int) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            crawl_argv(card, site.server_port), env=crawl_env(settings), capture_output=True, text=True, timeout=120,
            check=False, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
        )  # fmt: skip

    for most in (500, 4_000, 20_000):
        full = crawl_within(most)
        assert full.returncode not in (0, 1), f"{most}: {full.stdout}"
        assert "Traceback" not in full.stdout
        ids = [capture_id for (capture_id,) in conn.execute("select capture_id from capture").fetchall()]
        for stored in list_captures(conn, ids):
            data = read_record(keys, settings.home / "warc", stored)
            assert gzip.decompress(data).startswith(b"WARC/1.1"), "what a row points to is whole"
        assert list((settings.home / "blobs").rglob("*.tmp")) == []
    assert crawl_within(1 << 30).returncode == 0
    assert count(conn, "select count(*) from page where state <> 'done'") == 0
    assert (count(conn, "select count(*) from listing"), count(conn, "select count(*) from sample")) == (7, 7)


# -- hostile answers ---------------------------------------------------------------------------------------------------


def serve_raw(head: bytes, piece: bytes, seconds: float) -> int:
    """The port of a server that answers anybody with a head and then one piece after the other; 0 seconds: one, then
    the end."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.recv(65_536)
            client.sendall(head + b"\r\n\r\n")
            while True:
                client.sendall(piece)
                if not seconds:
                    return
                time.sleep(seconds)

    def accept() -> None:
        while True:
            client, _ = listener.accept()
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return int(listener.getsockname()[1])


ARTICLE = b"<article><h1>lot</h1></article>"
TITLE = "\x1b[31mred\x1b]0;x\x07 one\ntwo\rthree \u202egnp.exe\u2066 " + "long " * 200_000
TARGETS = ("data:text/html,x", "ftp://127.0.0.1/", "gopher://127.0.0.1/", "javascript:alert(1)", "http://[::1]/",
           "http://2130706433/", "http://0x7f000001/", "http://127.1/", "http://[::ffff:127.0.0.1]/", "//169.254.1.2/",
           "http://good@evil/", "http://127.0.0.1:22/", "http://127.0.0.1:0/", "\\\\evil\\x")  # fmt: skip


# A process's peak begins with the memory of the one that started it (Linux counts what fork copied and exec dropped),
# so a small one stands between.
WEIGH = """import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)"""


def test_hostile_answers_end_in_codes_within_the_limits(
    settings: Settings, conn: Connection, tmp_path: Path, make_site: MakeSite
) -> None:
    zeros = bytes(200 << 20)
    answers: dict[str, Answer] = {
        "/gzip": (200, {"Content-Encoding": "gzip"}, gzip.compress(zeros, 1)),
        "/brotli": (200, {"Content-Encoding": "br"}, brotli.compress(zeros, quality=1)),
        "/large": (200, {}, zeros[: 33 << 20]),
        "/nested": (200, {}, b"<div>" * 6_700_000),
        "/flat": (200, {}, b"<p>x</p>" * 4_000_000),
        "/attribute": (200, {}, ARTICLE + b"<p title='" + b"x" * 20_000_000 + b"'>x</p>"),
        "/title": (200, {}, f"<article><h1>{TITLE}</h1><b>{TITLE}</b></article>".encode()),
        **{f"/to{number}": (302, {"Location": target}, b"") for number, target in enumerate(TARGETS)},
    }
    del zeros

    def answer(path: str) -> Answer:
        if path == "/":
            links = (*answers, "/hops0", *(f"http://127.0.0.1:{port}/raw" for port in raw), *TARGETS, "/good")
            return html("".join(f'<a class="item" href="{each}">x</a>' for each in links))
        if path.startswith("/hops"):
            return 302, {"Location": f"/hops{int(path[5:]) + 1}" if path != "/hops50" else "/good"}, b""
        return html("<article><h1>good</h1></article>") if path == "/good" else answers.get(path, NOT_FOUND)

    site = make_site(answer)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: "
    drip, short, long = raw = (
        serve_raw(head + b"1000000", b"x" * 5, 0.5),
        serve_raw(head + b"1000", ARTICLE, 0),
        serve_raw(head + b"%d" % len(ARTICLE), ARTICLE + b"<p>more than it said</p>" * 99, 0),
    )
    text = CARD.format(top="", read="", pages=100, port=site.server_port)
    hosts = ", ".join(f'"127.0.0.1:{port}"' for port in (site.server_port, *raw))
    card = tmp_path / "card.toml"
    card.write_text(
        sign(settings, text.replace(f'hosts = ["127.0.0.1:{site.server_port}"]', f"hosts = [{hosts}]"), tmp_path)
    )
    env = {**crawl_env(settings), "FACEWARDEN_CRAWL_PAGE_SECONDS": "3"}
    argv = [sys.executable, "-S", "-c", WEIGH, *crawl_argv(card, site.server_port, *raw)]
    done = subprocess.run(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    *lines, peak = done.stdout.splitlines()
    told = "\n".join(lines)
    assert done.returncode == 4, told  # what could not be had is said, by exit code too
    assert "missed: 2 addresses" in told
    assert int(peak) < 500 << 10, f"{int(peak) >> 10} MB"
    assert "Traceback" not in told, told[told.index("Traceback") - 3000 :]
    assert all(line.startswith("{") or line.isprintable() for line in told.splitlines())
    found = {
        url.removeprefix(site.url): code or "done"
        for url, code in conn.execute("select url, error_code from page").fetchall()
    }
    assert {path: found[path] for path in answers if not path.startswith("/to")} == {
        "/gzip": "body_too_large", "/brotli": "body_too_large", "/large": "body_too_large",
        "/nested": "page_too_complex", "/flat": "page_too_complex", "/attribute": "done", "/title": "done",
    }  # fmt: skip
    assert {found[f"/to{number}"] for number in range(len(TARGETS))} == {"redirect_refused"}
    assert "too_many_redirects" in {code for path, code in found.items() if path.startswith("/hops")}
    assert "/hops50" not in site.hits
    assert found[f"http://127.0.0.1:{drip}/raw"] == "fetch_timeout"
    assert found[f"http://127.0.0.1:{short}/raw"] == "fetch_failed", "it ends before it said it would"
    assert found[f"http://127.0.0.1:{long}/raw"] == "done"
    ours = {*answers, "/", "/good", "///evil/x", *(f"/hops{n}" for n in range(6)),
            *(f"http://127.0.0.1:{port}/raw" for port in raw)}  # fmt: skip
    assert set(found) == ours, "no other address became a page; the one with backslashes is a path of the site"
    title, price = conn.execute("select title, price_text from listing_version where title like '%%red%%'").fetchall()[
        0
    ]
    assert title.isprintable()
    assert len(title) <= 301
    assert not set("\x1b\n\r\u202e\u2066") & set(title + price)
