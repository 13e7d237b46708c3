"""Segment files: in come keyed vectors of harvested faces, out comes an immutable part of the index, mapped read-only.

A segment is one file: (n, d) f32 vectors, (n, d) 8-bit codes, (n,) int64 ids, each beginning on a page, and a manifest
beside it (SHA-256, count, pack, key). Codes and ids are what a search reads; of the vectors only the rows that may be
hits. Both are mapped, so that all processes of a machine share them. Every byte is checked against the manifest when a
process first opens a file, and again if the file becomes another one (inode, size, time): not at every search.
"""

import hashlib
import mmap
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from matcher.codes import Codes, encode
from matcher.generations import Ids, open_table, seal_table
from matcher.search import Hits, search
from vault.errors import IndexFileError, VectorError
from vault.files import hold_file, write_parts, write_whole
from vault.keys import Vectors, check_vectors

MOST_FACES = 1_000_000  # of a segment
PAGE = 65536  # where parts of the file begin: a multiple of every system's page
WRITE_BYTES = 1 << 24
LOCK_FILE = ".lock"
SHARE_ROWS = 250_000  # what one thread takes at a time where there are few segments
MANY = 4  # segments a thread are enough to share them whole, which costs less


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What a segment's manifest says. `limit`, `error`, `reach`: see `Codes`."""

    segment_id: int
    sha256: str
    size: int
    count: int
    pack: str
    matrix_id: str
    dimension: int
    limit: float
    error: float
    reach: float

    def offsets(self) -> tuple[int, int, int, int]:
        """Where vectors, codes and ids begin, and where the file ends."""
        codes = round_up(4 * self.count * self.dimension)
        ids = codes + round_up(self.count * self.dimension)
        return 0, codes, ids, ids + 8 * self.count


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """An open segment: ids ascending, rows of `vectors` and `codes` in their order, all views of the mapped file."""

    manifest: Manifest
    ids: Ids
    vectors: Vectors
    codes: Codes

    def __len__(self) -> int:
        return self.manifest.count


def writing(folder: Path) -> AbstractContextManager[None]:
    """Be the one writer of a folder, whatever other processes do; readers never wait."""
    return hold_file(folder / LOCK_FILE)


def make_scratch(folder: Path, count: int, dimension: int) -> Vectors:
    """(count, dimension) f32 zeros in a file without a name: a segment's vectors need not be private memory."""
    if not count:
        return np.zeros((0, dimension), np.float32)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.truncate(4 * count * dimension)
        return np.frombuffer(mmap.mmap(file.fileno(), 4 * count * dimension), np.float32).reshape(count, dimension)


