"""Real crawls of a server that this test runs: everything is fetched once, whatever happens on the way."""

import gzip
import hashlib
import io
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from warcio.archiveiterator import ArchiveIterator

from cli.supervisor import ROOT
from crawler.browser import find_chromium
from crawler.robots import USER_AGENT, RobotsUnread, read_robots
from tests.approvers import approve
from tests.fakes import NOT_FOUND, Answer, Site
from tests.samples import count, open_warcs, png
from vault.keys import Keys
from vault.settings import Settings, child_environment
from vault.store import Connection
from vault.store.captures import list_captures, read_record

CARD = """\
name = "test-market"
kind = "shop"
{top}
[why]
purpose = "A server that the test runs"
legal_basis = "Our own server in our own test"
valid_until = 2099-12-31
[where]
hosts = ["127.0.0.1:{port}"]
start = ["http://127.0.0.1:{port}/"]
[read]
follow = ["a.next::attr(href)", "a.item::attr(href)"]
listing = "article"
title = "h1"
price = "b"
image = "img::attr(src)"
archive = "a.zip::attr(href)"
{read}
[pace]
delay = 0.0
concurrency = 8
[budget]
pages = {pages}
"""


def html(text: str, **headers: str) -> Answer:
    return 200, headers, f"<html><body>{text}</body></html>".encode()


def command(settings: Settings, site: Site, tmp_path: Path, lab: bool = True, **changes: object) -> list[str]:
    values = {"top": "", "read": "", "pages": 1000, "port": site.server_port, **changes}
    card = tmp_path / "card.toml"
    card.write_text(sign(settings, CARD.format(**values), tmp_path))
    extra = ["--lab", f"127.0.0.1:{site.server_port}"] if lab else []
    return [sys.executable, "-P", "-m", "cli", "crawl", str(card), *extra]


def sign(settings: Settings, text: str, tmp_path: Path) -> str:
    """The card, approved by two whom this deployment trusts."""
    return approve(settings, text)


def run_command(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**child_environment(settings), "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-P", "-m", "cli", *arguments]
    return subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=120, check=False)


def crawl(
    settings: Settings, site: Site, tmp_path: Path, lab: bool = True, seconds: float = 120, **changes: object
) -> subprocess.CompletedProcess[str]:
    environ = {**child_environment(settings), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command(settings, site, tmp_path, lab, **changes), env=environ, capture_output=True, text=True, timeout=seconds,
        check=False,
    )  # fmt: skip


def pages(conn: Connection) -> dict[str, str]:
    rows = conn.execute("select url, state || coalesce(':' || error_code, '') from page").fetchall()
    return {re.sub(r"^http://127.0.0.1:\d+", "", url): state for url, state in rows}


def chain_site(number: int) -> Callable[[str], Answer]:
    """`number` pages: each links to the next two, and to a picture of its own."""

    def answer(path: str) -> Answer:
        if path.startswith("/pic/"):
            return 200, {"Content-Type": "image/png"}, png(40, 40, "RGB", (int(path[5:-4]) % 256, 1, 2))
        if path != "/" and not path.startswith("/p/"):
            return NOT_FOUND
        at = int(path[3:]) if path != "/" else 0
        links = "".join(f'<a class="next" href="/p/{to}">x</a>' for to in (at + 1, at + 2) if to < number)
        return html(f'{links}<article><h1>lot {at}</h1><b>{at}元</b><img src="/pic/{at}.png"></article>')

    return answer


@pytest.fixture(autouse=True)
def made_keys(keys: Keys) -> None:
    """Every crawl needs the key file."""


