"""Rows of `blob`, `blob_file` and `blob_litter`: which encrypted files are kept, found by the SHA-256 of what is
inside.

A blob lies in a file named by its key, or in one that it shares (`vault/blobs.py`); that one's row counts those
that are left, and it goes with the last.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

from psycopg import sql

from vault.blobs import (
    MARKER,
    BlobReader,
    FiledBlob,
    FileReader,
    blob_path,
    read_marker,
    sealed_size,
    sync_folders,
    unlink_blob,
    write_marker,
)
from vault.errors import BlobError, KeyFileError, Unavailable
from vault.files import write_whole
from vault.keys import Keys
from vault.store import Connection, require_transaction
from vault.store.captures import erase_showing, erase_unneeded, list_screenshots_of
from vault.store.keys import erase_keys, save_keys
from vault.store.needs import NEEDED, QUARANTINE_DAYS
from vault.store.rows import record_row

FEW = 4  # a shared file of which less than a fourth is left is taken apart


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a blob lies, and its wrapped key (None: erased)."""

    sha256: str
    key_id: UUID
    size: int
    file_id: UUID
    start: int
    wrapped: bytes | None


def keep_blob(conn: Connection, keys: Keys, sha256: str, size: int, key_id: UUID, data_key: bytes) -> bool:
    """Register a sealed blob, unless the same content is known already (then False: the caller unlinks its file).

    Either way the row stays locked against removal until the caller's transaction ends.
    """
    return keep_blobs(conn, keys, [(sha256, size, key_id, data_key)]) == {key_id}


def keep_blobs(conn: Connection, keys: Keys, blobs: Sequence[tuple[str, int, UUID, bytes]]) -> set[UUID]:
    """The same for many, (sha256, size, key_id, data_key) each; returns the keys of those that were new."""
    return _keep(conn, keys, [(*blob, None, 0) for blob in blobs])


def keep_filed(conn: Connection, keys: Keys, filed: Sequence[FiledBlob]) -> set[UUID]:
    """The same for the blobs of one sealed file. If none was new, the caller unlinks the file."""
    return keep_together(conn, keys, [], [filed])


def keep_together(
    conn: Connection,
    keys: Keys,
    blobs: Sequence[tuple[str, int, UUID, bytes]],
    files: Sequence[Sequence[FiledBlob]],
) -> set[UUID]:
    """The same for blobs and whole files of them, all at once, so that everybody takes rows in one order."""
    rows = [
        (each.sha256, each.size, each.key_id, each.data_key, each.file_id, each.start)
        for filed in files
        for each in filed
    ]
    kept = _keep(conn, keys, [*((*blob, None, 0) for blob in blobs), *rows])
    for filed in files:
        live = sum(each.key_id in kept for each in filed)
        if live:
            conn.execute(
                "insert into blob_file (file_id, count, live) values (%(file)s, %(count)s, %(live)s)",
                {"file": filed[0].file_id, "count": len(filed), "live": live},
            )
    return kept


def _keep(conn: Connection, keys: Keys, blobs: Sequence[tuple[str, int, UUID, bytes, UUID | None, int]]) -> set[UUID]:
    """Rows are taken in the order of their digests, as everybody takes them, so that nobody deadlocks."""
    require_transaction(conn)
    kept: set[UUID] = set()
    waiting = sorted(blobs, key=lambda blob: blob[0])
    while waiting:
        save_keys(conn, keys, [(key_id, data_key) for _, _, key_id, data_key, *_ in waiting], "blob")
        added = conn.execute(
            """insert into blob (sha256, key_id, size, file_id, start)
               select sha256, key_id, size, file_id, start
               from unnest(%(sha256)s::text[], %(keys)s::uuid[], %(sizes)s::bigint[], %(files)s::uuid[],
                           %(starts)s::bigint[]) as new (sha256, key_id, size, file_id, start)
               order by sha256
               on conflict (sha256) do nothing returning key_id""",
            {
                "sha256": [blob[0] for blob in waiting],
                "keys": [blob[2] for blob in waiting],
                "sizes": [blob[1] for blob in waiting],
                "files": [blob[4] for blob in waiting],
                "starts": [blob[5] for blob in waiting],
            },
        ).fetchall()
        new = {key_id for (key_id,) in added}
        kept |= new
        waiting = [blob for blob in waiting if blob[2] not in new]
        if waiting:
            conn.execute("delete from key where key_id = any(%(ids)s)", {"ids": [blob[2] for blob in waiting]})
            known = conn.execute(
                "select sha256 from blob where sha256 = any(%(digests)s) order by sha256 for key share",
                {"digests": [blob[0] for blob in waiting]},
            ).fetchall()
            waiting = [blob for blob in waiting if (blob[0],) not in set(known)]  # it was just removed: once more
    return kept


