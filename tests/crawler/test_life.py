"""The life of a listing: new, changed, sold, removed, back, moved; each an event with the capture that shows it."""

from collections.abc import Callable
from pathlib import Path

from tests.crawler.test_crawl import crawl, html, pages
from tests.fakes import NOT_FOUND, Answer, Site
from tests.samples import count
from vault.keys import Keys
from vault.settings import Settings
from vault.store import Connection

MakeSite = Callable[[Callable[[str], Answer]], Site]


class Shop:
    """Items by address; None is 404, a text beginning with `->` a redirect."""

    def __init__(self) -> None:
        self.items: dict[str, str | None] = {"/a": "alpha, 500 photos", "/b": "beta, 900 photos"}

    def __call__(self, path: str) -> Answer:
        if path == "/":
            shown = "".join(f'<a class="item" href="{each}">x</a>' for each, text in self.items.items() if text)
            return html(shown + '<a class="item" href="/a">a</a>')
        text = self.items.get(path)
        if text is None:
            return NOT_FOUND
        if text.startswith("->"):
            return 301, {"Location": text[2:]}, b""
        return html(f"<article><h1>{text}</h1><b>10元</b></article>")


def list_events(conn: Connection) -> list[tuple[str, str]]:
    """(last part of the address, event) in the order they happened; each with its capture, but for a move."""
    rows = conn.execute(
        """select url, kind, capture_id, detail from listing_event join listing using (listing_id) order by event_id"""
    ).fetchall()
    assert all(capture is not None or kind == "moved" for _url, kind, capture, _detail in rows)
    return [(url.rpartition("/")[2], kind) for url, kind, _capture, _detail in rows]


def test_a_listing_lives(settings: Settings, keys: Keys, conn: Connection, tmp_path: Path, make_site: MakeSite) -> None:
    shop = Shop()
    site = make_site(shop)

    def look() -> list[tuple[str, str]]:
        known = len(list_events(conn))
        assert crawl(settings, site, tmp_path).returncode == 0
        return sorted(list_events(conn)[known:])

    assert look() == [("a", "new"), ("b", "new")]
    assert look() == []
    shop.items["/a"] = "alpha, 700 photos"
    assert look() == [("a", "changed")]
    assert conn.execute("select changed from listing_version where version = 2").fetchone() == (
        ["title", "claimed_text"],
    )
    shop.items["/b"] = "beta, 900 photos SOLD"
    assert look() == [("b", "changed"), ("b", "sold")]
    shop.items["/b"] = "beta, 900 photos"
    assert look() == [("b", "back"), ("b", "changed")]
    shop.items["/b"] = None
    assert look() == [("b", "removed")]
    assert look() == []
    shop.items["/b"] = "beta, 900 photos"
    assert look() == [("b", "back")]
    shop.items |= {"/b": None, "/c": "beta, 900 photos"}
    assert look() == [("b", "moved"), ("b", "removed"), ("c", "new")]
    assert count(conn, "select count(distinct dataset_id) from listing where url like '%%/b' or url like '%%/c'") == 1
    shop.items |= {"/a": "->/d", "/d": "alpha, 700 photos"}
    assert look() == [("a", "moved"), ("a", "removed"), ("d", "new")]
    assert conn.execute("select state, count(*) from listing group by 1 order by 1").fetchall() == [
        ("moved", 2),
        ("offered", 2),
    ]


def test_of_two_that_go_and_one_that_comes_with_the_same_words_none_has_moved(
    settings: Settings, keys: Keys, conn: Connection, tmp_path: Path, make_site: MakeSite
) -> None:
    shop = Shop()
    shop.items = {"/a": "the same, 500 photos", "/b": "the same, 500 photos"}
    site = make_site(shop)
    crawl(settings, site, tmp_path)
    shop.items = {"/a": None, "/b": None, "/c": "the same, 500 photos"}
    crawl(settings, site, tmp_path)
    assert sorted(list_events(conn)[2:]) == [("a", "removed"), ("b", "removed"), ("c", "new")]


def test_what_a_wall_hides_is_not_removed(
    settings: Settings, keys: Keys, conn: Connection, tmp_path: Path, make_site: MakeSite
) -> None:
    shop = Shop()
    site = make_site(shop)
    crawl(settings, site, tmp_path)
    site.answer = lambda path: html('<form><input type="password"></form>Log in')
    assert crawl(settings, site, tmp_path).returncode == 0
    assert set(pages(conn).values()) == {"quarantined:login_wall"}
    assert count(conn, "select count(*) from listing where state = 'offered'") == 2
    assert {kind for _url, kind in list_events(conn)} == {"new"}