def test_a_site_is_harvested_with_evidence_and_a_second_crawl_adds_nothing(
    settings: Settings,
    keys: Keys,
    conn: Connection,
    tmp_path: Path,
    make_site: Callable[[Callable[[str], Answer]], Site],
) -> None:
    site = make_site(chain_site(12))
    done = crawl(settings, site, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "lab: loopback open for" in done.stdout
    assert set(pages(conn).values()) == {"done"}
    tables = ("page", "listing", "listing_version", "dataset", "sample", "capture", "blob", "ledger")
    before = {table: count(conn, f"select count(*) from {table}") for table in tables}
    assert (before["listing"], before["capture"], before["page"]) == (12, 12, 24)
    assert len(list((settings.home / "warc").iterdir())) == 1
    (data,) = open_warcs(conn, keys, settings)
    records = [(record.rec_type, record.content_stream().read()) for record in ArchiveIterator(io.BytesIO(data))]
    assert [kind for kind, _ in records] == ["warcinfo"] + ["response"] * 12
    digests = {hashlib.sha256(body).hexdigest() for _, body in records[1:]}
    for capture_id, digest in conn.execute("select capture_id, sha256 from capture").fetchall():
        (stored,) = list_captures(conn, [capture_id])  # a record can be cut out and opened by its row alone
        record = next(iter(ArchiveIterator(io.BytesIO(read_record(keys, settings.home / "warc", stored)))))
        assert hashlib.sha256(record.content_stream().read()).hexdigest() == digest
        assert digest in digests
    assert crawl(settings, site, tmp_path).returncode == 0
    assert {table: count(conn, f"select count(*) from {table}") for table in tables} == before
    assert site.hits["/"] == 2
    assert site.hits["/pic/3.png"] == 1, "a known picture is not fetched again"


def test_kills_in_mid_crawl_lose_nothing(
    settings: Settings, conn: Connection, tmp_path: Path, make_site: Callable[[Callable[[str], Answer]], Site]
) -> None:
    """kill -9 of the crawl at about 25, 50 and 75 % of 400 pages: all of them in the end, at most what was in flight
    fetched twice, and no kill looks like an end."""
    total = 400

    def answer(path: str) -> Answer:
        time.sleep(0.004)
        if path == "/robots.txt":
            return NOT_FOUND
        at = int(path[3:]) if path != "/" else 0
        links = "".join(f'<a class="next" href="/p/{to}">x</a>' for to in range(3 * at + 1, 3 * at + 4) if to < total)
        return html(f"{links}<article><h1>lot {at}</h1><b>{at}元</b></article>")

    site = make_site(answer)
    environ = {**child_environment(settings), "PYTHONPATH": str(ROOT)}
    chance = random.Random()
    refetched: list[int] = []
    for part in (0.25, 0.5, 0.75, None):
        process = subprocess.Popen(
            command(settings, site, tmp_path), env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        if part is not None:
            wanted = total * part * chance.uniform(0.9, 1.1)
            while sum(site.hits.values()) < wanted and process.poll() is None:
                time.sleep(0.005)
            os.killpg(process.pid, signal.SIGKILL)
        told = process.communicate()[1]
        assert process.returncode == (0 if part is None else -signal.SIGKILL), told
        refetched.append(sum(times - 1 for path, times in site.hits.items() if path != "/robots.txt"))
    assert set(pages(conn).values()) == {"done"}
    assert (len(pages(conn)), count(conn, "select count(*) from listing")) == (total, total)
    assert refetched[-1] <= 3 * 8, f"{refetched} fetched again"  # the card's concurrency, three times


def test_failures_end_in_their_codes_and_temporary_ones_are_tried_again(
    settings: Settings, conn: Connection, tmp_path: Path, make_site: Callable[[Callable[[str], Answer]], Site]
) -> None:
    tried: Counter[str] = Counter()

    def answer(path: str) -> Answer:
        tried[path] += 1
        if path == "/":
            names = ("gone", "secret", "busy", "loop", "self", "out", "file", "moved", "empty")
            links = "".join(f'<a class="item" href="/{name}">x</a>' for name in names)
            return html(f'{links}<a class="item" href="http://other.example/x">y</a>'
                        '<article><h1>lot</h1><img src="/empty.png"><img src="/moved.png"></article>')  # fmt: skip
        return {
            "/secret": (403, {}, b"no"),
            "/busy": (503, {}, b"wait") if tried[path] < 3 else html("at last"),
            "/loop": (302, {"Location": f"/loop?x{sum(tried.values())}"}, b""),
            "/self": (302, {"Location": "/self"}, b""),
            "/out": (302, {"Location": "http://169.254.169.254/latest"}, b""),
            "/file": (302, {"Location": "file:///etc/passwd"}, b""),
            "/moved": (301, {"Location": "/target"}, b""),
            "/target": html("<article><h1>moved here</h1></article>"),
            "/empty": html(""),
            "/empty.png": (200, {"Content-Type": "image/png"}, b""),
            "/moved.png": (302, {"Location": "/real.png"}, b""),
            "/real.png": (200, {"Content-Type": "image/png"}, png(50, 50)),
        }.get(path.split("?")[0], NOT_FOUND)

    site = make_site(answer)
    done = crawl(settings, site, tmp_path)
    assert done.returncode == 0, done.stderr
    found = pages(conn)
    expected = {
        "/": "done", "/self": "quarantined:redirect_loop",
        "/gone": "quarantined:http_404", "/secret": "quarantined:http_403", "/busy": "done",
        "/out": "quarantined:redirect_refused", "/file": "quarantined:redirect_refused", "/moved": "done",
        "/target": "done", "/empty": "done", "/empty.png": "quarantined:body_empty", "/moved.png": "done",
        "/real.png": "done",
    }  # fmt: skip
    assert {path: found[path] for path in expected} == expected
    assert "quarantined:too_many_redirects" in {state for path, state in found.items() if path.startswith("/loop")}
    assert tried["/busy"] == 3
    assert not any("other.example" in path for path in found)
    assert count(conn, "select count(*) from sample") == 1, "the picture behind the redirect belongs to the listing"


def test_without_lab_loopback_is_refused_and_the_refusal_is_in_the_ledger(
    settings: Settings, conn: Connection, tmp_path: Path, make_site: Callable[[Callable[[str], Answer]], Site]
) -> None:
    site = make_site(chain_site(3))
    done = crawl(settings, site, tmp_path, lab=False)
    assert done.returncode == 0
    assert site.hits == {}
    assert pages(conn) == {"/": "quarantined:address_refused"}
    told = "select count(*) from ledger where about = 'source:test-market' and entry like '%%address_refused%%'"
    assert count(conn, told) >= 1


@pytest.mark.parametrize("pair", ["127.0.0.1", "10.0.0.1:80", "localhost:80", "example.com:80", "127.0.0.1:0", "x"])
def test_lab_opens_exact_loopback_pairs_only(settings: Settings, tmp_path: Path, pair: str) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "cli", "crawl", "x.toml", "--lab", pair],
        env={**child_environment(settings), "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "is not a loopback address and port" in done.stderr


def test_robots_txt_is_obeyed(
    settings: Settings, conn: Connection, tmp_path: Path, make_site: Callable[[Callable[[str], Answer]], Site]
) -> None:
    def answer(path: str) -> Answer:
        if path == "/robots.txt":
            return 302, {"Location": "/rules"}, b""
        if path == "/rules":
            return 200, {"Content-Type": "text/plain"}, b"User-agent: *\nDisallow: /private/\n"
        return html('<a class="item" href="/private/x">x</a><a class="item" href="/open">y</a>')

    site = make_site(answer)
    assert crawl(settings, site, tmp_path).returncode == 0
    assert pages(conn) == {"/": "done", "/open": "done", "/private/x": "quarantined:robots_refused"}
    assert "/private/x" not in site.hits


def test_nothing_is_fetched_before_a_robots_txt_at_fault_has_said_what_may_be(
    settings: Settings, conn: Connection, tmp_path: Path, make_site: Callable[[Callable[[str], Answer]], Site]
) -> None:
    asked: list[str] = []

    def answer(path: str) -> Answer:
        asked.append(path)
        if path == "/robots.txt":
            return (503, {}, b"soon") if asked.count(path) < 3 else NOT_FOUND
        return html("<article><h1>lot</h1></article>")

    done = crawl(settings, make_site(answer), tmp_path)
    assert (done.returncode, asked) == (0, ["/robots.txt"] * 3 + ["/"]), done.stderr
    assert "Traceback" not in done.stderr
    assert conn.execute("select attempts from page").fetchone() == (3,)


@pytest.mark.parametrize(
    ("status", "body", "refusal", "allowed"),
    [
        (200, b"User-agent: *\nDisallow: /", "", False),
        (200, b"User-agent: *\nDisallow: /other", "", True),
        (200, b"User-agent: facewarden\nDisallow: /", "", False),
        (200, b"\xff\xfe\0<html>no rules", "", True),
        (200, b"#" * (512 << 10) + b"\nUser-agent: *\nDisallow: /", "", True),  # no more is read
        (404, b"User-agent: *\nDisallow: /", "", True),
        (401, b"", "", True),
        (429, b"", "", True),
        (403, b"", "a code of their own", True),
        (500, b"", "", "robots_unreachable"),
        (503, b"User-agent: *\nAllow: /", "", "robots_unreachable"),
        (403, b"", "address_refused", "address_refused"),
        (403, b"", "upstream_unavailable", "upstream_unavailable"),
    ],
)
def test_what_a_robots_txt_allows(status: int, body: bytes, refusal: str, allowed: bool | str) -> None:
    try:
        found: bool | str = read_robots(status, body, refusal).can_fetch("http://a.example/x", USER_AGENT)
    except RobotsUnread as exc:
        found = exc.code
    assert found == allowed


def test_a_picture_that_could_not_be_had_is_asked_for_once_more_in_the_next_cycle(
    settings: Settings, conn: Connection, tmp_path: Path, make_site: Callable[[Callable[[str], Answer]], Site]
) -> None:
    there = False

    def answer(path: str) -> Answer:
        if path == "/a.png":
            return (200, {"Content-Type": "image/png"}, png(40, 40)) if there else (500, {}, b"")
        return html('<article><h1>lot</h1><img src="/a.png"></article>') if path == "/" else NOT_FOUND

    site = make_site(answer)
    assert crawl(settings, site, tmp_path).returncode == 4
    assert site.hits["/a.png"] == 5
    assert crawl(settings, site, tmp_path).returncode == 4
    assert site.hits["/a.png"] == 6
    there = True
    assert crawl(settings, site, tmp_path).returncode == 0
    assert site.hits["/a.png"] == 7
    assert count(conn, "select count(*) from sample") == 1


def test_the_page_budget_ends_an_endless_site(
    settings: Settings, conn: Connection, tmp_path: Path, make_site: Callable[[Callable[[str], Answer]], Site]
) -> None:
    def answer(path: str) -> Answer:
        number = len(path)
        return html("".join(f'<a class="next" href="{path.rstrip("/")}/{number}{each}">x</a>' for each in range(9)))

    site = make_site(answer)
    done = crawl(settings, site, tmp_path, pages=40)
    assert done.returncode == 0
    assert len(pages(conn)) == 40
    assert "left out: " in done.stdout, "what a budget leaves out is said"
    deep = crawl(settings, site, tmp_path, pages="1000\ndepth = 2")
    assert deep.returncode == 0
    assert "left out: " in deep.stdout
    assert count(conn, "select max(depth) from page") == 2


def test_a_changed_listing_gets_a_version_and_a_removed_picture_stays(
    settings: Settings, conn: Connection, tmp_path: Path, make_site: Callable[[Callable[[str], Answer]], Site]
) -> None:
    price = ["10元"]

    def answer(path: str) -> Answer:
        if path == "/":
            return html(f"<article><h1>lot</h1><b>{price[0]}</b><img src='/{len(price)}.png'></article>")
        return 200, {"Content-Type": "image/png"}, png(40, 40 + len(price))

    site = make_site(answer)
    crawl(settings, site, tmp_path)
    price.insert(0, "12元")
    crawl(settings, site, tmp_path)
    rows = conn.execute("select version, price::int from listing_version order by version").fetchall()
    assert rows == [(1, 10), (2, 12)]
    assert count(conn, "select count(*) from capture") == 2
    assert count(conn, "select count(*) from sample") == 2
    assert count(conn, "select count(*) from dataset") == 1


def test_a_listed_picture_is_never_stored_and_the_source_stops(
    settings: Settings, conn: Connection, tmp_path: Path, make_site: Callable[[Callable[[str], Answer]], Site]
) -> None:
    bad = png(60, 60)
    lists = tmp_path / "hashes.txt"
    lists.write_text(f"# test\n{hashlib.sha256(bad).hexdigest().upper()}\n")
    site = make_site(lambda path: html("<article><h1>lot</h1><img src='/bad.png'></article>") if path == "/"
                     else (200, {"Content-Type": "image/png"}, bad))  # fmt: skip
    gated = settings.replace("crawl", hash_lists=(lists,))
    crawl(gated, site, tmp_path)
    assert pages(conn)["/bad.png"] == "quarantined:hash_listed"
    assert count(conn, "select count(*) from blob") == 0
    assert conn.execute("select state from source").fetchone() == ("paused",)
    again = crawl(gated, site, tmp_path)
    assert again.returncode == 2
    assert "paused" in again.stderr
    assert site.hits["/bad.png"] == 1


def test_a_picture_that_two_listings_show_is_fetched_once_and_a_sample_of_both(
    settings: Settings, conn: Connection, tmp_path: Path, make_site: Callable[[Callable[[str], Answer]], Site]
) -> None:
    def answer(path: str) -> Answer:
        if path in ("/", "/two"):
            return html(f'<a class="item" href="/two">x</a><article><h1>lot {path}</h1><img src="/same.png"></article>')
        return 200, {"Content-Type": "image/png"}, png(40, 40)

    site = make_site(answer)
    crawl(settings, site, tmp_path)
    assert site.hits["/same.png"] == 1
    assert count(conn, "select count(*) from sample") == 2
    assert count(conn, "select count(*) from blob") == 1


def test_an_archive_is_streamed_up_to_its_cap(
    settings: Settings, conn: Connection, tmp_path: Path, make_site: Callable[[Callable[[str], Answer]], Site]
) -> None:
    body = random.Random(1).randbytes(3_000_000)

    def answer(path: str) -> Answer:
        if path == "/":
            return html('<article><h1>lot</h1><a class="zip" href="/pack.zip">zip</a></article>')
        return 200, {"Content-Type": "application/zip"}, body

    site = make_site(answer)
    assert crawl(settings, site, tmp_path).returncode == 0
    row = conn.execute("select kind, size, sha256 from sample").fetchone()
    assert row == ("archive", len(body), hashlib.sha256(body).hexdigest())
    conn.execute("truncate source cascade")
    conn.execute("truncate blob cascade")
    done = crawl(settings, site, tmp_path, pages="1000\narchive_bytes = 1000000")
    assert done.returncode == 0, done.stderr
    assert pages(conn)["/pack.zip"] == "quarantined:body_too_large"
    assert count(conn, "select count(*) from blob") == 0
    left = list((settings.home / "blobs").rglob("*.tmp"))
    assert left == []


def test_one_crawl_a_source(
    settings: Settings, conn: Connection, tmp_path: Path, make_site: Callable[[Callable[[str], Answer]], Site]
) -> None:
    go_on = threading.Event()

    def answer(path: str) -> Answer:
        go_on.wait(60)
        return html("x")

    site = make_site(answer)
    environ = {**child_environment(settings), "PYTHONPATH": str(ROOT)}
    first = subprocess.Popen(command(settings, site, tmp_path), env=environ, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)  # fmt: skip
    while not site.hits:
        time.sleep(0.02)
    second = crawl(settings, site, tmp_path)
    go_on.set()
    assert second.returncode == 2
    assert "being crawled already" in second.stderr
    assert first.wait(60) == 0


def test_a_crawl_whose_database_goes_away_says_so_and_goes_on_later(
    settings: Settings, conn: Connection, tmp_path: Path, make_site: Callable[[Callable[[str], Answer]], Site]
) -> None:
    inner = chain_site(30)

    def answer(path: str) -> Answer:
        if path == "/p/10":
            conn.execute("select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() "
                         "and datname = current_database()")  # fmt: skip
        return inner(path)

    site = make_site(answer)
    assert crawl(settings, site, tmp_path).returncode == 75
    site.answer = inner
    assert crawl(settings, site, tmp_path).returncode == 0
    assert set(pages(conn).values()) == {"done"}
    assert count(conn, "select count(*) from listing") == 30


def test_a_page_that_is_empty_without_javascript_is_rendered(
    settings: Settings, conn: Connection, tmp_path: Path, make_site: Callable[[Callable[[str], Answer]], Site]
) -> None:
    if find_chromium(settings) is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    inside: list[str] = []
    trap = make_site(lambda path: inside.append(path) or html("inside"))  # type: ignore[func-returns-value]
    script = f"""
      fetch('{trap.url}/fetch').catch(() => 0);
      fetch('http://169.254.169.254/latest').catch(() => 0);
      new WebSocket('ws://127.0.0.1:{trap.server_port}/socket');
      new EventSource('{trap.url}/events');
      navigator.sendBeacon('{trap.url}/beacon');
      new Worker(URL.createObjectURL(new Blob(["fetch('{trap.url}/worker')"])));
      document.write('<iframe src="{trap.url}/frame"></iframe><link rel=prefetch href="{trap.url}/prefetch">');
      setTimeout(() => {{ document.body.innerHTML +=
        '<article><h1>drawn by a script</h1><img src="/a.png"></article><p class="ready"></p>'; }}, 300);
    """
    site = make_site(lambda path: (200, {"Content-Type": "image/png"}, png(40, 40)) if path == "/a.png"
                     else html(f"<script>{script}</script>"))  # fmt: skip
    done = crawl(settings, site, tmp_path, top='rendering = "browser"', read='wait_for = "p.ready"')
    assert done.returncode == 0, done.stderr
    assert conn.execute("select title from listing_version").fetchone() == ("drawn by a script",)
    assert count(conn, "select count(*) from sample") == 1
    assert inside == [], "nothing but the card's host was reached"
    told = "select count(*) from ledger where entry like '%%refusal%%'"
    assert count(conn, told) >= 3


def test_a_tab_keeps_nothing_of_the_page_that_it_showed_before(
    settings: Settings, conn: Connection, tmp_path: Path, make_site: Callable[[Callable[[str], Answer]], Site]
) -> None:
    """A page's scripts would run on until the next one in the same tab has answered, and the last one is slow here."""
    if find_chromium(settings) is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    late: list[float] = []
    slow: list[float] = []

    def answer(path: str) -> Answer:
        if path.startswith("/late"):
            late.append(time.monotonic())
        elif path == "/slow":
            slow.append(time.monotonic())
            time.sleep(3)
        elif path == "/":
            return html("".join(f'<a class="item" href="/p/{number}">x</a>' for number in range(8)))
        return html(f"""<a class="item" href="/slow">x</a><script>
            document.write('<article><h1>' + (window.name || 'clean') + '{path}</h1></article>');
            window.name = 'left';
            addEventListener('beforeunload', event => event.preventDefault());
            setInterval(() => fetch('/late{path}').catch(() => 0), 20);</script>""")

    done = crawl(settings, make_site(answer), tmp_path, top='rendering = "browser"', read='wait_for = "a.item"')
    assert done.returncode == 0, done.stderr
    titles = {title for (title,) in conn.execute("select title from listing_version").fetchall()}
    assert titles == {f"clean{path}" for path in ("/slow", *(f"/p/{number}" for number in range(8)))}
    assert late and not [at for at in late if slow[0] + 1 < at < slow[0] + 3]


HOSTILE: dict[str, Answer] = {
    "/hex": (200, {"Content-Type": "text/html; charset=hex"}, b"<p>x</p>"),
    "/undefined": (200, {"Content-Type": "text/html; charset=undefined"}, b"<p>x</p>"),
    "/zlib": (200, {}, b'<meta charset="zlib"><p>x</p>'),
    "/base": (200, {}, b'<base href="http://[x/"><p>x</p>'),
    "/nowhere": (302, {"Location": "http://[x/"}, b""),
    "/jpeg": (200, {}, b"\xff\xd8\xff\xe0 a picture that says it is a page"),
    "/typed": (200, {"Content-Type": "image/png"}, b"x"),
    "/forged": (403, {"X-Facewarden-Refused": "address_refused"}, b"no"),
    "/made-up": (403, {"X-Facewarden-Refused": "<script>" * 300}, b"no"),
    "/deep": (200, {}, b"<div>" * 100_000),
    "/many": (200, {}, b"<article><h1>x</h1></article>" * 20_000),
    "/attribute": (200, {}, b"<p title='" + b"x" * 5_000_000 + b"'>x</p>"),
    "/nul": (200, {}, b"<article><h1>a\0b</h1></article>\0"),
}


def test_hostile_pages_end_in_codes_and_cost_their_neighbours_nothing(
    settings: Settings,
    keys: Keys,
    conn: Connection,
    tmp_path: Path,
    make_site: Callable[[Callable[[str], Answer]], Site],
) -> None:
    def answer(path: str) -> Answer:
        if path == "/":
            return html("".join(f'<a class="item" href="{each}">x</a><a class="item" href="/good{number}">y</a>'
                                for number, each in enumerate(HOSTILE)))  # fmt: skip
        if path.startswith("/good"):
            return html(f"<article><h1>lot {path}</h1></article>")
        return HOSTILE.get(path, NOT_FOUND)

    site = make_site(answer)
    done = crawl(settings, site, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    found = pages(conn)
    assert all(state == "done" for path, state in found.items() if path.startswith("/good"))
    assert {path: found[path] for path in HOSTILE} == {
        "/hex": "done", "/undefined": "done", "/zlib": "done", "/base": "done",
        "/nowhere": "quarantined:redirect_refused", "/jpeg": "quarantined:not_a_page",
        "/typed": "quarantined:not_a_page", "/forged": "quarantined:http_403", "/made-up": "quarantined:http_403",
        "/deep": "done", "/many": "done", "/attribute": "done", "/nul": "done",
    }  # fmt: skip
    assert count(conn, "select count(*) from listing where url like '%%/many%%'") == 1000
    assert conn.execute("select verdict from page where url like '%%/many'").fetchone() == ("page_too_complex",)
    assert b"a picture that says" not in gzip.decompress(b"".join(open_warcs(conn, keys, settings)))
    assert all(path.stat().st_mode & 0o077 == 0 for path in (settings.home / "warc").iterdir())
