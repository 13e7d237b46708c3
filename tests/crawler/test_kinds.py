"""Kinds of sources that are no pages of HTML selectors: an API, an open directory; hostile ones among them."""

import datetime as dt
import http.server
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cli.supervisor import ROOT
from crawler.cards import Card, parse_card
from crawler.kinds import Reading, parse_answer
from crawler.kinds.json_api import MOST_BYTES
from crawler.verdicts import Known, Verdict, judge_page
from tests.crawler.test_crawl import CARD, pages, sign
from tests.crawler.test_pages import open_card
from tests.fakes import NOT_FOUND, Answer, Site
from tests.samples import count, png
from vault.keys import Keys
from vault.settings import Settings, child_environment
from vault.store import Connection

MakeSite = Callable[[Callable[[str], Answer]], Site]
URL = "https://api.example/v2/goods?page=1&size=3"
ITEM = {"id": 1, "name": "5000 faces", "price": {"amount": 10, "currency": "USD"}, "stock": 1}


def read_goods(goods: Any, url: str = URL, **more: Any) -> Reading:
    return read_api(json.dumps({"data": {"goods": goods, **more}}).encode(), url)


def read_api(body: bytes, url: str = URL, content_type: str = "application/json") -> Reading:
    return parse_answer(body, url, content_type, open_card("json_shop"))


# -- JSON -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "url", "next_page"),
    [
        (True, URL, "https://api.example/v2/goods?page=2&size=3"),
        (1, "https://api.example/v2/goods?page=41&size=3", "https://api.example/v2/goods?page=42&size=3"),
        (True, "https://api.example/v2/goods?size=3&page=7", "https://api.example/v2/goods?page=8&size=3"),
        (True, "https://api.example/v2/goods", "https://api.example/v2/goods?page=2&size=3"),
        (False, URL, None), (None, URL, None), ([], URL, None), ("", URL, None),
    ],
)  # fmt: skip
def test_a_page_number_counts_on_while_there_is_more(more: Any, url: str, next_page: str | None) -> None:
    assert read_goods([ITEM], url, has_more=more).parsed.links == ((next_page,) if next_page else ())


@pytest.mark.parametrize(
    ("form", "answer", "link"),
    [
        ('next = "next"', {"next": "?after=7"}, "http://x.example/a?after=7"),
        ('next = "next"\npage_url = "/list?after={}"', {"next": "a&b/c"}, "http://x.example/list?after=a%26b%2Fc"),
        ('next = "items[-1].id"\npage_url = "/list?after={}"', {"items": [{"id": 8}]}, "http://x.example/list?after=8"),
        ('next = "items"\npage_url = "/list?offset={+50}"', {"items": [{"id": 8}]}, "http://x.example/list?offset=50"),
        ('next = "items"\npage_url = "/list?offset={+50}"', {"items": []}, None),
        ('next = "next"', {"next": "javascript:alert(1)"}, None),
        ('next = "next"', {"next": {"no": "address"}}, None),
    ],
)
def test_the_next_page_is_an_address_a_token_or_an_offset(form: str, answer: Any, link: str | None) -> None:
    found = parse_answer(json.dumps(answer).encode(), "http://x.example/a", "application/json", api_card(form))
    assert found.parsed.links == ((link,) if link else ())


def api_card(form: str) -> Card:
    text = f"""name = "api"\nkind = "jsonapi"\n[why]\npurpose = "a test of forms"\nlegal_basis = "a test of forms"
valid_until = 2099-12-31\n[where]\nhosts = ["x.example"]\nstart = ["http://x.example/a"]\n[read]\nlisting = "items"
title = "name"\n{form}\n"""
    return parse_card(text, "api", dt.date(2026, 11, 1))


@pytest.mark.parametrize(
    ("body", "verdict", "unreadable"),
    [
        (b'{"error": {"code": 401, "message": "token expired"}}', Verdict.LOGIN_WALL, False),
        ('{"code": 40001, "msg": "未登录"}'.encode(), Verdict.LOGIN_WALL, False),
        (b'{"error": "captcha_required"}', Verdict.CAPTCHA, False),
        (b'{"message": "Access denied"}', Verdict.BLOCKED, False),
        (b'{"login_url": "/login", "data": {"goods": []}}', Verdict.EMPTY, False),
        (b'{"data": {"goods": []}}', Verdict.EMPTY, False),
        (b'<form><input type="password">Log in</form>', Verdict.LOGIN_WALL, True),
        (b"<h1>Maintenance</h1>", Verdict.EMPTY, True),
        (b'{"data": {"goods": [', Verdict.EMPTY, True),
        (b"", Verdict.EMPTY, True),
    ],
)
def test_an_answer_without_offers_is_told_apart(body: bytes, verdict: Verdict, unreadable: bool) -> None:
    reading = read_api(body)
    known = Known(listings=20, links=2, text=9000)
    assert judge_page(reading.root, reading.text, reading.parsed, known, reading.said) is verdict
    assert bool(reading.problem) == unreadable


