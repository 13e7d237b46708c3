"""Rows of `capture` and `warc_info`: the proof of each page as it was, each under a key of its own.

A record whose key was erased stays a row: what was received, when, and its digest.
"""

import contextlib
import datetime as dt
import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from uuid import UUID

from psycopg import sql

from vault.blobs import open_bytes
from vault.errors import BlobError, KeyFileError, Unavailable
from vault.keys import Keys
from vault.records import Capture, WarcInfo
from vault.store import Connection
from vault.store.keys import save_keys
from vault.store.needs import NEEDED, QUARANTINE_DAYS
from vault.store.rows import record_row

SEALED = ".sealed"  # the end of a file's name, behind that of a WARC file
PORTION = 500  # captures whose keys are asked for at once


def keep_captures(conn: Connection, keys: Keys, captures: Sequence[Capture]) -> dict[int, int]:
    """Keep records and their keys. Returns page_id -> capture_id; no page may be among them twice."""
    save_keys(conn, keys, [(each.key.key_id, each.key.value) for each in captures if each.key], "capture")
    return save_captures(conn, captures)


def save_captures(conn: Connection, captures: Sequence[Capture]) -> dict[int, int]:
    """The rows alone. Returns page_id -> capture_id; no page may be among them twice."""
    rows = conn.execute(
        """insert into capture (page_id, warc_file, warc_offset, warc_length, sha256, media_type, captured_at,
                                drawn_from, key_id, pictures)
           select * from unnest(%(pages)s::bigint[], %(files)s::text[], %(offsets)s::bigint[], %(lengths)s::bigint[],
                                %(digests)s::text[], %(types)s::text[], %(times)s::timestamptz[],
                                %(answers)s::bigint[], %(keys)s::uuid[], %(pictures)s::integer[])
           returning page_id, capture_id""",
        {
            "pages": [capture.page_id for capture in captures],
            "files": [capture.warc_file for capture in captures],
            "offsets": [capture.warc_offset for capture in captures],
            "lengths": [capture.warc_length for capture in captures],
            "digests": [capture.sha256 for capture in captures],
            "types": [capture.media_type for capture in captures],
            "times": [capture.captured_at for capture in captures],
            "answers": [capture.drawn_from for capture in captures],
            "keys": [capture.key.key_id if capture.key else None for capture in captures],
            "pictures": [capture.pictures for capture in captures],
        },
    ).fetchall()
    return dict(rows)


def save_capture_pictures(conn: Connection, pictures: Sequence[tuple[int, str]]) -> None:
    """Which samples lie in which captures, (capture_id, sha256) each."""
    conn.execute(
        """insert into capture_picture (capture_id, sha256)
           select * from unnest(%(captures)s::bigint[], %(digests)s::text[]) on conflict do nothing""",
        {"captures": [capture_id for capture_id, _ in pictures], "digests": [sha256 for _, sha256 in pictures]},
    )


