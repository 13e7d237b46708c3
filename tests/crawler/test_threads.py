"""Threads of several pages are one listing each; locked archives are opened with what the card and the page say."""

import base64
from collections.abc import Callable
from pathlib import Path

from tests.crawler.test_crawl import crawl, html
from tests.fakes import NOT_FOUND, Answer, Site
from tests.samples import count, png
from tests.vault.packing import pack_7z
from tests.vault.test_archives import LOCKED
from tests.workers.test_open_archives import SEVEN_LOCKED
from vault.settings import Settings
from vault.store import Connection
from workers.context import Context
from workers.open_archives import open_archives

MakeSite = Callable[[Callable[[str], Answer]], Site]
FILES = {
    "/a.zip": base64.b64decode(LOCKED["zip AES"]),  # its password is abc
    "/b.7z": pack_7z([("b.jpg", b"content of b")], SEVEN_LOCKED, "of the card", True),
    "/c.zip": base64.b64decode(LOCKED["zip ZipCrypto"]).replace(b"a.jpg", b"c.jpg"),
    "/d.7z": pack_7z([("d.jpg", b"content of d")], SEVEN_LOCKED, "nobody says", True),
}


class Board:
    """Thread one has three pages; of thread two only the second can be had at first."""

    def __init__(self) -> None:
        self.pages = {
            "/": '<a class="item" href="/t/1">1</a><a class="item" href="/t/2?page=2">2</a>'
            '<a class="item" href="/t/2">2</a>',
            "/t/1": self.post("5000 photos", "10元", "the first words", "/1.png", "/t/1?page=2"),
            "/t/1?page=2": self.post("5000 photos", "99元", "an answer", "/2.png", "/t/1?page=3"),
            "/t/1?page=3": self.post("5000 photos SOLD", "98元", "another", "/3.png"),
            "/t/2?page=2": self.post("thread two", "7元", "an answer", "/5.png"),
        }

    def post(self, title: str, price: str, text: str, image: str, further: str = "", more: str = "") -> str:
        link = f'<a class="next" href="{further}">next</a>' if further else ""
        return f'{link}<article><h1>{title}</h1><b>{price}</b><p>{text}</p><img src="{image}">{more}</article>'

    def __call__(self, path: str) -> Answer:
        if path.endswith(".png"):
            return 200, {"Content-Type": "image/png"}, png(40, 40, "RGB", (int(path[1:-4]), 1, 2))
        if path in FILES:
            return 200, {"Content-Type": "application/octet-stream"}, FILES[path]
        return html(self.pages[path]) if path in self.pages else NOT_FOUND


READ = 'page_parameter = "page"\ndescription = "p"\npasswords = ["of the card"]'


def list_events(conn: Connection) -> list[tuple[str, str]]:
    rows = conn.execute("select url, kind from listing_event join listing using (listing_id) order by event_id")
    return [(url.rpartition("/")[2], kind) for url, kind in rows.fetchall()]


def list_images(conn: Connection, thread: str) -> set[str]:
    rows = conn.execute(
        """select page.url from listing join listing_page using (listing_id)
           join page on page.page_id = listing_page.page_id
           where listing.url like %s and page.kind = 'image'""",
        [f"%/{thread}"],
    ).fetchall()
    return {url.rpartition("/")[2] for (url,) in rows}


def read_newest(conn: Connection, thread: str) -> tuple[object, ...] | None:
    return conn.execute(
        """select version, price::int, description, changed, page.url like '%%page=2' from listing
           join listing_version using (listing_id) join page using (page_id)
           where listing.url like %s order by version desc limit 1""",
        [f"%/{thread}"],
    ).fetchone()


def test_the_pages_of_a_thread_are_one_listing_that_its_first_page_describes(
    settings: Settings, conn: Connection, tmp_path: Path, make_site: MakeSite
) -> None:
    board = Board()
    site = make_site(board)
    done = crawl(settings, site, tmp_path, read=READ)
    assert done.returncode == 0, done.stderr
    assert sorted(list_events(conn)) == [("1", "new"), ("2", "new")]
    assert count(conn, "select count(*) from listing where state = 'offered'") == 2
    assert read_newest(conn, "1") == (1, 10, "the first words", [], False)
    assert read_newest(conn, "2") == (1, 7, "an answer", [], True), "kept, though only its second page could be had"
    assert (list_images(conn, "1"), list_images(conn, "2")) == ({"1.png", "2.png", "3.png"}, {"5.png"})
    assert count(conn, "select count(*) from sample") == 4

    board.pages |= {
        "/t/1?page=2": board.post("5000 photos", "97元", "a changed answer", "/4.png", "/t/1?page=3"),
        "/t/2": board.post("thread two", "8元", "its first words", "/6.png", "/t/2?page=2"),
    }
    assert crawl(settings, site, tmp_path, read=READ).returncode == 0
    assert len(list_events(conn)) == 2, "neither a changed further page nor a late first page is an event"
    assert read_newest(conn, "1") == (1, 10, "the first words", [], False)
    assert read_newest(conn, "2") == (2, 8, "its first words", [], False)
    assert (list_images(conn, "1"), list_images(conn, "2")) == (
        {"1.png", "2.png", "3.png", "4.png"}, {"5.png", "6.png"},
    )  # fmt: skip

    del board.pages["/t/1"]
    board.pages["/t/2"] = board.post("thread two", "9元", "its first words", "/6.png", "/t/2?page=2")
    assert crawl(settings, site, tmp_path, read=READ).returncode == 0
    assert sorted(list_events(conn)[2:]) == [("1", "removed"), ("2", "changed")], "the first page decides"
    assert read_newest(conn, "2") == (3, 9, "its first words", ["price_text"], False)