def test_an_answer_in_another_form_is_a_changed_layout() -> None:
    reading = read_api(json.dumps({"result": {"rows": [ITEM] * 3}, "pad": "x" * 500}).encode())
    known = Known(listings=3, links=1, text=600)
    assert judge_page(None, reading.text, reading.parsed, known, reading.said) is Verdict.LAYOUT


@pytest.mark.parametrize(
    "body",
    [
        b'{"data":' * 100_000, b"[" * 5_000_000, b"[[]," * 1_900_000 + b"1]",
        b'{"data": {"goods": ' + b"9" * 10_000 + b"}}",
        b'{"data": {"goods": [' + b'{"name": "x"},' * 300_000 + b"null]}}", b'"' + b"\\ud800" * 300_000 + b'"',
        b" " * MOST_BYTES + b"1", b"\xff\xfe" + "{}".encode("utf-16-le"), b"\x00" * 1000,
    ],
    ids=["deep", "deeper", "wide", "long number", "300,000 items", "lone surrogates", "too long", "utf-16", "zeros"],
)  # fmt: skip
def test_hostile_json_is_read_within_limits(body: bytes) -> None:
    began = time.process_time()
    reading = read_api(body)
    assert len(reading.parsed.listings) <= 1000
    assert time.process_time() - began < 10


def test_half_of_a_surrogate_pair_costs_no_listing() -> None:
    said = rb"5000 faces \ud800 password: x\ud800y"
    goods = b'{"data": {"goods": [{"id": 1, "name": "%b", "seller": "\\udfff", "price": {"amount": 1}}]}}' % said
    chat = b'{"messages": [{"id": 1, "type": "message", "from": "\\ud800", "text": "%b", "photo": "a.jpg"}]}' % said
    export = parse_answer(chat, "ingest:///x/result.json", "application/json", open_card("telegram_json"))
    for listing in (*read_api(goods).parsed.listings, *export.parsed.listings):
        assert repr(listing).isprintable() and "\\ud" not in repr(listing)


def test_numbers_nothing_and_repeats_are_as_a_browser_has_them() -> None:
    body = b"""{"data": {"goods": [
        {"id": 1, "name": "first", "name": "second", "price": {"amount": 1e309, "currency": "USD"}},
        {"id": 123456789012345678901234567890, "name": 17, "price": {"amount": -Infinity, "currency": "USD"}},
        {"id": 3, "name": true, "detail": [1, 2.50, false, null, {"x": 1}]}]}}"""
    first, second, third = read_api(body).parsed.listings
    assert (first.title, first.price_text, first.price) == ("second", "1e309 USD", None)
    assert first.invalid_fields == ("price",)
    assert (second.title, second.price_text) == ("17", "")
    assert second.url == "https://api.example/v2/goods/123456789012345678901234567890"
    assert (third.title, third.description) == ("true", "1 2.5 false")


def test_an_api_is_crawled_page_by_page_to_its_end(
    settings: Settings,
    keys: Keys,
    conn: Connection,
    tmp_path: Path,
    make_site: Callable[[Callable[[str], Answer]], Site],
) -> None:
    def answer(path: str) -> Answer:
        if path.startswith("/img/"):
            return 200, {"Content-Type": "image/png"}, png(40, 40, "RGB", (int(path[5:-4]), 1, 2))
        if not path.startswith("/api?page="):
            return NOT_FOUND
        page = int(path.rpartition("=")[2])
        if page == 4:
            return 401, {"Content-Type": "application/json"}, b'{"error": "login"}'
        if page == 5:
            return 200, {"Content-Type": "application/json"}, b"<h1>oops</h1>"
        items = [{"name": f"lot {page}, 500 faces", "id": page, "cost": f"{page}元", "pic": page}]
        body = {"items": items, "more": page < 3, "also": ["/api?page=4", "/api?page=5"]}
        return 200, {"Content-Type": "application/json"}, json.dumps(body).encode()

    site = make_site(answer)
    card = f"""name = "api"\nkind = "jsonapi"\n{CARD[CARD.index("[why]") : CARD.index("[where]")]}
[where]\nhosts = ["127.0.0.1:{site.server_port}"]\nstart = ["{site.url}/api?page=1"]\n[pace]\ndelay = 0.0
[read]\nlisting = "items"\ntitle = "name"\nprice = "cost"\nimage = "pic"\nimage_url = "/img/{{}}.png"
link = "join('', ['/lot/', to_string(id)])"\nfollow = ["also"]\nnext = "more"\npage_url = "/api?page={{+1}}"\n"""
    assert run_card(settings, card, site.server_port, tmp_path) == 0
    assert pages(conn) == {
        "/api?page=1": "done", "/api?page=2": "done", "/api?page=3": "done", "/img/1.png": "done", "/img/2.png": "done",
        "/img/3.png": "done", "/api?page=4": "quarantined:http_401", "/api?page=5": "quarantined:page_unreadable",
    }  # fmt: skip
    assert count(conn, "select count(*) from listing where url like '%%/lot/%%'") == 3
    assert count(conn, "select count(*) from sample") == 3
    assert site.headers["/api?page=2"]["Accept"] == "application/json"
    assert "json" not in site.headers["/img/1.png"].get("Accept", "")


