"""A session that a person made: exports are read strictly, cookies go to the card's hosts, values are never seen."""

import argparse
import datetime as dt
import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.commands.source import mend_source, session
from crawler.browser import find_chromium
from crawler.capture import hide_cookie
from crawler.cards import parse_card
from crawler.cookies import Cookie, Jar, choose_cookies, parse_cookies, read_cookies, write_cookies
from tests.cli.test_commands import facewarden
from tests.crawler.test_crawl import CARD, html, pages, sign
from tests.fakes import NOT_FOUND, Answer, Site
from tests.samples import count, open_warcs, png
from vault.egress import parse_rule
from vault.errors import CardError
from vault.keys import Keys
from vault.settings import Settings
from vault.store import Connection
from vault.store.logins import get_login, has_login
from vault.store.status import list_sources

MakeSite = Callable[[Callable[[str], Answer]], Site]
SECRET = "s3cret-of-the-session"
LATER = int(time.time()) + 3600


# -- exports ----------------------------------------------------------------------------------------------------------


NETSCAPE = f"""# Netscape HTTP Cookie File
# a comment

forum.example\tFALSE\t/\tTRUE\t{LATER}\tsid\t{SECRET}
#HttpOnly_.forum.example\tTRUE\t/board\tFALSE\t0\tremember\tyes
"""
EXTENSION = [
    {"domain": "forum.example", "hostOnly": True, "name": "sid", "value": SECRET, "path": "/", "secure": True,
     "httpOnly": False, "session": False, "expirationDate": LATER, "sameSite": "lax", "storeId": "0", "id": 1},
    {"domain": ".forum.example", "hostOnly": False, "name": "remember", "value": "yes", "path": "/board",
     "secure": False, "httpOnly": True, "session": True, "sameSite": None},
]  # fmt: skip
PLAYWRIGHT = [
    {"domain": "forum.example", "name": "sid", "value": SECRET, "path": "/", "secure": True, "httpOnly": False,
     "expires": LATER, "sameSite": "Lax"},
    {"domain": ".forum.example", "name": "remember", "value": "yes", "path": "/board", "secure": False,
     "httpOnly": True, "expires": -1, "sameSite": "None"},
]  # fmt: skip


@pytest.mark.parametrize(
    "export", [NETSCAPE, json.dumps(EXTENSION), json.dumps({"cookies": PLAYWRIGHT, "origins": []}), "\ufeff" + NETSCAPE]
)
def test_every_kind_of_export_says_the_same(export: str) -> None:
    sid, remember = parse_cookies(export.encode())
    assert (sid.name, sid.value, sid.domain, sid.host_only, sid.path, sid.secure, sid.expires) == (
        "sid", SECRET, "forum.example", True, "/", True, LATER)  # fmt: skip
    assert (remember.host_only, remember.path, remember.http_only, remember.expires) == (False, "/board", True, None)
    assert read_cookies(write_cookies((sid, remember))) == (sid, remember)
    assert SECRET not in repr(sid)


BAD_VALUES = [
    f"{SECRET}\r\nX: y",
    f"{SECRET}; admin=1",
    f"{SECRET}\x00",
    f"{SECRET}\x7f",
    f"{SECRET}\u4e2d",
    "x" * 9000,
]


