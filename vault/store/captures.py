"""Rows of `capture` and `warc_info`: the proof of each page as it was, each under a key of its own.

A record whose key was erased stays a row: what was received, when, and its digest.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from uuid import UUID

from vault.blobs import open_bytes
from vault.errors import BlobError, KeyFileError
from vault.keys import Keys
from vault.records import Capture, WarcInfo
from vault.store import Connection
from vault.store.keys import save_keys
from vault.store.rows import record_row

PORTION = 500  # captures whose keys are asked for at once


def keep_captures(conn: Connection, keys: Keys, captures: Sequence[Capture]) -> dict[int, int]:
    """Keep records and their keys. Returns page_id -> capture_id; no page may be among them twice."""
    save_keys(conn, keys, [(each.key.key_id, each.key.value) for each in captures if each.key], "capture")
    return save_captures(conn, captures)


def save_captures(conn: Connection, captures: Sequence[Capture]) -> dict[int, int]:
    """The rows alone. Returns page_id -> capture_id; no page may be among them twice."""
    rows = conn.execute(
        """insert into capture (page_id, warc_file, warc_offset, warc_length, sha256, media_type, captured_at,
                                drawn_from, key_id)
           select * from unnest(%(pages)s::bigint[], %(files)s::text[], %(offsets)s::bigint[], %(lengths)s::bigint[],
                                %(digests)s::text[], %(types)s::text[], %(times)s::timestamptz[],
                                %(answers)s::bigint[], %(keys)s::uuid[])
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
        },
    ).fetchall()
    return dict(rows)


def save_warc_info(conn: Connection, keys: Keys, info: WarcInfo) -> None:
    save_keys(conn, keys, [(info.key.key_id, info.key.value)], "capture")
    conn.execute(
        "insert into warc_info (warc_file, key_id, length) values (%(file)s, %(key)s, %(length)s)",
        {"file": info.warc_file, "key": info.key.key_id, "length": info.length},
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredCapture:
    """Where a record lies, and what it is of. `key_id`: None where it is not sealed; `wrapped`: None where the key was
    erased, at `erased_at`, or there is none."""

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


def list_captures(conn: Connection, capture_ids: Sequence[int]) -> list[StoredCapture]:
    """Each with its key as it is now."""
    with conn.cursor(row_factory=record_row(StoredCapture)) as cursor:
        return cursor.execute(
            """select capture_id, page.url, capture.sha256, captured_at, warc_file, warc_offset, warc_length, key_id,
                      wrapped, erased_at
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
    blob_missing, blob_changed; OSError."""
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
    key_wrong; BlobError: blob_missing, blob_changed; OSError."""
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
    """Raises BlobError: blob_missing; OSError."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length)
    except FileNotFoundError as exc:
        raise BlobError("blob_missing", f"there is no {path.name}") from exc