def test_a_card_that_finds_more_in_the_same_words_makes_no_version(
    settings: Settings, conn: Connection, tmp_path: Path, make_site: MakeSite
) -> None:
    board = Board()
    board.pages = {
        "/": board.post("5000 photos of 500 people", "10元", "tg: @olga_k", "/1.png", "", "<i>yesterday</i>")
    }
    site = make_site(board)
    crawl(settings, site, tmp_path, read='description = "p"')
    conn.execute("update listing_version set contacts = '[]', claimed_people = null")  # as an older program read it
    crawl(settings, site, tmp_path, read='description = "p"\ndate = "i"')
    crawl(settings, site, tmp_path, read='description = "p"\ndate = "i"\nsold = "u"')
    told = """select version, claimed_people, unit_price::text, contacts -> 0 ->> 'value', dates -> 0 ->> 'text',
              language, first_page_seen from listing_version join listing using (listing_id)"""
    assert conn.execute(told).fetchall() == [(1, 500, "0.002000", "olga_k", "yesterday", "en", True)]
    (day,) = conn.execute("select (dates -> 0 ->> 'value')::date - seen_at::date from listing_version").fetchone() or ()
    assert day in (-1, 0)
    assert list_events(conn) == [("", "new")]


def test_locked_archives_open_with_the_cards_passwords_and_those_printed_and_no_other(
    context: Context, tmp_path: Path, make_site: MakeSite
) -> None:
    settings, conn = context.settings, context.conn
    board = Board()
    links = "".join(f'<a class="zip" href="{path}">pack</a>' for path in FILES)
    told = "解压密码：abc" + links.replace("/c.zip", "/a.zip")
    board.pages = {
        "/": '<a class="item" href="/t/1">1</a><a class="item" href="/t/9">9</a>',
        "/t/1": board.post("5000 photos", "10元", "words", "/1.png", "/t/1?page=2", told),
        "/t/1?page=2": board.post("5000 photos", "10元", "an answer", "/2.png"),
        "/t/9": board.post("another seller", "10元", "words", "/9.png", "", '<a class="zip" href="/c.zip">pack</a>'),
    }
    site = make_site(board)

    def look() -> dict[str, str]:
        assert crawl(settings, site, tmp_path, read=READ).returncode == 0
        while open_archives(context):
            pass
        rows = conn.execute(
            """select page.url, coalesce(member.error_code, sample.error_code, sample.state) from sample
               join page using (page_id) left join sample as member on member.archive_id = sample.sample_id
               where sample.kind = 'archive'"""
        ).fetchall()
        return {url.rpartition("/")[2]: state for url, state in rows}

    assert look() == {"a.zip": "done", "b.7z": "done", "c.zip": "archive_password", "d.7z": "archive_password"}
    kept = "select sum(files) from passed_over where kind = 'text'"  # what is in them was read: words, no pictures
    assert count(conn, kept) == 2
    assert look() == {"a.zip": "done", "b.7z": "done", "c.zip": "archive_password", "d.7z": "archive_password"}
    hits = dict(site.hits)
    board.pages["/t/1?page=2"] = board.post("5000 photos", "10元", "pass: nobody says", "/2.png")
    board.pages["/t/9"] = board.pages["/t/9"].replace("words", "пароль: abc")
    assert look()["c.zip"] == "done", "a password that is printed later opens what was locked"
    board.pages["/t/1?page=2"] = board.post("5000 photos", "10元", "password: “nobody says”", "/2.png")
    assert look() == dict.fromkeys(("a.zip", "b.7z", "c.zip", "d.7z"), "done")
    assert count(conn, kept) == 4
    assert (site.hits["/a.zip"], site.hits["/c.zip"]) == (hits["/a.zip"], hits["/c.zip"] + 1)
