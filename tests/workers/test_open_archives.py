"""The step that opens archives, for every kind: the rows, what is kept of a broken one, passwords, the lease."""

import random

import py7zr
import pytest

from tests.samples import add_sample, count, make_listing, portrait
from tests.vault.packing import SEVEN_METHODS, pack, pack_7z
from vault.box import Member
from vault.records import PageKind, Sample
from vault.store import Connection
from vault.store.passed_over import count_passed_over, save_passed_over
from vault.store.samples import count_formats
from workers.context import Context
from workers.open_archives import open_archives, save_members

SEVEN_LOCKED = [*SEVEN_METHODS["7z"], {"id": py7zr.FILTER_CRYPTO_AES256_SHA256}]


def ends(conn: Connection) -> dict[str, str | None]:
    rows = conn.execute("select sha256, state || coalesce(':' || error_code, '') from sample").fetchall()
    return dict(rows)


@pytest.mark.parametrize("kind", ["tar", "gzip", "bzip2", "xz", "zstd", "7z"])
def test_pictures_of_an_archive_of_any_kind_become_samples(context: Context, kind: str) -> None:
    archive = pack(kind, [("a.jpg", portrait("astronaut")), ("b.zip", pack("zip", [("x", b"x")])), ("c.txt", b"text")])
    digest = add_sample(context, make_listing(context.conn), archive, PageKind.ARCHIVE)
    assert open_archives(context) == 1
    rows = context.conn.execute(
        "select member, state, error_code from sample where archive_id is not null order by member"
    ).fetchall()
    assert rows == [(0, "ready", None), (1, "quarantined", "archive_nested")]
    assert ends(context.conn)[digest] == "done"
    assert count_passed_over(context.conn) == {"test-source": {"text": 1}}


def test_members_before_the_place_where_an_archive_breaks_are_kept(context: Context) -> None:
    whole = pack("gzip", [(f"{n}.gif", b"GIF89a" + random.Random(n).randbytes(99_994)) for n in range(5)])
    digest = add_sample(context, make_listing(context.conn), whole[:350_000], PageKind.ARCHIVE)
    open_archives(context)
    assert ends(context.conn)[digest] == "quarantined:archive_corrupt"
    assert count(context.conn, "select count(*) from sample where archive_id is not null and state = 'ready'") == 3
    files = [path for path in context.blobs.rglob("*") if path.is_file()]
    assert count(context.conn, "select count(*) from blob") == 4, "the archive itself stays for some days"
    assert len(files) == 2
    assert count(context.conn, "select count(*) from blob_file") == 1


