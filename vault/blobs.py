"""Encrypted files on disk, one key each: in comes bytes or a stream, out comes a file that only its key opens.

Format 1: `FWB1`, then chunks of CHUNK bytes, each AES-256-GCM under the blob's own key with the chunk number as nonce
and "is it the last" as associated data, so that a cut, a swap or a repeat is noticed (the STREAM construction: Hoang,
Reyhanitabar, Rogaway, Vizar 2015). A key encrypts one blob only, which makes the counter nonce safe. Chunks can be
read in any order, so an archive is opened without its plain bytes ever lying on disk.

A blob is found by the SHA-256 of its content (`blob` table); `vault/store/blobs.py` has the rows. It lies in a file of
its own, named by its key, or with others in one that they share: many small blobs one after the other, each under its
own key, synced once. A shared file goes with the last of them; until then, what was erased in it is bytes without a
key.
"""

import errno
import hashlib
import os
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import UUID, uuid4

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vault.errors import BlobError, Unavailable
from vault.files import sync_file, sync_filesystem, sync_folder, write_whole
from vault.keys import make_data_key

MAGIC = b"FWB1"
CHUNK = 256 * 1024
TAG = 16
MANY = 32  # files from which on one sync of all costs less than one of each (0.07 s against 1.8 ms, ext4)
LAST, MORE = b"last", b"more"
MARKER = "which-blobs"  # the file that says which folder of blobs this is


def blob_path(folder: Path, file_id: UUID) -> Path:
    return folder / file_id.hex[:2] / file_id.hex


class Unfinished:
    """A file of blobs that is written under another name until it is whole. Use as a context manager: without
    `_finish` it is removed."""

    def __init__(self, folder: Path, file_id: UUID) -> None:
        self._path = blob_path(folder, file_id)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = self._path.with_name(f"{self._path.name}.{secrets.token_hex(4)}.tmp")
        self._file = self._temporary.open("xb")
        self._sealed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._file.close()
        if not self._sealed:
            self._temporary.unlink(missing_ok=True)

    def _finish(self, *, sync: bool) -> None:
        self._file.flush()
        if sync:
            os.fsync(self._file.fileno())
        self._temporary.rename(self._path)
        self._sealed = True


class BlobWriter(Unfinished):
    """Encrypts a stream into a new blob. `seal` makes it durable, otherwise it is removed.

    After `seal`: `sha256` and `size` of the content, `key_id`, and `data_key` for the `key` row.
    """

    def __init__(self, folder: Path) -> None:
        self.key_id = uuid4()
        self.data_key = make_data_key()
        self.size = 0
        super().__init__(folder, self.key_id)
        self._hash = hashlib.sha256()
        self._cipher = AESGCM(self.data_key)
        self._pending = b""
        self._number = 0
        self._file.write(MAGIC)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def write(self, data: bytes) -> None:
        self._hash.update(data)
        self.size += len(data)
        self._pending += data
        while len(self._pending) > CHUNK:  # the last chunk stays pending: only `seal` knows that it is the last
            self._write_chunk(self._pending[:CHUNK], MORE)
            self._pending = self._pending[CHUNK:]

    def seal(self, *, sync: bool = True) -> None:
        """Write the last chunk, sync, and rename into place. The caller syncs the folder with `sync_folders`; one that
        did not have this synced calls `sync_blobs` instead, once a batch."""
        self._write_chunk(self._pending, LAST)
        self._finish(sync=sync)

    def _write_chunk(self, plain: bytes, mark: bytes) -> None:
        self._file.write(self._cipher.encrypt(self._number.to_bytes(12, "big"), plain, mark))
        self._number += 1


@dataclass(frozen=True, kw_only=True, slots=True)
class FiledBlob:
    """One blob of a shared file: where it begins, and what a BlobWriter would say of it."""

    sha256: str
    size: int
    key_id: UUID
    data_key: bytes
    file_id: UUID
    start: int


