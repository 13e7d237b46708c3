"""Page captures are sealed: each record under a key of its own, nothing of a page in the clear on disk."""

import datetime as dt
import io
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from warcio.archiveiterator import ArchiveIterator
from warcio.recordloader import ArcWarcRecord

from crawler.capture import WarcFile
from evidence.verify import check_bundle
from evidence.warc import write_response
from tests.crawler.test_crawl import chain_site, crawl, html
from tests.fakes import NOT_FOUND, Answer, Site
from tests.samples import capture_listing, count, make_listing, open_warcs, raise_alert
from vault.blobs import CHUNK, open_bytes, seal_bytes
from vault.errors import BlobError, KeyFileError, Unavailable
from vault.keys import Keys, make_data_key
from vault.records import Bundle
from vault.settings import Settings
from vault.store import Connection
from vault.store.bundles import ask_bundle, list_bundles
from vault.store.captures import list_captures, read_record
from vault.store.keys import erase_keys
from workers.context import Context
from workers.seal_bundles import Contents, collect_case, seal_alert

MakeSite = Callable[[Callable[[str], Answer]], Site]
MARK = "a sentence that stands on the page and nowhere else"


def list_ids(conn: Connection) -> list[int]:
    rows = conn.execute("select capture_id from capture order by warc_offset").fetchall()
    return [capture_id for (capture_id,) in rows]


