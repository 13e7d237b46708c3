"""What is captured can be given back: WARC records that other programs read, pictures with the head they came with,
screenshots that show no picture and go when nobody needs them."""

import asyncio
import base64
import datetime as dt
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from PIL import Image
from playwright.async_api import Error as BrowserError
from warcio.archiveiterator import ArchiveIterator

from crawler.browser import SHOT_SIZE, find_chromium, take_screenshot
from crawler.capture import make_head
from evidence.verify import check_bundle
from evidence.warc import make_record_id, write_head, write_response
from tests.crawler.test_crawl import crawl, html
from tests.fakes import NOT_FOUND, Answer, Site
from tests.samples import (
    capture_listing,
    count,
    enrol_person,
    make_listing,
    open_warcs,
    png,
    portrait,
    raise_alert,
    run_steps,
)
from tests.workers.test_steps import pack
from vault.settings import Settings
from vault.store import Connection
from vault.store.blobs import list_unneeded, read_blob
from vault.store.bundles import ask_bundle, list_bundles
from workers.context import Context
from workers.drop_expired import drop_expired
from workers.seal_bundles import collect_case

RED = (255, 0, 0)
MakeSite = Callable[[Callable[[str], Answer]], Site]


def check_warc(data: bytes) -> list[tuple[str, str, bytes]]:
    """What `warcio check` does, and stricter: every digest is there and right. (type, address, body) of each record."""
    found = []
    for record in ArchiveIterator(io.BytesIO(data), check_digests="raise"):
        body = record.content_stream().read()
        if record.rec_type != "warcinfo":
            assert record.digest_checker.passed is True, record.digest_checker.problems
        found.append((record.rec_type, record.rec_headers.get_header("WARC-Target-URI") or "", body))
    return found


def read_bundle(settings: Settings) -> list[tuple[str, str, bytes]]:
    """The records of the one sealed bundle, which verifies."""
    (file,) = (settings.home / "bundles").iterdir()
    assert check_bundle(file.read_bytes()).failed == []
    with zipfile.ZipFile(file) as bundle:
        names = [name for name in bundle.namelist() if name.startswith("captures/")]
        return [record for name in names for record in check_warc(bundle.read(name))]


def test_a_bundle_gives_pictures_back_as_the_records_they_came_as(
    context: Context, tmp_path: Path, make_site: MakeSite
) -> None:
    conn, settings = context.conn, context.settings
    enrol_person(context, "astronaut")
    jpeg = portrait("astronaut", 60)
    inside = portrait("astronaut", 75)

    def answer(path: str) -> Answer:
        if path == "/one.jpg":
            return 200, {"Content-Type": "image/jpeg", "Set-Cookie": "door=open", "X-Shop": "caf\xe9"}, jpeg
        if path == "/pack.zip":
            return 200, {"Content-Type": "application/zip", "X-Pack": "7"}, pack({"a.jpg": inside})
        if path == "/":
            return html('<article><h1>lot</h1><img src="/one.jpg"><a class="zip" href="/pack.zip">x</a></article>')
        return NOT_FOUND

    site = make_site(answer)
    done = crawl(settings, site, tmp_path)
    assert done.returncode == 0, done.stderr
    assert [[kind for kind, _, _ in check_warc(data)] for data in open_warcs(conn, context.keys, settings)] == [
        ["warcinfo", "response"]
    ]
    heads: dict[str, str] = dict(
        conn.execute("select kind, head from blob_capture join page using (page_id)").fetchall()
    )
    assert heads["image"].startswith("HTTP/1.1 200\n")
    assert "Content-Type: image/jpeg" in heads["image"]
    assert "door=open" not in heads["image"]
    assert "x-pack: 7" in heads["archive"].lower()

    run_steps(context)
    (alert_id,) = conn.execute("select alert_id from alert").fetchone() or (None,)
    assert alert_id is not None
    ask_bundle(conn, alert_id, "test")
    (row,) = conn.execute("select bundle_id from bundle").fetchone() or (None,)
    conn.execute("update bundle set token = 1")
    (bundle,) = list_bundles(conn, (row,))
    files = list(collect_case(context, bundle)[1].files)
    assert list(collect_case(context, bundle)[1].files) == files, "the same case is the same bytes"
    records = [record for file in files if file.name.endswith(".warc.gz") for record in check_warc(file.content)]
    assert sorted((kind, url.replace(site.url, "")) for kind, url, _ in records) == [
        ("resource", f"urn:sha256:{next(d.captured_sha256 for d in files if d.content == inside)}"),
        ("response", "/"),
        ("response", "/one.jpg"),
    ]
    assert {body for _, url, body in records if url.endswith("/one.jpg") or url.startswith("urn:")} == {jpeg, inside}

    conn.execute("update bundle set token = null")
    run_steps(context)
    assert sorted(read_bundle(settings)) == sorted(records)


def test_a_picture_from_before_heads_were_kept_is_a_resource(context: Context, conn: Connection) -> None:
    listing_id = make_listing(conn)
    capture_listing(context, listing_id)
    alert_id = raise_alert(context, listing_id)
    ask_bundle(conn, alert_id, "test")
    run_steps(context)
    kinds = [kind for kind, _, _ in read_bundle(context.settings)]
    assert kinds == ["response", "resource"]


