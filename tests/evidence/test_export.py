"""`warc export` gives the captured pages of a source as files that other programs read."""

import io
import json
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from warcio.archiveiterator import ArchiveIterator

from evidence.export import export_pages
from tests.cli.test_commands import facewarden
from tests.crawler.test_crawl import chain_site, crawl
from tests.fakes import Answer, Site
from tests.samples import count, make_listing, open_warcs
from vault.errors import EvidenceError
from vault.keys import Keys
from vault.records import Source
from vault.settings import Settings
from vault.store import Connection
from vault.store.captures import StoredCapture, list_captures
from vault.store.keys import erase_keys
from vault.store.sources import get_source

MakeSite = Callable[[Callable[[str], Answer]], Site]
PAGES = 6


@pytest.fixture
def source(settings: Settings, keys: Keys, conn: Connection, tmp_path: Path, make_site: MakeSite) -> Source:
    """A source that was crawled once; another one is beside it."""
    assert crawl(settings, make_site(chain_site(PAGES)), tmp_path).returncode == 0
    make_listing(conn, "another")
    found = get_source(conn, "test-market")
    assert found is not None
    return found


def read_urls(data: bytes) -> list[str]:
    records = ArchiveIterator(io.BytesIO(data))
    return [record.rec_headers.get_header("WARC-Target-URI") or record.rec_type for record in records]


def check(file: Path) -> int:
    """`warcio check`, as anybody would run it."""
    argv = [sys.executable, "-c", "from warcio.cli import main; main()", "check", str(file)]
    return subprocess.run(argv, check=False, capture_output=True).returncode


def test_an_export_is_the_records_as_they_were_written_in_their_order(
    settings: Settings, keys: Keys, conn: Connection, source: Source, tmp_path: Path
) -> None:
    done = facewarden(settings, "warc", "export", source.name, "--out", str(tmp_path / "out"))
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    assert f"{PAGES} records in 1 file" in done.stdout
    (file,) = (tmp_path / "out").iterdir()
    assert [f"{file.name}.sealed"] == [path.name for path in (settings.home / "warc").iterdir()]
    assert file.name.endswith(".warc.gz")
    assert [file.read_bytes()] == open_warcs(conn, keys, settings)
    assert read_urls(file.read_bytes())[0] == "warcinfo"
    assert check(file) == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700
    about = ("select count(*) from ledger where about = %s and entry like '%%\"records\":6%%'", f"source:{source.name}")
    assert count(conn, *about) == 1


def test_an_export_leaves_erased_and_unwanted_pages_out_and_counts_them(
    settings: Settings, keys: Keys, conn: Connection, source: Source, tmp_path: Path
) -> None:
    rows = conn.execute("select capture_id from capture where key_id is not null order by warc_offset").fetchall()
    ids = [capture_id for (capture_id,) in rows]
    (erased,) = list_captures(conn, [ids[2]])
    assert erased.key_id is not None
    erase_keys(conn, [erased.key_id])

    def wanted(stored: StoredCapture) -> bool:
        return bool(stored.capture_id != ids[0])

    done = export_pages(conn, keys, settings.home, source, tmp_path / "out", by="test", wanted=wanted)
    assert (done.records, done.erased, done.left_out, done.unreadable) == (PAGES - 2, 1, 1, [])
    (file,) = (tmp_path / "out").iterdir()
    kept = [stored.url for stored in list_captures(conn, ids) if stored.capture_id not in (ids[0], ids[2])]
    assert read_urls(file.read_bytes()) == ["warcinfo", *kept]
    assert check(file) == 0


@pytest.mark.parametrize("erased", [False, True])
def test_of_a_private_source_pages_with_pictures_inside_are_left_out_whether_they_are_kept_or_not(
    settings: Settings, keys: Keys, conn: Connection, source: Source, tmp_path: Path, erased: bool
) -> None:
    """Which of them is kept says in which somebody was found."""
    conn.execute("update source set visibility = 'private', alone = true, signers = '{}'")
    conn.execute(
        """update capture set pictures = 1
           where capture_id = (select min(capture_id) from capture where key_id is not null)"""
    )
    if erased:
        conn.execute(
            """update key set wrapped = null, erased_at = now() from capture
               where capture.key_id = key.key_id and pictures > 0"""
        )
    done = export_pages(conn, keys, settings.home, source, tmp_path / "out", by="test")
    assert (done.records, done.erased, done.left_out) == (PAGES - 1, 0, 1)


def test_a_source_of_which_nothing_is_left_makes_no_file(
    settings: Settings, keys: Keys, conn: Connection, source: Source, tmp_path: Path
) -> None:
    done = export_pages(
        conn, keys, settings.home, source, tmp_path / "out", by="test", wanted=lambda _stored: False
    )  # fmt: skip
    assert (done.files, done.records, done.left_out) == (0, 0, PAGES)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_record_that_cannot_be_read_is_named_and_costs_the_others_nothing(
    settings: Settings, keys: Keys, conn: Connection, source: Source, tmp_path: Path
) -> None:
    (file,) = (settings.home / "warc").iterdir()
    data = bytearray(file.read_bytes())
    rows = conn.execute("select capture_id, warc_offset from capture where key_id is not null order by 2").fetchall()
    broken, offset = rows[1]
    data[offset + 40] ^= 1
    file.write_bytes(data)
    done = facewarden(settings, "warc", "export", source.name, "--out", str(tmp_path / "out"), "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["unreadable"] == [[broken, "blob_changed"]]
    assert f"capture {broken} could not be read: blob_changed" in done.stderr
    assert json.loads(done.stdout)["records"] == PAGES - 1


@pytest.mark.parametrize("what", ["full", "file"])
def test_an_export_never_writes_beside_what_is_there(
    settings: Settings, keys: Keys, conn: Connection, source: Source, tmp_path: Path, what: str
) -> None:
    out = tmp_path / "out"
    if what == "full":
        out.mkdir()
        (out / "mine.txt").write_text("mine")
    else:
        out.write_text("mine")
    with pytest.raises(EvidenceError, match="no empty folder"):
        export_pages(conn, keys, settings.home, source, out, by="test")
    assert len(list(tmp_path.rglob("mine.txt"))) == (what == "full")
    assert what == "full" or out.read_text() == "mine"


def test_an_unknown_source_is_named_with_the_way_on(settings: Settings, keys: Keys, tmp_path: Path) -> None:
    done = facewarden(settings, "warc", "export", "nowhere", "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "there is no source 'nowhere'" in done.stderr
    assert not (tmp_path / "out").exists()