def list_places(conn: Connection, digests: Sequence[str]) -> dict[str, Place]:
    """Where blobs lie, by digest; those that are not kept are missing."""
    with conn.cursor(row_factory=record_row(Place)) as cursor:
        rows = cursor.execute(
            """select sha256, key_id, size, coalesce(file_id, key_id) as file_id, start, wrapped
               from blob join key using (key_id) where sha256 = any(%(digests)s::text[])""",
            {"digests": list(digests)},
        ).fetchall()
    return {row.sha256: row for row in rows}


def get_place(conn: Connection, sha256: str) -> Place:
    """Raises BlobError: blob_missing."""
    place = list_places(conn, [sha256]).get(sha256)
    if place is None:
        raise BlobError("blob_missing", f"no blob {sha256[:16]}…: it was dropped")
    return place


def unwrap(keys: Keys, place: Place) -> bytes:
    """The blob's own key. Raises KeyFileError: key_erased, key_wrong."""
    if place.wrapped is None:
        raise KeyFileError("key_erased", "the key of this was erased")
    return keys.unwrap_key(place.wrapped, str(place.key_id))


def bind_folder(conn: Connection, folder: Path) -> None:
    """On first use this becomes the folder of blobs of this database. Raises OSError, Unavailable."""
    row = conn.execute("select blobs_id from deployment").fetchone()
    if row == (None,):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        conn.execute(
            "update deployment set blobs_id = %(id)s where blobs_id is null", {"id": write_marker(folder, uuid4())}
        )


def check_folder(conn: Connection, folder: Path) -> None:
    """Is this the folder of blobs of this database? Asked when a file is missing, and before rows say that one is
    there. Raises Unavailable: blobs_away."""
    row = conn.execute("select blobs_id from deployment").fetchone()
    if row is not None and row[0] is not None and read_marker(folder) != row[0]:
        raise Unavailable(
            "blobs_away",
            f"{folder} is not the folder of blobs of this database",
            mend=f"mount the right one; its file {MARKER} says {row[0]}",
        )


def open_blob(conn: Connection, keys: Keys, folder: Path, place: Place) -> BlobReader:
    """Raises BlobError: blob_missing, blob_changed, blob_unreadable; KeyFileError: key_erased, key_wrong; Unavailable:
    blobs_away."""
    try:
        return BlobReader(folder, place.file_id, unwrap(keys, place), place.size, place.start)
    except BlobError as exc:
        if exc.case == "blob_missing":
            check_folder(conn, folder)
        raise


def release_blobs(conn: Connection, digests: list[str]) -> list[UUID]:
    """Erase those of the blobs that nothing needs any more, and with them the pages in which they were the last that
    was needed. Returns the keys whose files are to be unlinked after the commit.

    The rows are locked first and judged in a second statement, so a sample that has just come in is seen. A row that
    somebody else holds is passed over, so nobody waits here; `list_unneeded` finds it again.
    """
    require_transaction(conn)
    return [*_release(conn, digests), *_release_pages(conn, erase_unneeded(conn, digests))]


def release_pages(conn: Connection) -> list[UUID]:
    """Erase all pages in which pictures lie and none is needed any more: those that `release_blobs` has missed, and
    those whose pictures no listing shows. Returns the keys whose files are to be unlinked after the commit."""
    require_transaction(conn)
    return _release_pages(conn, erase_unneeded(conn))