def run_card(settings: Settings, text: str, port: int, tmp_path: Path) -> int:
    path = tmp_path / "card.toml"
    path.write_text(sign(settings, text, tmp_path))
    words = [sys.executable, "-P", "-m", "cli", "crawl", str(path), "--lab", f"127.0.0.1:{port}"]
    environ = {**child_environment(settings), "PYTHONPATH": str(ROOT)}
    return subprocess.run(words, env=environ, capture_output=True, check=False, timeout=120).returncode


@pytest.mark.parametrize(
    "body",
    [
        b'{"messages": [' * 400_000, b'{"messages": [' + b'{"a":' * 1_000_000, b'"messages": ["' * 200_000,
        b'{"messages": [' + b'{"id": 1, "text": "x"},' * 300_000, b'{"messages": [{"text": "' + b"x" * 20_000_000,
        b'{"name": "' * 200_000 + b'"messages": [{}]', b'{"messages": [' + b"1," * 2_000_000 + b"1]}",
    ],
    ids=["lists", "deep", "texts", "many", "long", "names", "numbers"],
)  # fmt: skip
def test_a_hostile_export_is_read_within_limits(body: bytes) -> None:
    began = time.process_time()
    parse_answer(body, "ingest:///x/result.json", "application/json", open_card("telegram_json"))
    assert time.process_time() - began < 10


SHOWN = b'<div class="message default"><div class="body"><a class="photo_wrap" href="a.jpg"></a><div class="text">5<br>'


@pytest.mark.parametrize("body", [SHOWN * 2000, SHOWN + b"x<br>" * 200_000, (SHOWN + b"</div></div></div>") * 5000])
def test_a_hostile_page_of_messages_is_read_within_limits(body: bytes) -> None:
    began = time.process_time()
    parse_answer(body, "ingest:///x/messages.html", "text/html", open_card("telegram_html"))
    assert time.process_time() - began < 10


# -- open directories -------------------------------------------------------------------------------------------------

INDEXES = {
    "lighttpd": """<h2>Index of /d/</h2><div class="list"><table summary="Directory Listing"><thead><tr>
        <th class="n">Name</th></tr></thead><tbody><tr class="d"><td class="n"><a href="../">..</a>/</td>
        <td class="m">&nbsp;</td></tr>
        <tr class="d"><td class="n"><a href="sub/">sub</a>/</td><td class="m">2026-Mar-01 10:00:00</td><td class="s">-
        &nbsp;</td><td class="t">Directory</td></tr><tr><td class="n"><a href="a.jpg">a.jpg</a></td><td class="m">
        2026-Mar-04 10:00:00</td><td class="s">88.2K</td><td class="t">image/jpeg</td></tr></tbody></table></div>""",
    "python": """<h1>Directory listing for /d/</h1><hr><ul><li><a href="a.jpg">a.jpg</a></li>
        <li><a href="sub/">sub/</a></li><li><a href="link@">link@</a></li></ul>""",
    "iis": """<H1>x.example - /d/</H1><hr><pre><A HREF="/">[To Parent Directory]</A><br><br>  3/4/2026 10:00 AM
        <br>  3/4/2026 10:00 AM        90316 <A HREF="/d/a.jpg">a.jpg</A><br>  3/1/2026  9:00 PM        &lt;dir&gt;
        <A HREF="/d/sub/">sub</A><br></pre>""",
    "h5ai": """<div id="fallback"><table><tr><th>Name</th></tr><tr><td class="fb-i"><img src="/_h5ai/up.svg"></td>
        <td class="fb-n"><a href="..">Parent Directory</a></td></tr><tr><td class="fb-n"><a href="/d/sub/">sub</a></td>
        <td class="fb-d">2026-03-01 10:00</td></tr><tr><td class="fb-n"><a href="/d/a.jpg">a.jpg</a></td>
        <td class="fb-d">2026-03-04 10:00</td><td class="fb-s">88 KB</td></tr></table></div><a href="/">x</a>""",
}