@pytest.mark.parametrize(
    "export",
    [
        f"forum.example\tFALSE\t/\tTRUE\t{SECRET}",
        f"forum.example\tFALSE\t/\tTRUE\tsoon\tsid\t{SECRET}",
        f"forum.example\tmaybe\t/\tTRUE\t0\tsid\t{SECRET}",
        f"forum.example\tFALSE\tnowhere\tTRUE\t0\tsid\t{SECRET}",
        f"forum.example\tFALSE\t/\tTRUE\t0\ts i d\t{SECRET}",
        f"http://{SECRET}/\tFALSE\t/\tTRUE\t0\tsid\t{SECRET}",
        f'[{{"domain": "forum.example", "name": "sid", "value": 5, "x": "{SECRET}"}}]',
        f'[{{"domain": "forum.example", "name": "sid", "value": "{SECRET}", "expirationDate": NaN}}]',
        f'[{{"domain": "forum.example", "name": "sid", "value": "{SECRET}", "secure": "yes"}}]',
        f'["{SECRET}"]',
        f'{{"session": "{SECRET}"}}',
        f'[{{"domain": "{SECRET}',
        "[" * 100_000,
        *(json.dumps([{"domain": "forum.example", "name": "sid", "value": value}]) for value in BAD_VALUES),
    ],
)
def test_what_is_no_cookie_is_refused_and_never_repeated(export: str) -> None:
    with pytest.raises(CardError) as caught:
        parse_cookies(export.encode())
    assert caught.value.stable_code == "session_invalid"
    told = f"{caught.value} {caught.value.mend} {caught.value.__cause__!r}"
    assert SECRET not in told


SHAPES = '\t\n.;=/#TRUEFALSE019a"[]{}:,'


@given(st.binary(max_size=300) | st.text(alphabet=SHAPES, max_size=200).map(str.encode))
def test_any_file_is_cookies_or_one_error(data: bytes) -> None:
    try:
        found = parse_cookies(data)
    except CardError:
        return
    for cookie in found:
        assert not set(cookie.value + cookie.name + cookie.path) & set("\r\n\0;")


def cookie(domain: str, *, wide: bool = False, name: str = "sid", **changes: Any) -> Cookie:
    plain: dict[str, Any] = {"value": SECRET, "path": "/", "secure": False, "http_only": False, "expires": None}
    return Cookie(name=name, domain=domain, host_only=not wide, **{**plain, **changes})


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        (cookie("forum.example"), True),
        (cookie("forum.example", wide=True), True),
        (cookie("other.example"), False),
        (cookie("evilforum.example", wide=True), False),
        (cookie("sub.forum.example", wide=True), False),
        (cookie("example", wide=True), False),
        (cookie("a.wild.example"), True),
        (cookie("wild.example", wide=True), True),
        (cookie("wild.example"), False),
        (cookie("pics.example"), True),
    ],
)
def test_only_cookies_of_the_cards_hosts_are_kept(given_: Cookie, kept: bool) -> None:
    rules = tuple(map(parse_rule, ("forum.example", "*.wild.example", "pics.example:8080")))
    chosen = choose_cookies([given_], rules, time.time())
    assert (len(chosen.cookies), chosen.foreign) == (int(kept), int(not kept))


def test_an_expired_cookie_is_dropped_and_the_last_end_is_known() -> None:
    rules = (parse_rule("forum.example"),)
    old, new = cookie("forum.example", expires=5.0), cookie("forum.example", expires=2e10, name="b")
    chosen = choose_cookies([old, new], rules, 10.0)
    assert (chosen.cookies, chosen.expired, chosen.expires) == ((new,), 1, 2e10)
    assert choose_cookies([cookie("forum.example"), new], rules, 10.0).expires is None


# -- what is sent -----------------------------------------------------------------------------------------------------


RULES = tuple(map(parse_rule, ("forum.example", "*.forum.example", "other.example:8080")))