class FileWriter(Unfinished):
    """Many small blobs into one file; without `seal` it is removed."""

    def __init__(self, folder: Path) -> None:
        self.file_id = uuid4()
        super().__init__(folder, self.file_id)
        self._folder = folder
        self._at = 0

    def add(self, content: bytes) -> FiledBlob:
        """Encrypt one blob under a key of its own."""
        key_id, data_key = uuid4(), make_data_key()
        written = self._file.write(seal_bytes(data_key, content))
        filed = FiledBlob(
            sha256=hashlib.sha256(content).hexdigest(),
            size=len(content),
            key_id=key_id,
            data_key=data_key,
            file_id=self.file_id,
            start=self._at,
        )
        self._at += written
        return filed

    def seal(self) -> None:
        """Make the file and its name durable."""
        self._finish(sync=True)
        sync_folders(self._folder, [self.file_id])


def seal_bytes(data_key: bytes, content: bytes) -> bytes:
    """A whole blob in memory, in format 1."""
    cipher, count = AESGCM(data_key), max(1, -(-len(content) // CHUNK))
    chunks = (
        cipher.encrypt(
            number.to_bytes(12, "big"),
            content[number * CHUNK : (number + 1) * CHUNK],
            LAST if number == count - 1 else MORE,
        )
        for number in range(count)
    )
    return MAGIC + b"".join(chunks)


def open_bytes(data_key: bytes, sealed: bytes) -> bytes:
    """What `seal_bytes` made. Raises BlobError: blob_changed, for another key or other bytes."""
    if sealed[: len(MAGIC)] != MAGIC:
        raise BlobError("blob_changed", "these are no sealed bytes")
    cipher, step = AESGCM(data_key), CHUNK + TAG
    starts = range(len(MAGIC), max(len(sealed), len(MAGIC) + 1), step)
    try:
        return b"".join(
            cipher.decrypt(
                number.to_bytes(12, "big"), sealed[start : start + step], LAST if start == starts[-1] else MORE
            )
            for number, start in enumerate(starts)
        )
    except (InvalidTag, ValueError) as exc:
        raise BlobError("blob_changed", "sealed bytes do not open: changed, cut, or another key") from exc


def sealed_size(size: int) -> int:
    """Bytes that a blob of `size` bytes takes in a file."""
    return len(MAGIC) + size + TAG * max(1, -(-size // CHUNK))


class BlobReader:
    """Reads a blob at any offset: the one that begins at `start` of a file, which is named by the blob's key or
    shared. Raises BlobError: blob_missing, blob_changed, blob_unreadable; Unavailable: blobs_away."""

    def __init__(self, folder: Path, file_id: UUID, data_key: bytes, size: int, start: int = 0) -> None:
        self.size = size
        self._file_id = file_id
        self._start = start
        self._cipher = AESGCM(data_key)
        self._count = max(1, -(-size // CHUNK))
        self._cached: tuple[int, bytes] | None = None
        try:
            self._file = blob_path(folder, file_id).open("rb")
            self._file.seek(start)
            begins = self._file.read(len(MAGIC)) == MAGIC
        except OSError as exc:
            raise name_problem(exc, file_id) from exc
        if not begins:
            self._file.close()
            raise BlobError("blob_changed", f"no blob begins at {start} of {file_id}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._file.close()

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`, fewer only at the end."""
        end = min(offset + length, self.size)
        if offset < 0 or end <= offset:
            return b""
        first, last = offset // CHUNK, (end - 1) // CHUNK
        joined = b"".join(self._read_chunk(number) for number in range(first, last + 1))
        return joined[offset - first * CHUNK : end - first * CHUNK]

    def read_all(self) -> bytes:
        return b"".join(self._read_chunk(number) for number in range(self._count))

    def _read_chunk(self, number: int) -> bytes:
        if self._cached and self._cached[0] == number:
            return self._cached[1]
        mark = LAST if number == self._count - 1 else MORE
        length = min(CHUNK, self.size - number * CHUNK) + TAG
        try:
            self._file.seek(self._start + len(MAGIC) + number * (CHUNK + TAG))
            sealed = self._file.read(length)
        except OSError as exc:
            raise name_problem(exc, self._file_id) from exc
        try:
            plain = self._cipher.decrypt(number.to_bytes(12, "big"), sealed, mark)
        except (InvalidTag, ValueError) as exc:
            raise BlobError("blob_changed", f"chunk {number} of a blob does not open: changed or cut") from exc
        self._cached = (number, plain)
        return plain


class FileReader:
    """Reads whole small blobs one after the other; a file is opened once as long as its blobs follow each other. Use as
    a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: tuple[UUID, int] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if self._open is not None:
            os.close(self._open[1])
            self._open = None

    def read(self, file_id: UUID, data_key: bytes, size: int, start: int) -> bytes:
        """The plain content. Raises BlobError: blob_missing, blob_changed, blob_unreadable; Unavailable: blobs_away."""
        if self._open is None or self._open[0] != file_id:
            self.__exit__(None, None, None)
            try:
                self._open = file_id, os.open(blob_path(self._folder, file_id), os.O_RDONLY)
            except OSError as exc:
                raise name_problem(exc, file_id) from exc
        if size > CHUNK:
            with BlobReader(self._folder, file_id, data_key, size, start) as blob:
                return blob.read_all()
        try:
            sealed = os.pread(self._open[1], sealed_size(size), start)
        except OSError as exc:
            raise name_problem(exc, file_id) from exc
        try:
            if sealed[: len(MAGIC)] != MAGIC:
                raise ValueError("no blob begins here")
            return AESGCM(data_key).decrypt(bytes(12), sealed[len(MAGIC) :], LAST)
        except (InvalidTag, ValueError) as exc:
            raise BlobError("blob_changed", f"the blob at {start} of {file_id} does not open: changed or cut") from exc


def name_problem(exc: OSError, file_id: UUID) -> BlobError | Unavailable:
    """What an error of the system says. A file that is not there is missing if the folder is the right one, which the
    caller finds out; a disk that fails at a file may fail at this one alone; all else (no descriptor left, a stale
    handle, no right, a server that is gone) says nothing of the file."""
    text = f"blob file {file_id} cannot be read: {exc.strerror}"
    if exc.errno in (errno.ENOENT, errno.ENOTDIR):
        return BlobError("blob_missing", text)
    if exc.errno == errno.EIO:
        return BlobError("blob_unreadable", text)
    return Unavailable("blobs_away", text, mend="is the folder of blobs mounted, and may it be read?")


# -- which folder it is -----------------------------------------------------------------------------------------------


def write_marker(folder: Path, blobs_id: UUID) -> UUID:
    """Say in the folder which one it is; one that says so already is left as it is. Returns what it says. Raises
    OSError, Unavailable."""
    path = folder / MARKER
    if not path.exists():
        write_whole(path, f"{blobs_id}\n".encode())
    return read_marker(folder)


def read_marker(folder: Path) -> UUID:
    """Which folder of blobs this is. Raises Unavailable: blobs_away."""
    try:
        return UUID((folder / MARKER).read_text(encoding="ascii").strip())
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it does not say which folder it is"
        raise Unavailable(
            "blobs_away",
            f"{folder / MARKER} cannot be read: {reason}",
            mend="is the folder of blobs mounted, and is it the right one?",
        ) from exc


def sync_folders(folder: Path, key_ids: Iterable[UUID]) -> None:
    """Make the names of sealed blobs durable; once a batch, before the rows are committed."""
    for parent in {blob_path(folder, key_id).parent for key_id in key_ids} | {folder}:
        sync_folder(parent)


def sync_blobs(folder: Path, key_ids: Sequence[UUID]) -> None:
    """Make sealed blobs and their names durable, before the rows are committed."""
    if len(key_ids) >= MANY and sync_filesystem(folder):
        return
    for key_id in key_ids:
        sync_file(blob_path(folder, key_id))
    sync_folders(folder, key_ids)


def unlink_blob(folder: Path, file_id: UUID) -> None:
    blob_path(folder, file_id).unlink(missing_ok=True)
