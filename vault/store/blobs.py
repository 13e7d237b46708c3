"""Rows of `blob` and `blob_litter`: which encrypted files are kept, found by the SHA-256 of what is inside."""

from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from vault.blobs import BlobReader, unlink_blob
from vault.errors import BlobError
from vault.keys import Keys
from vault.store import Connection
from vault.store.keys import erase_keys, get_data_key, save_keys


def keep_blob(conn: Connection, keys: Keys, sha256: str, size: int, key_id: UUID, data_key: bytes) -> bool:
    """Register a sealed blob, unless the same content is known already (then False: the caller unlinks its file).

    Either way the row stays locked against removal until the caller's transaction ends.
    """
    return keep_blobs(conn, keys, [(sha256, size, key_id, data_key)]) == {key_id}


def keep_blobs(conn: Connection, keys: Keys, blobs: Sequence[tuple[str, int, UUID, bytes]]) -> set[UUID]:
    """The same for many, (sha256, size, key_id, data_key) each; returns the keys of those that were new. Rows are taken
    in the order of their digests, as everybody takes them, so that nobody deadlocks."""
    kept: set[UUID] = set()
    waiting = sorted(blobs)
    while waiting:
        save_keys(conn, keys, [(key_id, data_key) for _, _, key_id, data_key in waiting], "blob")
        added = conn.execute(
            """insert into blob (sha256, key_id, size)
               select sha256, key_id, size
               from unnest(%(sha256)s::text[], %(keys)s::uuid[], %(sizes)s::bigint[]) as new (sha256, key_id, size)
               order by sha256
               on conflict (sha256) do nothing returning key_id""",
            {
                "sha256": [sha256 for sha256, *_ in waiting],
                "keys": [key_id for _, _, key_id, _ in waiting],
                "sizes": [size for _, size, *_ in waiting],
            },
        ).fetchall()
        new = {key_id for (key_id,) in added}
        kept |= new
        waiting = [blob for blob in waiting if blob[2] not in new]
        if waiting:
            conn.execute(
                "delete from key where key_id = any(%(ids)s)", {"ids": [key_id for _, _, key_id, _ in waiting]}
            )
            known = conn.execute(
                "select sha256 from blob where sha256 = any(%(digests)s) order by sha256 for key share",
                {"digests": [sha256 for sha256, *_ in waiting]},
            ).fetchall()
            waiting = [blob for blob in waiting if (blob[0],) not in set(known)]  # it was just removed: once more
    return kept


def get_blob(conn: Connection, sha256: str) -> tuple[UUID, int]:
    """(key_id, size) of a blob. Raises BlobError: blob_missing."""
    row = conn.execute("select key_id, size from blob where sha256 = %(sha256)s", {"sha256": sha256}).fetchone()
    if row is None:
        raise BlobError("blob_missing", f"no blob {sha256[:16]}…: it was dropped")
    return row[0], row[1]


def release_blobs(conn: Connection, digests: list[str]) -> list[UUID]:
    """Erase those of the blobs that nothing needs any more. Returns the keys whose files are to be unlinked after the
    commit.

    The rows are locked first and judged in a second statement, so a sample that has just come in is seen. A row that
    somebody else holds is passed over, so nobody waits here; `list_unneeded` finds it again.
    """
    free = conn.execute(
        "select sha256 from blob where sha256 = any(%(digests)s) order by sha256 for update skip locked",
        {"digests": digests},
    ).fetchall()
    unneeded = list_unneeded(conn, [sha256 for (sha256,) in free])
    rows = conn.execute(
        "delete from blob where sha256 = any(%(digests)s) returning key_id", {"digests": unneeded}
    ).fetchall()
    return _erase(conn, [key_id for (key_id,) in rows])


def erase_blob(conn: Connection, sha256: str) -> list[UUID]:
    """Erase a blob whoever needs it: what is in it may not be kept. Returns the keys whose files are to be unlinked
    after the commit."""
    rows = conn.execute("delete from blob where sha256 = %(sha256)s returning key_id", {"sha256": sha256}).fetchall()
    return _erase(conn, [key_id for (key_id,) in rows])


def _erase(conn: Connection, key_ids: list[UUID]) -> list[UUID]:
    if key_ids:
        erase_keys(conn, key_ids)
        conn.execute(
            "insert into blob_litter (key_id) select unnest(%(ids)s::uuid[]) on conflict do nothing", {"ids": key_ids}
        )
    return key_ids


def list_unneeded(conn: Connection, digests: list[str] | None = None) -> list[str]:
    """Digests, of these or of all blobs, of those that nothing needs any more. A picture or an archive is needed until
    every sample of that content is finished, longer where somebody was matched or held in it; a screenshot until its
    day, longer as long as a picture of a listing that it shows is needed."""
    rows = conn.execute(
        """select sha256 from blob
           where (%(digests)s::text[] is null or sha256 = any(%(digests)s))
             and not exists (
               select 1 from sample left join face using (sample_id)
               where sample.sha256 = blob.sha256
                 and (sample.state in ('ready', 'running') or face.state in ('ready', 'running')
                      or face.outcome in ('matched', 'held')))
             and not exists (
               select 1 from blob_capture where blob_capture.sha256 = blob.sha256 and keep_until > now())
             and not exists (
               select 1 from blob_capture join listing_version on capture_id = shows join sample using (listing_id)
               left join face using (sample_id)
               where blob_capture.sha256 = blob.sha256
                 and (sample.state in ('ready', 'running') or face.state in ('ready', 'running')
                      or face.outcome in ('matched', 'held')))
           order by sha256 limit 10000""",
        {"digests": digests},
    ).fetchall()
    return [sha256 for (sha256,) in rows]


def read_blob(conn: Connection, keys: Keys, folder: Path, sha256: str) -> bytes:
    """The plain content of a kept blob. Raises BlobError: blob_missing, blob_changed; KeyFileError."""
    key_id, size = get_blob(conn, sha256)
    with BlobReader(folder, key_id, get_data_key(conn, keys, key_id), size) as blob:
        return blob.read_all()


def list_litter(conn: Connection) -> list[UUID]:
    return [key_id for (key_id,) in conn.execute("select key_id from blob_litter limit 10000").fetchall()]


def drop_files(conn: Connection, folder: Path, key_ids: list[UUID]) -> None:
    """Unlink files whose key is erased (after the commit that erased it) and forget that they were still there."""
    for key_id in key_ids:
        unlink_blob(folder, key_id)
    conn.execute("delete from blob_litter where key_id = any(%(ids)s)", {"ids": key_ids})
