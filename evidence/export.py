"""The captured pages of a source as plain WARC files: in come a source and an empty folder, out come files that other
programs read.

Each record is the one that was written when the page came, in the same order; a page that was erased is left out.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from evidence.warc import make_record_id, write_info
from vault.errors import BlobError, EvidenceError, KeyFileError
from vault.files import write_parts
from vault.keys import Keys
from vault.ledger import Kind
from vault.records import Source
from vault.store import Connection
from vault.store.captures import (
    SEALED,
    StoredCapture,
    list_captures,
    list_source_captures,
    read_record,
    read_warc_info,
)
from vault.store.ledger import write_entry
from vault.store.visibility import is_private


@dataclass(kw_only=True, slots=True)
class Exported:
    """What an export has done so far. `left_out`: pages that were not wanted; `unreadable`: (capture, error code)."""

    files: int = 0
    records: int = 0
    bytes: int = 0
    erased: int = 0
    left_out: int = 0
    unreadable: list[tuple[int, str]]


def export_pages(
    conn: Connection,
    keys: Keys,
    home: Path,
    source: Source,
    out: Path,
    *,
    by: str,
    wanted: Callable[[StoredCapture], bool] = lambda _stored: True,
    tell: Callable[[Exported], None] = lambda _done: None,
) -> Exported:
    """Write every page of a source that is `wanted` and still kept, a file a crawl, mode 0600; the ledger says who took
    how many. Of a private source pages with pictures inside are left out: which of them are kept says where somebody
    was found. `tell` is called after each record. Raises EvidenceError, where `out` is no empty folder; Unavailable;
    OSError."""
    check_empty(out)
    done, private = Exported(unreadable=[]), is_private(conn, source.name)

    def may_leave(stored: StoredCapture) -> bool:
        return not (private and stored.pictures) and wanted(stored)

    listed = list_source_captures(conn, source.source_id)
    for file, portions in itertools.groupby(listed, key=lambda portion: portion[0]):
        stored = (each for _, ids in portions for each in sort_captures(list_captures(conn, ids)))
        records = read_records(keys, home / "warc", filter_captures(stored, may_leave, done), done, tell)
        first = next(records, None)
        if first is not None:
            info = read_warc_info(conn, keys, home / "warc", file) or write_info(
                file, at=first[0].captured_at, record_id=make_record_id(file)
            )
            done.files += 1
            contents = itertools.chain((info, first[1]), (record for _, record in records))
            write_parts(out / file.removesuffix(SEALED), contents)
    write_entry(
        conn, Kind.EXPORT, about=f"source:{source.name}", by=by, records=done.records, erased=done.erased,
        left_out=done.left_out,
    )  # fmt: skip
    return done


def check_empty(out: Path) -> None:
    """Make the folder, mode 0700, or find it empty. Raises EvidenceError, OSError."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise EvidenceError(f"{out} is no empty folder", mend="give --out a folder that is new or empty")
    out.mkdir(parents=True, exist_ok=True, mode=0o700)


def sort_captures(stored: list[StoredCapture]) -> list[StoredCapture]:
    return sorted(stored, key=lambda each: each.warc_offset)


def filter_captures(
    stored: Iterator[StoredCapture], wanted: Callable[[StoredCapture], bool], done: Exported
) -> Iterator[StoredCapture]:
    """Those that are wanted and not erased; the others are counted."""
    for each in stored:
        if not wanted(each):
            done.left_out += 1
        elif each.erased_at is not None:
            done.erased += 1
        else:
            yield each


def read_records(
    keys: Keys, folder: Path, stored: Iterator[StoredCapture], done: Exported, tell: Callable[[Exported], None]
) -> Iterator[tuple[StoredCapture, bytes]]:
    """Each with its record; one that cannot be read is named and costs the others nothing. Raises Unavailable."""
    for each in stored:
        try:
            record = read_record(keys, folder, each)
        except (BlobError, KeyFileError) as exc:
            done.unreadable.append((each.capture_id, exc.stable_code))
            continue
        done.records += 1
        done.bytes += len(record)
        tell(done)
        yield each, record