def round_up(size: int) -> int:
    return -(-size // PAGE) * PAGE


def name_file(segment_id: int) -> str:
    return f"segment-{segment_id:08d}.faces"


def name_manifest(segment_id: int) -> str:
    return f"segment-{segment_id:08d}.json"


def check_faces(ids: Ids, vectors: Vectors, dimension: int) -> None:
    """Refuse what may not be indexed. Raises VectorError."""
    if vectors.shape != (len(ids), dimension):
        raise VectorError("vector_wrong_length", f"expected {(len(ids), dimension)}, got {vectors.shape}")
    if len(ids) > MOST_FACES:
        raise VectorError("vector_wrong_length", f"{len(ids)} faces, a segment holds {MOST_FACES}")
    if (np.diff(ids) <= 0).any():
        raise VectorError("vector_wrong_length", "ids must ascend")
    for start in range(0, len(vectors), 65536):
        check_vectors(vectors[start : start + 65536])


def save_segment(
    folder: Path, *, segment_id: int, ids: Ids, vectors: Vectors, pack: str, matrix_id: str, dimension: int
) -> Manifest:
    """Write (n,) ascending ids and (n, d) f32 unit vectors as a segment. First the file, then its manifest: a kill at
    any moment leaves a whole segment or none. Raises VectorError for what may not be indexed; nothing is written then.
    """
    check_faces(ids, vectors, dimension)
    codes = encode(vectors)
    draft = Manifest(
        segment_id=segment_id, sha256="", size=0, count=len(ids), pack=pack, matrix_id=matrix_id, dimension=dimension,
        limit=codes.limit, error=codes.error, reach=codes.reach,
    )  # fmt: skip
    drop_segment(folder, segment_id)  # a manifest must never stand beside another file than its own
    parts = (np.ascontiguousarray(vectors, "<f4"), codes.values, np.ascontiguousarray(ids, "<i8"))
    digest = write_parts(folder / name_file(segment_id), lay_out(parts, draft.offsets()))
    manifest = Manifest(**{**asdict(draft), "sha256": digest, "size": draft.offsets()[-1]})
    write_whole(folder / name_manifest(segment_id), seal_table(asdict(manifest)))
    return manifest


def lay_out(parts: Sequence[np.ndarray], offsets: tuple[int, ...]) -> Iterator[memoryview | bytes]:
    """The file's bytes: each part, then zeros up to where the next one begins."""
    for part, begin, end in zip(parts, offsets[:-1], offsets[1:], strict=True):
        data = memoryview(part.reshape(-1).view(np.uint8).data)
        for at in range(0, len(data), WRITE_BYTES):
            yield data[at : at + WRITE_BYTES]
        yield bytes(end - begin - len(data))


def drop_segment(folder: Path, segment_id: int) -> None:
    """Remove a segment's files; whoever has it open goes on with what is mapped."""
    (folder / name_manifest(segment_id)).unlink(missing_ok=True)
    (folder / name_file(segment_id)).unlink(missing_ok=True)


def drop_other_segments(folder: Path, segment_ids: set[int]) -> int:
    """Remove everything but these segments, so that no face outlives its row in a file; returns how many files."""
    kept = {name(each) for each in segment_ids for name in (name_file, name_manifest)}
    dropped = 0
    for path in folder.glob("*segment-*") if folder.is_dir() else ():
        if path.name not in kept:
            path.unlink(missing_ok=True)
            dropped += 1
    return dropped


class Segments:
    """The segments of one folder that this process has open. Not for several threads, but what it gives is."""

    def __init__(self, folder: Path, *, pack: str, matrix_id: str, dimension: int) -> None:
        self._folder, self._pack, self._matrix_id, self._dimension = folder, pack, matrix_id, dimension
        self._open: dict[int, tuple[tuple[int, ...], Segment]] = {}

    @property
    def folder(self) -> Path:
        return self._folder

    @property
    def kind(self) -> tuple[str, str, int]:
        """Pack, key and dimension of all of them."""
        return self._pack, self._matrix_id, self._dimension

    def open(self, segment_id: int) -> Segment:
        """The segment, checked to the last byte. Raises IndexFileError: index_missing, index_changed,
        index_other_pack; the caller builds it from rows."""
        mark = mark_files(self._folder, segment_id)
        known = self._open.get(segment_id)
        if known is not None and known[0] == mark:
            return known[1]
        self._open.pop(segment_id, None)
        segment = open_segment(self._folder, segment_id)
        found = (segment.manifest.pack, segment.manifest.matrix_id, segment.manifest.dimension)
        if found != self.kind:
            raise IndexFileError("index_other_pack", f"{name_file(segment_id)} is of another pack or key")
        self._open[segment_id] = (mark, segment)
        return segment

    def forget_others(self, segment_ids: set[int]) -> None:
        """Let go of segments that are not there any more, so that their files leave the disk."""
        for segment_id in self._open.keys() - segment_ids:
            del self._open[segment_id]


def mark_files(folder: Path, segment_id: int) -> tuple[int, ...]:
    """What tells one pair of files from another. Raises IndexFileError: index_missing."""
    marks: list[int] = []
    for name in (name_file(segment_id), name_manifest(segment_id)):
        try:
            status = (folder / name).stat()
        except OSError as exc:
            raise IndexFileError("index_missing", f"{name} cannot be read: {exc.strerror}") from exc
        marks += [status.st_ino, status.st_size, status.st_mtime_ns]
    return tuple(marks)


def read_segment_manifest(folder: Path, segment_id: int) -> Manifest:
    """Raises IndexFileError: index_missing, index_changed."""
    name = name_manifest(segment_id)
    try:
        manifest = Manifest(**open_table((folder / name).read_text(encoding="utf-8")))
    except FileNotFoundError as exc:
        raise IndexFileError("index_missing", f"{name} is missing") from exc
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise IndexFileError("index_changed", f"{name} has changed: {exc}") from exc
    if manifest.segment_id != segment_id:
        raise IndexFileError("index_changed", f"{name} is that of segment {manifest.segment_id}")
    return manifest


def open_segment(folder: Path, segment_id: int) -> Segment:
    """Check a segment's every byte and map it. Raises IndexFileError: index_missing, index_changed."""
    manifest = read_segment_manifest(folder, segment_id)
    name = name_file(segment_id)
    try:
        with (folder / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != manifest.sha256:
                raise IndexFileError("index_changed", f"{name} does not have the SHA-256 of its manifest")
            return map_segment(file.fileno(), manifest)
    except OSError as exc:
        raise IndexFileError("index_missing", f"{name} cannot be read: {exc.strerror}") from exc


def map_segment(handle: int, manifest: Manifest) -> Segment:
    """The parts of an open file, each mapped on its own."""
    n, d = manifest.count, manifest.dimension
    begin = manifest.offsets()

    def map_part(offset: int, count: int, kind: str, advice: str) -> np.ndarray:
        if not count:
            return np.zeros(0, kind)
        size = count * np.dtype(kind).itemsize
        mapped = mmap.mmap(handle, size, prot=mmap.PROT_READ, offset=offset)
        if hasattr(mmap, advice):
            mapped.madvise(getattr(mmap, advice))
        return np.frombuffer(mapped, kind)

    values = map_part(begin[1], n * d, "u1", "MADV_SEQUENTIAL").reshape(n, d)
    return Segment(
        manifest=manifest,
        ids=map_part(begin[2], n, "<i8", "MADV_RANDOM"),
        vectors=map_part(begin[0], n * d, "<f4", "MADV_RANDOM").reshape(n, d),
        codes=Codes(values=values, limit=manifest.limit, error=manifest.error, reach=manifest.reach),
    )


@lru_cache(maxsize=4)
def make_pool(threads: int) -> ThreadPoolExecutor:
    """Kept for the next search: a new thread shares its maker's core for longer than a search takes."""
    return ThreadPoolExecutor(threads)


def search_segments(
    segments: Sequence[Segment], probes: Vectors, cut: float, *, threads: int = 1
) -> list[tuple[Segment, Hits]]:
    """Each segment with what `search` finds in it for (m, d) keyed unit probes; the product, the scan and the scoring
    let go of Python's lock, so threads share the segments' rows. Raises VectorError."""
    check_vectors(probes)
    rows = MOST_FACES if len(segments) >= MANY * threads else SHARE_ROWS
    shares = [
        (segment, start, min(start + rows, len(segment)))
        for segment in segments
        for start in range(0, len(segment), rows)
    ]

    def search_share(share: tuple[Segment, int, int]) -> Hits:
        segment, start, stop = share
        hits = search(segment.codes.cut_rows(start, stop), segment.vectors[start:stop], probes, cut)
        return Hits(probe=hits.probe, row=hits.row + start, score=hits.score)

    if threads > 1 and len(shares) > 1:
        found = list(make_pool(threads).map(search_share, shares))
    else:
        found = [search_share(share) for share in shares]
    return [(share[0], hits) for share, hits in zip(shares, found, strict=True) if len(hits)]