def find_files(folder: Path, *marks: bytes) -> list[Path]:
    """Files below a folder that hold one of the marks."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if any(mark in path.read_bytes() for mark in marks)]


@pytest.mark.parametrize("size", [0, 1, 700, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK])
def test_sealed_bytes_open_with_their_own_key_only_and_whole(size: int) -> None:
    content, key = bytes(range(256)) * (size // 256) + bytes(size % 256), make_data_key()
    sealed = seal_bytes(key, content)
    assert open_bytes(key, sealed) == content
    for wrong in (sealed[:-1], sealed + b"x", b"FWB2" + sealed[4:], sealed[:-1] + b"\0\0", b"", sealed[:4]):
        with pytest.raises(BlobError, match="blob_changed"):
            open_bytes(key, wrong)
    with pytest.raises(BlobError, match="blob_changed"):
        open_bytes(make_data_key(), sealed)


def test_nothing_of_a_captured_page_lies_in_the_clear(
    settings: Settings, keys: Keys, conn: Connection, tmp_path: Path, make_site: MakeSite
) -> None:
    def answer(path: str) -> Answer:
        return html(f"<article><h1>lot</h1></article><p>{MARK}</p>") if path == "/" else NOT_FOUND

    done = crawl(settings, make_site(answer), tmp_path)
    assert done.returncode == 0, done.stderr
    assert MARK.encode() in b"".join(
        record.content_stream().read()
        for data in open_warcs(conn, keys, settings)
        for record in ArchiveIterator(io.BytesIO(data))
    )
    # a gzip member would give the page away to whoever unpacks it
    assert find_files(settings.home, MARK.encode(), b"\x1f\x8b\x08", b"WARC/1.1") == []
    assert MARK not in done.stdout + done.stderr


def test_a_record_whose_key_was_erased_is_gone_and_its_neighbours_are_not(
    settings: Settings, keys: Keys, conn: Connection, tmp_path: Path, make_site: MakeSite
) -> None:
    assert crawl(settings, make_site(chain_site(5)), tmp_path).returncode == 0
    (before,) = open_warcs(conn, keys, settings)
    ids = list_ids(conn)
    assert count(conn, "select count(distinct key_id) from capture") == len(ids) == 5
    assert count(conn, "select count(*) from key where kind = 'capture'") == 6, "the file's first record has one too"
    erased = list_captures(conn, [ids[2]])
    assert erased[0].key_id is not None
    erase_keys(conn, [erased[0].key_id])
    for stored in list_captures(conn, ids):
        if stored.capture_id == ids[2]:
            with pytest.raises(KeyFileError, match="key_erased"):
                read_record(keys, settings.home / "warc", stored)
        else:
            assert read_record(keys, settings.home / "warc", stored) in before
    (settings.home / "warc" / erased[0].warc_file).rename(settings.home / "warc" / "elsewhere")
    with pytest.raises(BlobError, match="blob_missing"):
        read_record(keys, settings.home / "warc", list_captures(conn, [ids[0]])[0])
    (settings.home / "warc").rename(settings.home / "unmounted")
    (settings.home / "warc").mkdir()
    with pytest.raises(Unavailable, match="captures_away"):  # which says nothing of any record
        read_record(keys, settings.home / "warc", list_captures(conn, [ids[0]])[0])


def test_a_capture_from_before_records_were_sealed_is_read_as_it_lies(
    settings: Settings, keys: Keys, conn: Connection
) -> None:
    make_listing(conn)
    record = b"a record as it was written then"
    (settings.home / "warc").mkdir()
    (settings.home / "warc" / "old.warc.gz").write_bytes(b"before" + record)
    conn.execute("update capture set warc_file = 'old.warc.gz', warc_offset = 6, warc_length = %s", [len(record)])
    (stored,) = list_captures(conn, list_ids(conn))
    assert read_record(keys, settings.home / "warc", stored) == record


def open_record(data: bytes) -> ArcWarcRecord:
    return next(iter(ArchiveIterator(io.BytesIO(data))))


def write_again(data: bytes) -> bytes:
    """A `response` record written once more of its own values."""
    record = open_record(data)
    body = record.content_stream().read()
    head = record.http_headers
    lines = [f"HTTP/1.1 {head.statusline}", *(f"{name}: {value}" for name, value in head.headers[:-1])]
    found = open_record(data).rec_headers
    at, record_id = found.get_header("WARC-Date"), found.get_header("WARC-Record-ID")
    return write_response(
        found.get_header("WARC-Target-URI"), "\n".join(lines), body,
        at=dt.datetime.fromisoformat(at), record_id=UUID(record_id.strip("<>").removeprefix("urn:uuid:")),
    )  # fmt: skip


def collect(context: Context, alert_id: object) -> tuple[Bundle, Contents, dict[str, bytes]]:
    conn = context.conn
    (bundle_id,) = conn.execute("select bundle_id from bundle where alert_id = %s", [alert_id]).fetchone() or (None,)
    conn.execute("update bundle set token = 1, state = 'running'")
    (bundle,) = list_bundles(conn, (bundle_id,))
    _, contents = collect_case(context, bundle)
    return bundle, contents, {file.name: file.content for file in contents.files}


def test_a_bundle_holds_the_record_that_was_written_and_says_which_pages_were_erased(context: Context) -> None:
    conn = context.conn
    listing_id = make_listing(conn)
    capture_listing(context, listing_id)
    alert_id = raise_alert(context, listing_id)
    ask_bundle(conn, alert_id, "test")
    _, contents, files = collect(context, alert_id)
    (capture_id,) = list_ids(conn)
    name = f"captures/{capture_id:06d}.warc.gz"
    assert write_again(files[name]) == files[name], "the bytes that evidence/warc.py makes, without a trace of the seal"
    assert contents.absent == []

    (stored,) = list_captures(conn, [capture_id])
    assert stored.key_id is not None
    erase_keys(conn, [stored.key_id])
    bundle, contents, files = collect(context, alert_id)
    assert name not in files
    assert [(each.name, each.sha256) for each in contents.absent] == [(name, stored.sha256)]
    assert stored.sha256 in contents.digests, "when it was received is proven all the same"
    seal_alert(context, bundle)
    (sealed,) = (context.settings.home / "bundles").iterdir()
    assert check_bundle(sealed.read_bytes()).failed == []
    assert b"the page was erased with the pictures inside it" in sealed.read_bytes()


def test_files_of_two_crawls_never_have_one_name(tmp_path: Path) -> None:
    names = {WarcFile(tmp_path, "shop").name for _ in range(50)}
    assert len(names) == 50