@pytest.mark.parametrize(
    ("given_", "url", "sent"),
    [
        (cookie("forum.example"), "http://forum.example/x?y=1#z", True),
        (cookie("forum.example"), "http://FORUM.example./x", False),
        (cookie("forum.example"), "http://a.forum.example/", False),
        (cookie("forum.example", wide=True), "http://a.forum.example/", True),
        (cookie("a.forum.example", wide=True), "http://forum.example/", False),
        (cookie("forum.example", wide=True), "http://evilforum.example/", False),
        (cookie("example", wide=True), "http://elsewhere.example/", False),
        (cookie("forum.example", wide=True), "http://forum.example:81/", False),
        (cookie("forum.example", wide=True), "http://forum.example@evil.example/", False),
        (cookie("forum.example", secure=True), "http://forum.example/", False),
        (cookie("forum.example", secure=True), "https://forum.example/", True),
        (cookie("forum.example", path="/board"), "http://forum.example/board/7", True),
        (cookie("forum.example", path="/board"), "http://forum.example/boardroom", False),
        (cookie("forum.example", path="/board"), "http://forum.example/", False),
        (cookie("forum.example", expires=5.0), "http://forum.example/", False),
    ],
)
def test_a_cookie_goes_only_where_it_belongs(given_: Cookie, url: str, sent: bool) -> None:
    assert Jar([given_], RULES).header(url) == (f"sid={SECRET}" if sent else "")


def test_what_the_site_sets_counts_and_what_another_sets_does_not() -> None:
    jar = Jar([cookie("forum.example")], RULES)
    jar.take("http://forum.example/", ["sid=newer; Path=/", "theme=dark; Path=/board"])
    jar.take("http://evil.example/", ["sid=theirs; Domain=forum.example"])
    jar.take("http://forum.example/", ["a=b; Domain=other.example", "x=\r\nSet-Cookie: y=z", "\u4e2d=1", ""])
    assert jar.header("http://forum.example/board/") == "theme=dark; sid=newer; x=Set-Cookie: y=z"
    jar.take("http://forum.example/", ["sid=; Max-Age=0", "x=; Max-Age=0"])
    assert jar.header("http://forum.example/") == ""


def test_a_set_cookie_header_is_kept_without_its_value() -> None:
    assert hide_cookie(f"sid={SECRET}; Path=/; Expires=Wed, 01 Jan 2098 00:00:00 GMT") == (
        "sid=hidden; Path=/; Expires=Wed, 01 Jan 2098 00:00:00 GMT"
    )
    assert SECRET not in hide_cookie(f"sid={SECRET}=={SECRET}")


@pytest.mark.parametrize(
    "line", ['login = "session"', 'login = "session"\nlogin_reason = "short"', 'login = "password"']
)
def test_a_card_that_allows_a_session_says_why(line: str) -> None:
    text = CARD.format(top="", read="", pages=9, port=80).replace("[where]", f"{line}\n[where]")
    with pytest.raises(CardError, match="login"):
        parse_card(text, "x", dt.date(2026, 1, 1))


# -- a forum that wants a login ---------------------------------------------------------------------------------------


class Forum:
    """A forum that shows its board to members only, renews their cookie with every page, and has ways to lose it."""

    def __init__(self, make_site: MakeSite) -> None:
        self.elsewhere = make_site(lambda path: html("elsewhere"))
        self.site = make_site(self.answer)
        self.open_to = SECRET
        self.rendered = False
        self.seen: dict[str, str] = {}  # path -> the Cookie header of its last request

    def answer(self, path: str) -> Answer:
        headers = self.site.headers[path]
        self.seen[path] = headers.get("Cookie", "")
        member = f"sid={self.open_to}" in self.seen[path]
        if path == "/login":
            return html('<h1>Log in</h1><form><input name="user"><input type="password" name="p"></form>')
        if not member and path != "/robots.txt":
            return 302, {"Location": "/login"}, b""
        renewed = {"Set-Cookie": f"seen={SECRET}-renewed; Path=/"}
        if path == "/":
            links = "".join(f'<a class="item" href="/thread/{n}">x</a>' for n in (1, 2, 3))
            return html(f'{links}<a class="item" href="/logout">out</a><a class="item" href="/away">x</a>', **renewed)
        if path == "/logout":
            self.open_to = "nobody"
            return html("bye")
        if path == "/away":
            return 302, {"Location": f"{self.elsewhere.url}/taken"}, b""
        if path.startswith("/thread/"):
            post = (
                f"<article><h1>thread {path[8:]}</h1><b>10元</b><img src='/pic/{path[8:]}.png'>"
                f'<a class="zip" href="/pack/{path[8:]}.zip">zip</a></article>'
            )
            return html(f"<script>document.write(`{post}`)</script>" if self.rendered else post, **renewed)
        if path.startswith("/pic/"):
            return 200, {"Content-Type": "image/png"}, png(40, 40, "RGB", (int(path[5]), 1, 2))
        if path.startswith("/pack/"):
            return 200, {"Content-Type": "application/zip"}, b"PK\3\4" + path.encode()
        return NOT_FOUND