@pytest.mark.parametrize(
    "headers",
    [
        [("X", "a\r\nWARC/1.1\r\n\r\n")],
        [("X", "")],
        [("X: y", "z")],
        [("X", "\u4e2d; a=\u4e2d")],
        [("X", "a" * 10_000)],
        [("X", "1"), ("X", "2")],
        [],
    ],
)
def test_a_hostile_head_stays_one_record_with_its_body(headers: list[tuple[str, str]]) -> None:
    at = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    head = make_head(200, headers)
    assert "\r" not in head
    record = write_response("http://x.example/", head, b"body\r\n\r\n", at=at, record_id=make_record_id("x"))
    assert check_warc(record) == [("response", "http://x.example/", b"body\r\n\r\n")]
    assert record == write_response("http://x.example/", head, b"body\r\n\r\n", at=at, record_id=make_record_id("x"))
    assert write_head(200, headers).count("\n") == len(headers)


def red_png() -> str:
    """So small that it counts for a spacer: a page goes with larger ones that lie in it."""
    return base64.b64encode(png(15, 15, "RGB", RED)).decode()


@pytest.fixture
def chromium(settings: Settings) -> None:
    if find_chromium(settings) is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")


def test_a_rendered_page_has_a_screenshot_without_its_pictures_that_goes_when_nobody_needs_it(
    context: Context, tmp_path: Path, make_site: MakeSite, chromium: None
) -> None:
    conn, settings = context.conn, context.settings
    enrol_person(context, "astronaut")
    script = f"""
      document.body.innerHTML = '<article><h1>lot</h1><img src="/one.jpg"></article>'
        + '<img style="width:300px" src="data:image/png;base64,{red_png()}"><p style="height:30000px">tall</p>';
      const canvas = document.createElement('canvas'); canvas.width = canvas.height = 300;
      document.body.prepend(canvas); const pen = canvas.getContext('2d');
      pen.fillStyle = 'rgb(255,0,0)'; pen.fillRect(0, 0, 300, 300);
      document.body.insertAdjacentHTML('beforeend', '<p class="ready"></p>');
    """
    style = "<style>body { background: url(/back.png) } h1::before { content: 'x'; background: url(/more.png) }</style>"
    pictures = {"/one.jpg": portrait("astronaut", 60), "/back.png": png(9, 9), "/more.png": png(9, 9)}

    def answer(path: str) -> Answer:
        if path in pictures:
            return 200, {"Content-Type": "image/png"}, pictures[path]
        return html(f"{style}<script>window.onload = () => {{ {script} }}</script>") if path == "/" else NOT_FOUND

    site = make_site(answer)
    done = crawl(settings, site, tmp_path, top='rendering = "browser"', read='wait_for = "p.ready"')
    assert done.returncode == 0, done.stderr
    assert site.hits["/one.jpg"] == 1, "by the frontier, not by the browser"
    assert not {"/back.png", "/more.png"} & set(site.hits), "no picture is asked for by the browser"
    (data,) = open_warcs(conn, context.keys, settings)
    records = check_warc(data)
    assert [kind for kind, _, _ in records] == ["warcinfo", "response", "resource"]
    assert records[1] == ("response", f"{site.url}/", answer("/")[2]), "as the server sent it"
    assert b"<article>" in records[2][2], "as the browser drew it"

    query = (
        """select blob_capture.sha256 from blob_capture join listing_version on shows = listing_version.capture_id"""
    )
    (digest,) = conn.execute(query).fetchone() or ("",)
    shot = read_blob(conn, context.keys, context.blobs, digest)
    with Image.open(io.BytesIO(shot)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (SHOT_SIZE["width"], SHOT_SIZE["height"]))
        pixels = np.asarray(picture)[:1000].astype(int)
        reds = int(((pixels[:, :, 0] > 200) & (pixels[:, :, 1:].max(axis=2) < 60)).sum())
    assert reds == 0, "neither inline pictures nor what a script drew"
    assert count(conn, "select count(*) from ledger where about = %s", digest) == 1
    assert not any(shot[:64] in path.read_bytes() for path in settings.home.rglob("*") if path.is_file())

    assert digest not in list_unneeded(conn)
    run_steps(context)
    (alert_id,) = conn.execute("select alert_id from alert").fetchone() or (None,)
    assert isinstance(alert_id, UUID)
    ask_bundle(conn, alert_id, "test")
    run_steps(context)
    exported = read_bundle(settings)
    assert ("resource", f"urn:fullPage:{site.url}/", shot) in exported
    assert [record for record in records if record[1] == f"{site.url}/"] == exported[:2]
    conn.execute("update blob_capture set keep_until = now() where shows is not null")
    assert digest not in list_unneeded(conn), "somebody was matched in a picture of the listing it shows"
    conn.execute("update face set outcome = 'unmatched'")
    assert digest in list_unneeded(conn)
    drop_expired(context)
    assert count(conn, "select count(*) from blob where sha256 = %s", digest) == 0
    assert count(conn, "select count(*) from blob_capture where sha256 = %s", digest) == 1, "that it was there stays"


def test_a_screenshot_that_fails_costs_nothing() -> None:
    class Dying:
        async def screenshot(self, **options: object) -> bytes:
            raise BrowserError("Target closed")

    class Huge:
        async def screenshot(self, **options: object) -> bytes:
            return bytes(5 << 20)

    assert asyncio.run(take_screenshot(Dying())) == b""
    assert asyncio.run(take_screenshot(Huge())) == b""