def test_listings_that_wander_over_the_pages_of_a_list_are_not_removed(
    settings: Settings, keys: Keys, conn: Connection, tmp_path: Path, make_site: MakeSite
) -> None:
    names = [f"lot {number}" for number in range(6)]

    def answer(path: str) -> Answer:
        number = 1 if path == "/?p=1" else 0
        if path not in ("/", "/?p=1"):
            return NOT_FOUND
        shown = "".join(
            f'<article><h1>{name}</h1><a class="own" href="/{name.replace(" ", "-")}">x</a></article>'
            for name in names[number * 3 : number * 3 + 3]
        )
        return html(f'<a class="next" href="/?p=1">2</a>{shown}')

    site = make_site(answer)
    crawl(settings, site, tmp_path, read='link = "a.own::attr(href)"')
    names.insert(0, "lot new")
    names.pop()
    crawl(settings, site, tmp_path, read='link = "a.own::attr(href)"')
    events = list_events(conn)
    assert events.count(("lot-2", "removed")) == 0
    assert ("lot-5", "removed") in events
    assert ("lot-new", "new") in events
    assert len(events) == 6 + 2


def test_an_unchanged_page_is_asked_for_with_its_tag_and_costs_nothing(
    settings: Settings, keys: Keys, conn: Connection, tmp_path: Path, make_site: MakeSite
) -> None:
    def answer(path: str) -> Answer:
        if path == "/":
            return (
                200,
                {"ETag": '"one"', "Last-Modified": "Mon, 23 Nov 2026 10:00:00 GMT"},
                (b"<html><article><h1>lot</h1></article></html>"),
            )
        return NOT_FOUND

    site = make_site(answer)
    crawl(settings, site, tmp_path)
    assert "If-None-Match" not in site.headers["/"]
    site.answer = lambda path: (304, {}, b"") if path == "/" else NOT_FOUND
    done = crawl(settings, site, tmp_path)
    assert site.headers["/"]["If-None-Match"] == '"one"'
    assert site.headers["/"]["If-Modified-Since"] == "Mon, 23 Nov 2026 10:00:00 GMT"
    assert "1 unchanged" in done.stdout
    assert count(conn, "select count(*) from capture") == 1
    assert count(conn, "select count(*) from listing where state = 'offered' and last_seen > first_seen") == 1


def test_pages_that_seldom_change_are_looked_at_less_often(
    settings: Settings, keys: Keys, conn: Connection, tmp_path: Path, make_site: MakeSite
) -> None:
    shop = Shop()
    site = make_site(shop)

    def hours() -> dict[str, float]:
        crawl(settings, site, tmp_path)
        rows = conn.execute("select url, check_hours from page where kind = 'page'").fetchall()
        return {url.rpartition("/")[2]: float(each) for url, each in rows}

    assert hours() == {"": 24, "a": 24, "b": 24}
    assert hours() == {"": 48, "a": 48, "b": 48}
    shop.items["/a"] = "alpha, 700 photos"
    assert hours() == {"": 96, "a": 24, "b": 96}
    for _ in range(2):
        hours()
    assert hours() == {"": 192, "a": 192, "b": 192}
    due = "select count(*) from page where next_at <= now() + interval '184 hours'"
    assert count(conn, due) == 3


def test_a_site_that_asks_for_a_rest_gets_it(
    settings: Settings, keys: Keys, conn: Connection, tmp_path: Path, make_site: MakeSite
) -> None:
    tried: list[str] = []

    def answer(path: str) -> Answer:
        if path == "/robots.txt":
            return NOT_FOUND
        tried.append(path)
        if len(tried) == 1:
            return 429, {"Retry-After": "2"}, b"slow down"
        return html("<article><h1>lot</h1></article>")

    site = make_site(answer)
    started = conn.execute("select clock_timestamp()").fetchone()
    assert crawl(settings, site, tmp_path).returncode == 0
    assert tried == ["/", "/"]
    assert count(conn, "select extract(epoch from fetched_at - %s)::int from page", (started or [None])[0]) >= 2


def test_a_calendar_without_end_and_hidden_links_are_left_alone(
    settings: Settings, keys: Keys, conn: Connection, tmp_path: Path, make_site: MakeSite
) -> None:
    def answer(path: str) -> Answer:
        if path == "/":
            items = "".join(f'<a class="item" href="/lot/{number}">x</a>' for number in range(50))
            trap = '<div style="display: none"><a class="item" href="/trap/1">x</a></div>'
            trap += '<a class="item" hidden href="/trap/2">x</a>'
            return html(f'{items}<a class="item" href="/calendar?m=1">calendar</a>{trap}')
        if path.startswith("/calendar"):
            return html("".join(f'<a class="item" href="/calendar?m={int(path[12:]) + step}">x</a>' for step in (1,)))
        if path.startswith("/lot/"):
            return html(f"<article><h1>lot {path}</h1></article>")
        return NOT_FOUND

    site = make_site(answer)
    assert crawl(settings, site, tmp_path, pages="2000\ndepth = 1000").returncode == 0
    found = pages(conn)
    assert sum(path.startswith("/lot/") for path in found) == 50
    assert not any("trap" in path for path in site.hits)
    assert 30 <= sum(path.startswith("/calendar") for path in found) <= 40