def test_large_members_are_saved_before_they_fill_the_memory(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.open_archives.PORTION_BYTES", 1000)
    portions: list[int] = []
    original = save_members

    def count_portion(context: Context, archive: Sample, members: list[Member]) -> None:
        portions.append(len(members))
        original(context, archive, members)

    monkeypatch.setattr("workers.open_archives.save_members", count_portion)
    archive = pack("tar", [(f"{n}.gif", b"GIF89a" + bytes([n]) * 394) for n in range(7)])
    add_sample(context, make_listing(context.conn), archive, PageKind.ARCHIVE)
    open_archives(context)
    assert portions == [3, 3, 1]


def test_a_locked_archive_opens_with_the_passwords_of_its_listing_only(context: Context) -> None:
    locked = pack_7z([("a.jpg", portrait("astronaut"))], SEVEN_LOCKED, "secret", True)
    listing, other = make_listing(context.conn), make_listing(context.conn, "other")
    context.conn.execute("update listing set passwords = array['wrong'] where listing_id = %s", [listing])
    context.conn.execute("update listing set passwords = array['secret'] where listing_id = %s", [other])
    digest = add_sample(context, listing, locked, PageKind.ARCHIVE)
    open_archives(context)
    assert ends(context.conn) == {digest: "quarantined:archive_password"}
    context.conn.execute("update listing set passwords = array['wrong', 'secret'] where listing_id = %s", [listing])
    again = pack_7z([("a.jpg", portrait("astronaut")), ("b.txt", b"text")], SEVEN_LOCKED, "secret", True)
    digest = add_sample(context, listing, again, PageKind.ARCHIVE)
    open_archives(context)
    assert ends(context.conn)[digest] == "done"


def test_without_a_password_a_locked_archive_says_so(context: Context) -> None:
    locked = pack_7z([("a.jpg", b"content")], SEVEN_LOCKED, "secret", True)
    digest = add_sample(context, make_listing(context.conn), locked, PageKind.ARCHIVE)
    open_archives(context)
    assert ends(context.conn) == {digest: "quarantined:archive_encrypted"}


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
MP4 = b"\0\0\0\x18ftypisom\0\0\0\0isomavc1"


@pytest.mark.parametrize("kind", ["zip", "tar", "gzip", "7z"])
def test_members_that_are_no_pictures_are_counted_by_format_and_never_kept(context: Context, kind: str) -> None:
    """By their bytes: a picture called .txt is one, a video called .jpg is none. Copies count, too."""
    members = [("a.txt", portrait("astronaut")), ("b.jpg", MP4 + b"1"), ("c.mp4", MP4 + b"2"), ("readme", b"for sale")]
    members += [(f"set {number}/readme.txt", b"the same words") for number in range(3)]
    members += [("empty", b""), ("page.html", b"<!DOCTYPE html><html></html>"), ("phone.jpg", HEIC + bytes(40))]
    digest = add_sample(context, make_listing(context.conn), pack(kind, members), PageKind.ARCHIVE)
    open_archives(context)
    assert ends(context.conn)[digest] == "done"
    assert count_passed_over(context.conn) == {
        "test-source": {"text": 4, "MP4": 2, "HTML": 1, "empty file": 1},
    }
    rows = context.conn.execute(
        "select member, state, error_code, error_text from sample where archive_id is not null order by member"
    ).fetchall()
    assert rows == [(0, "ready", None, None), (9, "quarantined", "format_not_allowed", "HEIC")]
    assert count_formats(context.conn) == {"HEIC": 1}
    kept = "select count(*) from blob where sha256 in (select sha256 from sample where archive_id is not null)"
    assert count(context.conn, kept) == 1


def test_an_archive_that_is_opened_again_is_not_counted_twice(context: Context) -> None:
    archive = pack("zip", [("a.txt", b"x"), ("b.jpg", portrait("astronaut"))])
    listing_id = make_listing(context.conn)
    digest = add_sample(context, listing_id, archive, PageKind.ARCHIVE)
    open_archives(context)
    context.conn.execute("update sample set state = 'ready', attempts = 0 where kind = 'archive'")
    context.conn.execute("delete from blob where sha256 = %s", [digest])
    context.conn.execute("update sample set sha256 = sha256 || 'x' where kind = 'archive'")
    add_sample(context, listing_id, archive, PageKind.ARCHIVE)
    while open_archives(context):
        pass
    assert count_passed_over(context.conn) == {"test-source": {"text": 1}}


def test_a_broken_archive_says_what_was_passed_over_before(context: Context) -> None:
    whole = pack("gzip", [(f"{n}.txt", random.Random(n).randbytes(50_000).hex().encode()) for n in range(9)])
    digest = add_sample(context, make_listing(context.conn), whole[: len(whole) // 2], PageKind.ARCHIVE)
    open_archives(context)
    assert ends(context.conn)[digest] == "quarantined:archive_corrupt"
    (kinds,) = count_passed_over(context.conn).values()
    assert 0 < kinds["text"] < 9


def test_the_kinds_of_a_hostile_archive_are_bounded(context: Context) -> None:
    listing_id = make_listing(context.conn)
    (source_id,) = context.conn.execute("select source_id from source").fetchone() or (0,)
    save_passed_over(context.conn, source_id, {"x": {f"kind {number}": 1 + number for number in range(500)}})
    kinds = count_passed_over(context.conn)["test-source"]
    assert len(kinds) == 21
    assert sum(kinds.values()) == sum(range(1, 501))
    assert listing_id