def save_warc_info(conn: Connection, keys: Keys, info: WarcInfo) -> None:
    save_keys(conn, keys, [(info.key.key_id, info.key.value)], "capture")
    conn.execute(
        "insert into warc_info (warc_file, key_id, length) values (%(file)s, %(key)s, %(length)s)",
        {"file": info.warc_file, "key": info.key.key_id, "length": info.length},
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredCapture:
    """Where a record lies, and what it is of. `key_id`: None where it is not sealed; `wrapped`: None where the key was
    erased, at `erased_at`, or there is none; `pictures`: how many lie in the page."""

    capture_id: int
    url: str
    sha256: str
    captured_at: dt.datetime
    warc_file: str
    warc_offset: int
    warc_length: int
    key_id: UUID | None
    wrapped: bytes | None
    erased_at: dt.datetime | None
    pictures: int


def list_captures(conn: Connection, capture_ids: Sequence[int]) -> list[StoredCapture]:
    """Each with its key as it is now."""
    with conn.cursor(row_factory=record_row(StoredCapture)) as cursor:
        return cursor.execute(
            """select capture_id, page.url, capture.sha256, captured_at, warc_file, warc_offset, warc_length, key_id,
                      wrapped, erased_at, pictures
               from capture join page using (page_id) left join key using (key_id)
               where capture_id = any(%(ids)s) order by capture_id""",
            {"ids": list(capture_ids)},
        ).fetchall()


def list_answers(conn: Connection, capture_ids: Sequence[int]) -> list[int]:
    """The captures of the answers that a browser drew these from."""
    rows = conn.execute(
        "select drawn_from from capture where capture_id = any(%(ids)s) and drawn_from is not null",
        {"ids": list(capture_ids)},
    ).fetchall()
    return [capture_id for (capture_id,) in rows]


def read_record(keys: Keys, folder: Path, stored: StoredCapture) -> bytes:
    """The WARC record, a gzip member, as it was written. Raises KeyFileError: key_erased, key_wrong; BlobError:
    blob_missing, blob_changed, blob_unreadable; Unavailable: captures_away."""
    if stored.key_id is not None and stored.wrapped is None:
        raise KeyFileError("key_erased", "the page was erased with the pictures inside it")
    content = read_piece(folder / stored.warc_file, stored.warc_offset, stored.warc_length)
    if stored.key_id is None or stored.wrapped is None:
        return content
    return open_bytes(keys.unwrap_key(stored.wrapped, str(stored.key_id)), content)


def list_source_captures(conn: Connection, source_id: int) -> Iterator[tuple[str, list[int]]]:
    """The captures of a source in the order of its files, some at a time: (file, capture ids). The list is of the
    moment at which the first are asked for; no transaction stays open."""
    with conn.cursor(name="source_captures", withhold=True) as cursor:
        cursor.execute(
            """select warc_file, capture_id from capture join page using (page_id)
               where source_id = %(source)s order by warc_file, warc_offset""",
            {"source": source_id},
        )
        while rows := cursor.fetchmany(PORTION):
            for file, group in groupby(rows, key=itemgetter(0)):
                yield file, [capture_id for _, capture_id in group]


def read_warc_info(conn: Connection, keys: Keys, folder: Path, warc_file: str) -> bytes | None:
    """The `warcinfo` record of a file; None for one that was written before records were sealed. Raises KeyFileError:
    key_wrong; BlobError: blob_missing, blob_changed, blob_unreadable; Unavailable: captures_away."""
    row = conn.execute(
        """select key_id, wrapped, length from warc_info join key using (key_id)
           where warc_file = %(file)s and wrapped is not null""",
        {"file": warc_file},
    ).fetchone()
    if row is None:
        return None
    key_id, wrapped, length = row
    return open_bytes(keys.unwrap_key(wrapped, str(key_id)), read_piece(folder / warc_file, 0, length))


def read_piece(path: Path, offset: int, length: int) -> bytes:
    """Raises BlobError: blob_missing, blob_unreadable; Unavailable: captures_away."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length)
    except OSError as exc:
        raise name_problem(exc, path) from exc


def name_problem(exc: OSError, path: Path) -> BlobError | Unavailable:
    """What an error of the system says of a file. In a folder without files none is missing: the folder is away."""
    text = f"{path.name} cannot be read: {exc.strerror}"
    with contextlib.suppress(OSError):
        if exc.errno == errno.ENOENT and any(path.parent.iterdir()):
            return BlobError("blob_missing", text)
    if exc.errno == errno.EIO:
        return BlobError("blob_unreadable", text)
    return Unavailable("captures_away", text, mend="is the folder of captures mounted, and may it be read?")


# -- erasing ----------------------------------------------------------------------------------------------------------


def erase_unneeded(conn: Connection, digests: Sequence[str] | None = None) -> list[int]:
    """Erase the keys of captures in which pictures lie - one of these, or any - none of which is needed any more
    (`vault/store/needs.py`). Returns the captures; their rows stay."""
    rows = conn.execute(
        sql.SQL("""
            with gone as (
                select capture_id, key_id from capture join key using (key_id)
                where pictures > 0 and erased_at is null
                  and (%(digests)s::text[] is null or capture_id in (
                       select capture_id from capture_picture where sha256 = any(%(digests)s)))
                  and not exists (
                      select 1 from capture_picture join sample using (sha256) left join face using (sample_id)
                      where capture_picture.capture_id = capture.capture_id and {needed})
                order by key_id limit 10000 for update of key)
            update key set wrapped = null, erased_at = now() from gone where key.key_id = gone.key_id
            returning capture_id""").format(needed=NEEDED),
        {"digests": None if digests is None else list(digests), "days": QUARANTINE_DAYS},
    ).fetchall()
    return [capture_id for (capture_id,) in rows]


def erase_showing(conn: Connection, sha256: str) -> list[int]:
    """Erase the captures in which this picture lies, whoever needs them: it may not be kept. Returns them."""
    rows = conn.execute(
        """update key set wrapped = null, erased_at = now() from capture join capture_picture using (capture_id)
           where key.key_id = capture.key_id and erased_at is null and capture_picture.sha256 = %(sha256)s
           returning capture_id""",
        {"sha256": sha256},
    ).fetchall()
    return [capture_id for (capture_id,) in rows]


def list_screenshots_of(conn: Connection, capture_ids: Sequence[int]) -> list[str]:
    """Digests of the screenshots of these captures."""
    rows = conn.execute(
        "select distinct sha256 from blob_capture where shows = any(%(ids)s)", {"ids": list(capture_ids)}
    ).fetchall()
    return [sha256 for (sha256,) in rows]
