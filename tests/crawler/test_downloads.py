"""In a source that a browser draws, a link to what a browser would save ends at once: as what it is, or in a code."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from crawler.browser import find_chromium
from tests.crawler.test_crawl import crawl, html, pages
from tests.fakes import NOT_FOUND, Answer, Site
from tests.samples import count, png
from vault.keys import Keys
from vault.settings import Settings
from vault.store import Connection

MakeSite = Callable[[Callable[[str], Answer]], Site]
SAVES = "<article><h1>a page that saves</h1></article><iframe src='/get/zip?auto'></iframe>"
SAVED = {"Content-Disposition": "attachment"}


def make_zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.png", png(40, 40))
    return out.getvalue()


FILES: dict[str, Answer] = {
    "/get/zip": (200, {"Content-Type": "application/zip"}, make_zip()),
    "/get/picture": (200, {**SAVED, "Content-Type": "image/png"}, png(40, 41)),
    "/get/unnamed": (200, {"Content-Type": "application/octet-stream"}, png(40, 42)),
    "/get/pdf": (200, {**SAVED, "Content-Type": "application/pdf"}, b"%PDF-1.4\n" + bytes(200)),
    "/get/text": (200, {**SAVED, "Content-Type": "text/html"}, b"<article><h1>saved</h1></article>"),
    "/get/program": (200, {"Content-Type": "application/x-msdownload"}, b"MZ" + bytes(500)),
    "/get/nothing": (204, {}, b""),
    "/get/gone": (404, {**SAVED, "Content-Type": "application/zip"}, b""),
}


def test_a_download_of_a_rendered_source_ends_at_once_as_what_it_is(
    settings: Settings, keys: Keys, conn: Connection, tmp_path: Path, make_site: MakeSite
) -> None:
    if find_chromium(settings) is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")

    def answer(path: str) -> Answer:
        if path == "/":
            links = "".join(f'<a class="item" href="{each}">x</a>' for each in FILES)
            return html(f'<article><h1>lot</h1></article>{links}<a class="item" href="/saves">x</a>')
        if path == "/saves":
            return html(SAVES)
        return FILES.get(path, NOT_FOUND)

    site = make_site(answer)
    done = crawl(settings, site, tmp_path, top='rendering = "browser"')
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert pages(conn) == {
        "/": "done", "/get/zip": "done", "/get/picture": "done", "/get/unnamed": "done", "/saves": "done",
        "/get/pdf": "quarantined:not_a_page", "/get/text": "quarantined:not_a_page",
        "/get/program": "quarantined:not_a_page", "/get/gone": "quarantined:http_404",
        "/get/nothing": "quarantined:http_204",
    }  # fmt: skip
    assert {path: site.hits[path] for path in FILES} == dict.fromkeys(FILES, 2), "once by the browser, once without"
    assert count(conn, "select max(attempts) from page") == 1, "a download is no failure"
    kinds = conn.execute("select kind, count(*)::int from sample group by 1 order by 1").fetchall()
    assert kinds == [("archive", 1), ("image", 2)]
    assert {title for (title,) in conn.execute("select title from listing_version").fetchall()} == {
        "lot", "a page that saves"
    }  # fmt: skip
