"""Files that are whole or not there: temporary file, fsync, rename, fsync of the folder."""

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path


def write_whole(path: Path, data: bytes | Iterable[bytes], *, last_look: Callable[[], None] = lambda: None) -> None:
    """Write `data`, whole or in parts, to `path` (mode 0600) so that no reader and no crash ever sees a part of it.
    `last_look` is called when all is on disk and only the name is wanting; if it raises, nothing is left. Raises
    OSError."""
    write_parts(path, [data] if isinstance(data, bytes) else data, last_look=last_look)


def write_parts(
    path: Path, parts: Iterable[bytes | memoryview], *, last_look: Callable[[], None] = lambda: None
) -> str:
    """`write_whole` for what is too large to be joined in memory; returns the SHA-256 of it all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    digest = hashlib.sha256()
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            for part in parts:
                file.write(part)
                digest.update(part)
            file.flush()
            os.fsync(file.fileno())
        last_look()
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)
    return digest.hexdigest()


def read_small(path: Path, most: int) -> bytes:
    """All of a regular file of at most `most` bytes. Raises OSError, with EFBIG for a larger one; a pipe or a device,
    which might never end, is none."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "no regular file")
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"larger than {most >> 10} KiB")
    return data


@contextlib.contextmanager
def hold_file(path: Path, patience: float = 30.0) -> Iterator[None]:
    """Be the one process of this machine that holds this file, for as long as the block lasts; a holder that is stopped
    is waited for so many seconds and then passed over, so the block must bear not to be alone. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    deadline = time.monotonic() + patience
    with path.open("a") as file:
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        yield


def sync_filesystem(folder: Path) -> bool:
    """Make everything written to the file system of this folder durable, names included: one call for many files. False
    where the system has none (syncfs(2): Linux; it says that a write failed from 5.8 on), or it failed; the caller then
    syncs file by file."""
    sync = getattr(ctypes.CDLL(None), "syncfs", None)
    if sync is None:
        return False
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return bool(sync(handle) == 0)
    finally:
        os.close(handle)


def sync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