SESSION = 'login = "session"\nlogin_reason = "An account of our own, made for this test"\n[where]'


def write_card(settings: Settings, forum: Forum, tmp_path: Path, *, decided: bool = True, top: str = "") -> Path:
    text = CARD.format(top=top, read="", pages=100, port=forum.site.server_port)
    card = tmp_path / "forum.toml"
    card.write_text(sign(settings, text.replace("[where]", SESSION) if decided else text, tmp_path))
    return card


def export(tmp_path: Path) -> Path:
    rows = (("127.0.0.1", LATER, "sid"), ("elsewhere.example", 0, "sid"), ("127.0.0.1", 1000, "old"))
    path = tmp_path / "cookies.txt"
    path.write_text("\n".join(f"{host}\tFALSE\t/\tFALSE\t{end}\t{name}\t{SECRET}" for host, end, name in rows))
    return path


def import_session(settings: Settings, card: Path, tmp_path: Path) -> None:
    assert session(argparse.Namespace(card=card, cookies=export(tmp_path), forget=False), settings) == 0


def run_crawl(settings: Settings, card: Path, forum: Forum) -> Any:
    lab = [f"--lab=127.0.0.1:{each.server_port}" for each in (forum.site, forum.elsewhere)]
    return facewarden(settings, "crawl", str(card), *lab)


def kept_bytes(conn: Connection, keys: Keys, settings: Settings) -> bytes:
    """Everything in the state folder, and what its sealed records hold."""
    files = [path for path in settings.home.rglob("*") if path.is_file()]
    records = [gzip.decompress(data) for data in open_warcs(conn, keys, settings)]
    return b"".join([*(path.read_bytes() for path in files), *records])


def test_a_forum_is_read_with_an_imported_session_which_is_seen_nowhere(
    settings: Settings, keys: Keys, conn: Connection, tmp_path: Path, make_site: MakeSite
) -> None:
    forum = Forum(make_site)
    card = write_card(settings, forum, tmp_path)
    refused = run_crawl(settings, card, forum)
    assert (refused.returncode, "session_missing" in refused.stderr) == (2, True)
    assert forum.site.hits == {}

    done = facewarden(settings, "source", "session", str(card), str(export(tmp_path)))
    assert done.returncode == 0, done.stderr
    assert "1 cookie kept, 1 of other hosts and 1 expired dropped" in done.stdout
    told = conn.execute("select about, entry from ledger where entry like '%%\"login\"%%'").fetchone()
    assert told is not None
    assert told[0] == "source:test-market"
    assert '"act":"imported"' in told[1]
    sealed = conn.execute("select sealed from login").fetchone()
    assert sealed is not None
    assert SECRET.encode() not in sealed[0]
    assert SECRET.encode() in (get_login(conn, keys, "test-market") or b"")

    looked = facewarden(settings, "source", "test", str(card), "--json", f"--lab=127.0.0.1:{forum.site.server_port}")
    assert [each["title"] for each in json.loads(looked.stdout)] == ["thread 1", "thread 2", "thread 3"]

    forum.site.hits.clear()
    done = run_crawl(settings, card, forum)
    assert done.returncode == 0, done.stderr
    assert count(conn, "select count(*) from listing") == 3
    assert count(conn, "select count(*) from sample where kind = 'image'") == 3, "pictures behind the login"
    assert count(conn, "select count(*) from sample where kind = 'archive'") == 3, "attachments too"
    assert "/logout" not in forum.site.hits, "a link that would end the session is not followed"
    assert pages(conn)["/away"] == "quarantined:redirect_refused"
    assert forum.elsewhere.hits == {}
    assert forum.seen["/robots.txt"] == ""
    assert f"seen={SECRET}-renewed" in forum.seen["/thread/1"], "what the site sets counts"
    kept = kept_bytes(conn, keys, settings)
    assert b"seen=hidden; Path=/" in kept
    assert SECRET.encode() not in kept
    assert SECRET not in done.stdout + done.stderr
    rows = conn.execute("select string_agg(entry, '') from ledger").fetchone()
    assert rows is not None
    assert SECRET not in rows[0]

    forgotten = facewarden(settings, "source", "session", str(card), "--forget")
    assert "1 cookie erased" in forgotten.stdout
    assert not has_login(conn, "test-market")
    assert count(conn, "select count(*) from key where kind = 'login' and wrapped is null") == 1
    assert "no session was kept" in facewarden(settings, "source", "session", str(card), "--forget").stdout