def erase_blob(conn: Connection, sha256: str) -> list[UUID]:
    """Erase a blob, and the pages in which it lies, whoever needs them: what is in it may not be kept. Returns the keys
    whose files are to be unlinked after the commit."""
    require_transaction(conn)
    return [*_erase(conn, [sha256]), *_release_pages(conn, erase_showing(conn, sha256))]


def _release(conn: Connection, digests: list[str]) -> list[UUID]:
    free = conn.execute(
        "select sha256 from blob where sha256 = any(%(digests)s::text[]) order by sha256 for update skip locked",
        {"digests": digests},
    ).fetchall()
    unneeded = list_unneeded(conn, [sha256 for (sha256,) in free])
    return _erase(conn, unneeded)


def _release_pages(conn: Connection, erased: list[int]) -> list[UUID]:
    """Captures were erased: their screenshots go, too."""
    return _release(conn, list_screenshots_of(conn, erased)) if erased else []


def _erase(conn: Connection, digests: list[str]) -> list[UUID]:
    """Rows and keys go; returns the files in which nothing is left."""
    if not digests:
        return []
    rows = conn.execute(
        "delete from blob where sha256 = any(%(digests)s::text[]) returning key_id, file_id", {"digests": digests}
    ).fetchall()
    erase_keys(conn, [key_id for key_id, _ in rows])
    files = [key_id for key_id, file_id in rows if file_id is None]
    files += _shrink_files(conn, [file_id for _, file_id in rows if file_id is not None])
    _note_litter(conn, files)
    return files


def _shrink_files(conn: Connection, file_ids: list[UUID]) -> list[UUID]:
    """One blob less for each time a file is named; returns the files that are empty. They are locked in the order of
    their names."""
    if not file_ids:
        return []
    conn.execute(
        "select from blob_file where file_id = any(%(ids)s) order by file_id for update", {"ids": sorted(set(file_ids))}
    )
    conn.execute(
        """update blob_file set live = live - gone.count
           from (select file_id, count(*) from unnest(%(ids)s::uuid[]) as each (file_id) group by file_id) as gone
           where blob_file.file_id = gone.file_id""",
        {"ids": file_ids},
    )
    rows = conn.execute(
        "delete from blob_file where file_id = any(%(ids)s) and live <= 0 returning file_id", {"ids": file_ids}
    ).fetchall()
    return [file_id for (file_id,) in rows]


