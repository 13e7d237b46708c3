"""Unlinks files that no row names: what was left by a process that was killed, or by a disk that was full."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from vault.blobs import MARKER, unlink_blob
from vault.log import get_logger
from vault.store import Connection
from vault.store.orphans import YOUNG_SECONDS, list_orphan_blobs, list_orphan_bundles

PARTS = 256  # of the folder of blobs
PARTS_A_MINUTE = 16

log = get_logger(__name__)


def drop_orphan_files(conn: Connection, home: Path, minute: int) -> int:
    """Bundles, messages and a sixteenth of the blobs; how many files were unlinked."""
    dropped = drop_orphan_bundles(conn, home / "bundles") + drop_torn_files(home / "mail")
    for part in range(PARTS_A_MINUTE):
        folder = home / "blobs" / f"{(minute * PARTS_A_MINUTE + part) % PARTS:02x}"
        dropped += drop_torn_files(folder) + drop_orphan_blobs(conn, folder)
    if dropped:
        log.warning("files that no row names were removed", count=dropped)
    return dropped


def drop_orphan_blobs(conn: Connection, folder: Path) -> int:
    names = [UUID(path.name) for path in list_old(folder) if is_blob_name(path.name)]
    orphans = list_orphan_blobs(conn, names) if names else []
    for file_id in orphans:
        unlink_blob(folder.parent, file_id)
    return len(orphans)


def drop_orphan_bundles(conn: Connection, folder: Path) -> int:
    names = [f"{folder.name}/{path.name}" for path in list_old(folder)]
    orphans = list_orphan_bundles(conn, names) if names else []
    for name in orphans:
        (folder.parent / name).unlink(missing_ok=True)
    return len(orphans)


def drop_torn_files(folder: Path) -> int:
    """What a writer left that was killed before the file got its name."""
    torn = [path for path in list_old(folder) if path.name.endswith(".tmp")]
    for path in torn:
        path.unlink(missing_ok=True)
    return len(torn)


def list_old(folder: Path) -> Iterator[Path]:
    """Files that are older than YOUNG_SECONDS by the clock of their file system: ours may be wrong."""
    with contextlib.suppress(OSError):
        now = read_clock(folder)
        for entry in os.scandir(folder):
            if entry.is_file(follow_symlinks=False) and now - entry.stat().st_mtime > YOUNG_SECONDS:
                yield Path(entry.path)


def read_clock(folder: Path) -> float:
    """The time of a folder's file system, in seconds since the epoch. Raises OSError."""
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime


def is_blob_name(name: str) -> bool:
    return len(name) == 32 and name != MARKER and all(letter in "0123456789abcdef" for letter in name)