def test_a_session_that_ends_is_a_login_wall_until_a_person_imports_another(
    settings: Settings, keys: Keys, conn: Connection, tmp_path: Path, make_site: MakeSite
) -> None:
    forum = Forum(make_site)
    card = write_card(settings, forum, tmp_path)
    import_session(settings, card, tmp_path)
    forum.open_to = "somebody else"
    done = run_crawl(settings, card, forum)
    assert "source: login_wall" in done.stdout
    listed = facewarden(settings, "source", "list", COLUMNS="300")
    assert "import a session again" in listed.stdout

    forum.open_to = SECRET
    import_session(settings, card, tmp_path)
    run_crawl(settings, card, forum)
    assert count(conn, "select count(*) from listing") == 3
    assert mend_source(list_sources(conn)[0]) == ""

    forum.open_to = "somebody else"  # half of it read, then the session ends: pictures are refused, not kept as samples
    conn.execute("update page set state = 'ready', sha256 = null where kind <> 'page'")
    conn.execute("delete from sample")
    run_crawl(settings, card, forum)
    assert count(conn, "select count(*) from sample") == 0, "the login page is no picture"
    forum.open_to = SECRET
    import_session(settings, card, tmp_path)
    run_crawl(settings, card, forum)
    assert count(conn, "select count(*) from sample") == 6


def test_without_the_decision_no_cookie_is_taken_or_sent(
    settings: Settings, keys: Keys, conn: Connection, tmp_path: Path, make_site: MakeSite
) -> None:
    forum = Forum(make_site)
    card = write_card(settings, forum, tmp_path)
    import_session(settings, card, tmp_path)
    card = write_card(settings, forum, tmp_path, decided=False)
    refused = facewarden(settings, "source", "session", str(card), str(export(tmp_path)))
    assert (refused.returncode, "session_not_allowed" in refused.stderr) == (2, True)
    assert SECRET not in refused.stderr
    run_crawl(settings, card, forum)
    assert set(forum.seen.values()) == {""}
    assert forum.site.hits["/"] == 1


def test_a_forum_that_needs_javascript_is_read_with_the_session_too(
    settings: Settings, keys: Keys, conn: Connection, tmp_path: Path, make_site: MakeSite
) -> None:
    if find_chromium(settings) is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    forum = Forum(make_site)
    forum.rendered = True
    card = write_card(settings, forum, tmp_path, top='rendering = "browser"')
    import_session(settings, card, tmp_path)
    done = run_crawl(settings, card, forum)
    assert done.returncode == 0, done.stderr
    assert count(conn, "select count(*) from listing") == 3
    assert count(conn, "select count(*) from sample") == 6
    assert forum.elsewhere.hits == {}
    assert SECRET.encode() not in kept_bytes(conn, keys, settings)
    assert SECRET not in done.stdout + done.stderr
