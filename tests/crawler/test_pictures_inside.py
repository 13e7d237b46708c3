"""Pictures that lie in a page: through the gate, samples of the listing that shows them, and the page goes with the
last of them."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from crawler.browser import find_chromium
from evidence.export import export_pages
from tests.crawler.test_crawl import crawl, html, pages
from tests.fakes import NOT_FOUND, Answer, Site
from tests.samples import count, draw_picture, encode, open_warcs, png, portrait, run_steps
from vault.keys import Keys
from vault.settings import Settings
from vault.store import Connection
from vault.store.captures import list_captures
from vault.store.sources import get_source
from workers.context import Context
from workers.drop_expired import drop_expired

MakeSite = Callable[[Callable[[str], Answer]], Site]


def picture(seed: int) -> bytes:
    return encode(draw_picture(seed, (120, 100)), 80)


def show(content: bytes) -> str:
    return f'<img src="data:image/jpeg;base64,{base64.b64encode(content).decode()}">'


def one_page(body: str | bytes, **headers: str) -> Callable[[str], Answer]:
    def answer(path: str) -> Answer:
        if path != "/":
            return NOT_FOUND
        return html(body, **headers) if isinstance(body, str) else (200, headers, body)

    return answer


def find_clear(home: Path, content: bytes) -> list[Path]:
    """Files that hold a part of these bytes, as they are or as letters."""
    parts = content[300:400], base64.b64encode(content)[400:500]
    files = [path for path in home.rglob("*") if path.is_file()]
    return [path for path in files if any(part in path.read_bytes() for part in parts)]


def count_erased(conn: Connection) -> tuple[int, int]:
    """(captures whose key is there, those whose key is gone)."""
    query = "select count(*) from capture join key using (key_id) where erased_at is"
    return count(conn, f"{query} null"), count(conn, f"{query} not null")


def test_pictures_in_a_page_are_samples_of_the_listing_that_shows_them(
    settings: Settings, keys: Keys, conn: Connection, tmp_path: Path, make_site: MakeSite
) -> None:
    first, second, beside = picture(1), picture(2), picture(3)
    body = (
        f"<article><h1>first lot</h1>{show(first)}{show(png(1, 1))}</article>"
        f"<article><h1>second lot</h1><p style=\"background:url('data:;base64,{base64.b64encode(second).decode()}')\">"
        f"</p></article>{show(beside)}"
    )
    done = crawl(settings, make_site(one_page(body)), tmp_path)
    assert done.returncode == 0, done.stderr
    rows = conn.execute(
        """select title, sample.sha256 from sample join listing_version using (listing_id) order by 1, 2"""
    ).fetchall()
    digest = {each: hashlib.sha256(each).hexdigest() for each in (first, second, beside)}
    assert sorted(rows) == sorted(
        [("first lot", digest[first]), ("first lot", digest[beside]), ("second lot", digest[second])]
    )
    assert count(conn, "select pictures from capture") == 3, "a spacer is none"
    assert count(conn, "select count(*) from capture_picture") == 3
    assert all(count(conn, "select count(*) from ledger where about = %s", each) == 1 for each in digest.values())
    for content in digest:
        assert find_clear(settings.home, content) == []
    crawl(settings, make_site(one_page(body)), tmp_path)
    assert count(conn, "select count(*) from blob") == 3, "what is kept is kept once"


LISTED = picture(7)
LETTERS = base64.b64encode(LISTED).decode()
LOT = "<article><h1>lot</h1></article>"
HIDDEN: dict[str, tuple[str | bytes, dict[str, str]]] = {
    "src": (LOT + show(LISTED), {}),
    "style sheet": (f"<style>p{{background:url(data:;base64,{LETTERS})}}</style>{LOT}", {}),
    "script": (f"<script>photo = {json.dumps(LETTERS)}</script>{LOT}", {}),
    "percent signs": (LOT + "<img src='data:image/jpeg," + "".join(f"%{byte:02x}" for byte in LISTED) + "'>", {}),
    "head of the answer": (LOT, {"X-Photo": LETTERS}),
    "page that is no listing": (show(LISTED), {}),
    "wall": (f"<h1>Just a moment...</h1><form action=/login><input type=password></form>{show(LISTED)}", {}),
    "behind a byte": (b"x" + LISTED, {"Content-Type": "text/html"}),
    "before a page": (LISTED + LOT.encode(), {"Content-Type": "text/html"}),
    "behind a page": (LOT.encode() + LISTED, {"Content-Type": "text/html"}),
    "in another encoding": ((LOT + show(LISTED)).encode("utf-16"), {"Content-Type": "text/html"}),
}


@pytest.mark.parametrize("where", HIDDEN)
def test_of_a_listed_picture_in_a_page_only_digest_address_and_time_remain(
    settings: Settings, keys: Keys, conn: Connection, tmp_path: Path, make_site: MakeSite, where: str
) -> None:
    digest = hashlib.md5(LISTED).hexdigest()
    (tmp_path / "list.txt").write_text(digest + "\n")
    body, headers = HIDDEN[where]
    site = make_site(one_page(body, **headers))
    crawl(settings.replace("crawl", hash_lists=(tmp_path / "list.txt",)), site, tmp_path)
    assert pages(conn)["/"] == "quarantined:hash_listed"
    assert conn.execute("select state from source").fetchone() == ("paused",)
    kept = [count(conn, f"select count(*) from {table}") for table in ("capture", "sample", "listing", "blob")]
    assert kept == [0] * 4
    assert (
        count(conn, "select count(*) from ledger where entry like %s", f"%{hashlib.sha256(LISTED).hexdigest()}%") >= 1
    )
    assert find_clear(settings.home, LISTED) == []
    assert count(conn, "select count(*) from key where kind = 'blob'") == 0
    assert all(LISTED not in data for data in open_warcs(conn, keys, settings))


def test_a_page_goes_with_the_last_of_its_pictures_and_its_rows_stay(
    context: Context, tmp_path: Path, make_site: MakeSite
) -> None:
    conn, settings = context.conn, context.settings

    def answer(path: str) -> Answer:
        if path == "/":
            return html(f'<article><h1>lot</h1>{show(portrait("astronaut"))}{show(picture(2))}</article>'
                        '<a class="item" href="/words">x</a>')  # fmt: skip
        return html("<article><h1>only words</h1></article>") if path == "/words" else NOT_FOUND

    done = crawl(settings, make_site(answer), tmp_path)
    assert done.returncode == 0, done.stderr
    drop_expired(context)
    assert count_erased(conn) == (2, 0), "its pictures are still waiting"
    entries = count(conn, "select count(*) from ledger where entry like '%%capture%%'")
    run_steps(context)
    drop_expired(context)
    assert count(conn, "select count(*) from blob") == 0, "nobody was matched"
    assert count_erased(conn) == (1, 1), "a page of words stays"
    assert count(conn, "select count(*) from listing_version") == 2
    assert count(conn, "select count(*) from capture_picture") == 2
    assert count(conn, "select count(*) from ledger where entry like '%%capture%%'") >= entries
    source = get_source(conn, "test-market")
    assert source is not None
    exported = export_pages(conn, context.keys, settings.home, source, tmp_path / "out", by="test")
    assert (exported.records, exported.erased, exported.unreadable) == (1, 1, [])


def test_a_page_stays_as_long_as_one_of_its_pictures_is_needed(
    context: Context, tmp_path: Path, make_site: MakeSite
) -> None:
    conn = context.conn
    body = f"<article><h1>lot</h1>{show(portrait('astronaut'))}{show(picture(2))}</article>"
    assert crawl(context.settings, make_site(one_page(body)), tmp_path).returncode == 0
    run_steps(context)
    conn.execute("update face set outcome = 'held'")
    conn.execute("update key set wrapped = 'x', erased_at = null where kind = 'capture'")
    drop_expired(context)
    assert count_erased(conn) == (1, 0)
    conn.execute("update face set outcome = 'unmatched'")
    drop_expired(context)
    assert count_erased(conn) == (0, 1)


def test_a_page_whose_pictures_no_listing_shows_is_not_kept_for_long(
    context: Context, tmp_path: Path, make_site: MakeSite
) -> None:
    site = make_site(one_page(f"<p>no listing here, only words. {show(picture(4))}</p>"))
    assert crawl(context.settings, site, tmp_path).returncode == 0
    assert count(context.conn, "select pictures from capture") == 1
    assert count(context.conn, "select count(*) from blob") == 0
    drop_expired(context)
    assert count_erased(context.conn) == (0, 1)


def test_what_a_browser_drew_goes_with_what_it_was_drawn_from(
    context: Context, tmp_path: Path, make_site: MakeSite
) -> None:
    conn, settings = context.conn, context.settings
    if find_chromium(settings) is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    letters = base64.b64encode(picture(5)).decode()
    body = f"""<script>document.body.innerHTML = '<article><h1>drawn</h1><img src="data:;base64,' + '{letters[:300]}'
        + '{letters[300:]}"></article><p class=ready></p>'</script>"""
    site = make_site(one_page(body))
    done = crawl(settings, site, tmp_path, top='rendering = "browser"', read='wait_for = "p.ready"')
    assert done.returncode == 0, done.stderr
    assert [count(conn, f"select count(*) from {table}") for table in ("capture", "sample")] == [2, 1]
    assert count_erased(conn) == (2, 0)
    assert count(conn, "select count(*) from blob_capture where shows is not null") == 1
    run_steps(context)
    drop_expired(context)
    assert count_erased(conn) == (0, 2), "the answer and what was drawn of it"
    assert count(conn, "select count(*) from blob") == 0, "the screenshot, too"
    assert all(each.erased_at for each in list_captures(conn, [1, 2]))


def test_a_page_of_thousands_of_pictures_keeps_as_many_as_a_listing_may_and_counts_the_others(
    settings: Settings, keys: Keys, conn: Connection, tmp_path: Path, make_site: MakeSite
) -> None:
    tiny = [png(16, 16, "RGB", (number % 256, number // 256, 9)) for number in range(3000)]
    body = "<article><h1>lot</h1>" + "".join(map(show, tiny)) + "</article>"
    done = crawl(settings, make_site(one_page(body)), tmp_path)
    assert done.returncode == 0, done.stderr
    kept = count(conn, "select count(*) from sample")
    assert 0 < kept <= 1000
    assert count(conn, "select left_out from page where depth = 0") == 3000 - kept
    assert count(conn, "select pictures from capture") == 3000


def test_what_a_listing_says_is_kept_without_the_letters_of_a_picture(
    settings: Settings, keys: Keys, conn: Connection, tmp_path: Path, make_site: MakeSite
) -> None:
    body = f"<article><h1>lot</h1><p>words {base64.b64encode(picture(6)).decode()} more words</p></article>"
    done = crawl(settings, make_site(one_page(body)), tmp_path, read='description = "p"')
    assert done.returncode == 0, done.stderr
    (said,) = conn.execute("select description from listing_version").fetchone() or ("",)
    assert said.startswith("words") and said.endswith("more words")
    assert re.search(r"[A-Za-z0-9+/]{60}", said) is None
