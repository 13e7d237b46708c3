"""Files and keys that no row names: what a process left that was killed between a file and its row.

In come names from a folder, out come those that no row names. A file that was written a moment ago may get its row
yet, so callers pass over those that are younger than YOUNG_SECONDS by the clock of the file system.
"""

from collections.abc import Sequence
from uuid import UUID

from vault.store import Connection, require_transaction

YOUNG_SECONDS = 3600.0


def list_orphan_blobs(conn: Connection, file_ids: Sequence[UUID]) -> list[UUID]:
    """Those of the files of blobs that hold no blob, and are not known as litter."""
    rows = conn.execute(
        """select name from unnest(%(ids)s::uuid[]) as each (name)
           where not exists (select from blob where key_id = name and file_id is null)
             and not exists (select from blob_file where blob_file.file_id = name)
             and not exists (select from blob_litter where blob_litter.file_id = name)""",
        {"ids": list(file_ids)},
    ).fetchall()
    return [name for (name,) in rows]


def list_orphan_bundles(conn: Connection, files: Sequence[str]) -> list[str]:
    """Those of the files of bundles (names relative to the state folder) that no bundle has."""
    rows = conn.execute(
        """select name from unnest(%(files)s::text[]) as each (name)
           where not exists (select from bundle where file = name)""",
        {"files": list(files)},
    ).fetchall()
    return [name for (name,) in rows]


def erase_orphan_keys(conn: Connection) -> int:
    """Keys of blobs that are not kept; how many."""
    require_transaction(conn)
    return conn.execute(
        """update key set wrapped = null, erased_at = now()
           where kind = 'blob' and wrapped is not null and created_at < now() - make_interval(secs => %(young)s)
             and not exists (select from blob where blob.key_id = key.key_id)""",
        {"young": YOUNG_SECONDS},
    ).rowcount