def _note_litter(conn: Connection, file_ids: list[UUID]) -> None:
    if file_ids:
        conn.execute(
            "insert into blob_litter (file_id) select unnest(%(ids)s::uuid[]) on conflict do nothing", {"ids": file_ids}
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Leftover:
    """What is left in a shared file: key, size and place of each blob."""

    file_id: UUID
    blobs: tuple[tuple[UUID, int, int], ...]


def list_leftovers(conn: Connection, most: int = 100) -> list[Leftover]:
    """Shared files in which few blobs are left, none of them waited for: the rest's bytes would stay for their sake."""
    files = conn.execute(
        """select file_id from blob_file
           where live * %(few)s <= count and not exists (
               select 1 from blob join sample using (sha256) left join face using (sample_id)
               where blob.file_id = blob_file.file_id
                 and (sample.state in ('ready', 'running') or face.state in ('ready', 'running')))
           order by file_id limit %(most)s""",
        {"few": FEW, "most": most},
    ).fetchall()
    return [Leftover(file_id=file_id, blobs=_list_filed(conn, file_id)) for (file_id,) in files]


def _list_filed(conn: Connection, file_id: UUID, *, lock: bool = False) -> tuple[tuple[UUID, int, int], ...]:
    query = "select key_id, size, start from blob where file_id = %(file)s order by sha256"
    rows = conn.execute(query + " for update" if lock else query, {"file": file_id}).fetchall()
    return tuple((key_id, size, start) for key_id, size, start in rows)


def copy_leftover(folder: Path, leftover: Leftover) -> bool:
    """Give each blob that is left a file of its own. False where the shared file cannot be read: whoever reads a blob
    of it is told what is wrong."""
    try:
        with blob_path(folder, leftover.file_id).open("rb") as shared:
            for key_id, size, start in leftover.blobs:
                shared.seek(start)
                write_whole(blob_path(folder, key_id), shared.read(sealed_size(size)))
    except OSError:
        return False
    sync_folders(folder, [key_id for key_id, *_ in leftover.blobs])
    return True


def take_apart(conn: Connection, leftover: Leftover) -> bool:
    """Its blobs lie in files of their own now, and the shared file is litter. False if it has changed meanwhile."""
    require_transaction(conn)
    if _list_filed(conn, leftover.file_id, lock=True) != leftover.blobs:
        return False
    conn.execute("update blob set file_id = null, start = 0 where file_id = %(file)s", {"file": leftover.file_id})
    conn.execute("delete from blob_file where file_id = %(file)s", {"file": leftover.file_id})
    _note_litter(conn, [leftover.file_id])
    return True


def list_unneeded(conn: Connection, digests: list[str] | None = None) -> list[str]:
    """Digests, of these or of all blobs, of those that nothing needs any more. A picture or an archive is needed until
    every sample of that content is finished, QUARANTINE_DAYS longer where one could not be opened, and longer where
    somebody was matched or held in it; a screenshot until its day, longer as long as a picture of a listing that it
    shows is needed, and never longer than the page it shows."""
    rows = conn.execute(
        sql.SQL("""
            select sha256 from blob
            where (%(digests)s::text[] is null or sha256 = any(%(digests)s::text[]))
              and not exists (
                select 1 from sample left join face using (sample_id)
                where sample.sha256 = blob.sha256 and {needed})
              and not exists (
                select 1 from blob_capture join capture on capture_id = shows left join key using (key_id)
                where blob_capture.sha256 = blob.sha256 and keep_until > now() and erased_at is null)
              and not exists (
                select 1 from blob_capture join capture on capture.capture_id = shows left join key using (key_id)
                join listing_version on listing_version.capture_id = shows join sample using (listing_id)
                left join face using (sample_id)
                where blob_capture.sha256 = blob.sha256 and erased_at is null
                  and (sample.state in ('ready', 'running') or face.state in ('ready', 'running')
                       or face.outcome in ('matched', 'held')))
            order by sha256 limit 10000""").format(needed=NEEDED),
        {"digests": digests, "days": QUARANTINE_DAYS},
    ).fetchall()
    return [sha256 for (sha256,) in rows]


def read_blob(conn: Connection, keys: Keys, folder: Path, sha256: str) -> bytes:
    """The plain content of a kept blob. Raises BlobError: blob_missing, blob_changed, blob_unreadable; KeyFileError;
    Unavailable: blobs_away."""
    (found,) = read_blobs(conn, keys, folder, [sha256], list_places(conn, [sha256]))
    if isinstance(found, BlobError) and found.case == "blob_missing":  # it may just have been moved
        (found,) = read_blobs(conn, keys, folder, [sha256], list_places(conn, [sha256]))
    if isinstance(found, bytes):
        return found
    raise found


def read_blobs(
    conn: Connection, keys: Keys, folder: Path, digests: Sequence[str], places: dict[str, Place]
) -> Iterator[bytes | BlobError | KeyFileError]:
    """The plain content of each blob, or why there is none, one after the other, so that few are in memory. Raises
    Unavailable: blobs_away."""
    with FileReader(folder) as reader:
        for sha256 in digests:
            place = places.get(sha256)
            try:
                if place is None:
                    raise BlobError("blob_missing", f"no blob {sha256[:16]}…: it was dropped")
                content = reader.read(place.file_id, unwrap(keys, place), place.size, place.start)
            except (BlobError, KeyFileError) as exc:
                if exc.case == "blob_missing" and place is not None:
                    check_folder(conn, folder)
                yield exc
            else:
                yield content


def list_litter(conn: Connection) -> list[UUID]:
    return [file_id for (file_id,) in conn.execute("select file_id from blob_litter limit 10000").fetchall()]


def drop_files(conn: Connection, folder: Path, file_ids: list[UUID]) -> None:
    """Unlink files in which every key is erased (after the commit that erased them), and forget that they were still
    there."""
    if file_ids:
        for file_id in file_ids:
            unlink_blob(folder, file_id)
        conn.execute("delete from blob_litter where file_id = any(%(ids)s)", {"ids": file_ids})