@pytest.mark.parametrize("server", INDEXES)
def test_the_index_of_any_server_is_read_alike(server: str) -> None:
    body = f"<html><body>{INDEXES[server]}</body></html>".encode()
    for url in ("http://x.example/d/",) if server == "lighttpd" else ("http://x.example/d/", "http://x.example/d/?C=N"):
        found = parse_answer(body, url, "text/html", open_card("nginx_index")).parsed
        assert found.links == ("http://x.example/d/sub/",)
        (listing,) = found.listings
        assert (listing.title, listing.claimed_count, listing.images) == ("/d/", 1, ("http://x.example/d/a.jpg",))
        assert listing.description == ("" if server == "python" else "90.3 KB, newest 2026-03-04" if server != "h5ai"
                                       else "90.1 KB, newest 2026-03-04")  # fmt: skip


def test_nothing_leads_up_sideways_round_or_to_what_is_hidden() -> None:
    body = b"""<a href="../">up</a> <a href="/">root</a> <a href="?C=M;O=A">sort</a> <a href="sub/deeper/">deep</a>
        <a href="http://other.example/d/sub/">other</a> <a href="//x.example:81/d/sub/">port</a> <a href="./">here</a>
        <a style="display:none" href="trap/">trap</a> <a href="%2e%2e/">dots</a> <a href="">self</a> <a href="#x">x</a>
        <a href="https://x.example/d/tls/">tls</a> <a href="mailto:a@x.example">mail</a> <a href="ok/">ok</a>"""
    card = open_card("nginx_index")
    assert parse_answer(body, "http://x.example/d/", "text/html", card).parsed.links == ("http://x.example/d/ok/",)
    round_ = "http://x.example/" + "loop/" * 3
    assert parse_answer(b'<a href="loop/">loop</a>', round_, "text/html", card).parsed.links == ()


def test_a_hostile_index_is_read_within_limits() -> None:
    card = open_card("nginx_index")
    for body in (
        b'<a href="a.jpg">x</a>' * 100_000,
        b"".join(b'<a href="%d.jpg">x</a> 1-1-1 %d' % (n, n) for n in range(50_000)),
        b"<table><tr>" + b"".join(b'<td><a href="%d/">x</a>' % n for n in range(50_000)), b"<tr>" * 100_000,
        b"<pre>" + b"9" * 5_000_000 + b'<a href="a.zip">a.zip</a>' + b"9" * 5_000_000,
    ):  # fmt: skip
        began = time.process_time()
        found = parse_answer(body, "http://x.example/d/", "text/html", card).parsed
        assert len(found.links) <= 5000
        assert time.process_time() - began < 10


def test_an_open_directory_is_harvested_folder_by_folder_within_its_budget(
    settings: Settings, keys: Keys, conn: Connection, tmp_path: Path
) -> None:
    root = tmp_path / "served"
    for name in ("faces 5000张", "faces 5000张/人", "empty", "z"):
        (root / name).mkdir(parents=True)
        if name != "empty":
            (root / name / "a.png").write_bytes(png(40, 40, "RGB", len(name)))
    (root / "z/pack.zip").write_bytes(b"PK\x03\x04 broken")
    (root / "z/readme.txt").write_text("not fetched")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(root))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        card = f"""name = "open"\nkind = "opendir"\n{CARD[CARD.index("[why]") : CARD.index("[where]")]}
[where]\nhosts = ["127.0.0.1:{server.server_port}"]\nstart = ["http://127.0.0.1:{server.server_port}/"]
[pace]\ndelay = 0.0\n[budget]\npages = 5\n"""
        assert run_card(settings, card, server.server_port, tmp_path) == 0
    finally:
        server.shutdown()
    rows = conn.execute("select title, claimed_text from listing_version order by 1").fetchall()
    assert rows == [
        ("/faces 5000张/", "1 picture"),
        ("/faces 5000张/人/", "1 picture"),
        ("/z/", "1 picture, 1 archive"),
    ]
    assert count(conn, "select count(*) from page where kind = 'page'") == 5
    assert count(conn, "select count(*) from sample where kind = 'image'") == 3
    assert count(conn, "select count(*) from page where url like '%%readme%%'") == 0
