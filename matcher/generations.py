"""Index files in generations: in come vectors and ids, out comes a folder that always holds one whole generation.

A generation is a FAISS file written beside the old one, synced, then named in a manifest (SHA-256, count, pack, last
id) that is swapped in by rename. A kill at any moment leaves the old generation in place. Anything that does not fit
its manifest is refused by name; the caller rebuilds it from rows, which are the truth.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from vault.errors import IndexFileError
from vault.files import write_whole
from vault.keys import Vectors, check_vectors

MANIFEST = "gallery.json"
FORMAT = 1

faiss.omp_set_num_threads(1)  # processes by cores; FAISS searches a single query on one thread anyway

Ids = npt.NDArray[np.int64]
Index = Any  # a faiss.Index; the library's types do not name the attributes of its subclasses


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """What a manifest says. `clock` is the gallery clock the rows were read at."""

    number: int
    file: str
    sha256: str
    count: int
    pack: str
    matrix_id: str
    dimension: int
    last_id: int
    clock: int


def make_index(dimension: int, ids: Ids, vectors: Vectors) -> Index:
    """An exact inner-product index in memory over (n,) ids and (n, d) f32 unit vectors. Raises VectorError."""
    index = faiss.IndexIDMap2(faiss.IndexFlatIP(dimension))
    if len(ids):
        check_vectors(vectors)
        index.add_with_ids(np.ascontiguousarray(vectors, np.float32), np.ascontiguousarray(ids, np.int64))
    return index


def save_generation(
    folder: Path,
    *,
    ids: Ids,
    vectors: Vectors,
    pack: str,
    matrix_id: str,
    dimension: int,
    clock: int,
    writer: int = 0,
    last_look: Callable[[], None] = lambda: None,
) -> Generation:
    """Write (n,) int64 ids and (n, d) f32 unit vectors as the next generation and make it the current one; older files
    are removed. Two that write at once have names of their own by their `writer` number; `last_look` is called before
    the new one becomes current, and nothing is left if it raises. Raises VectorError for vectors that may not be
    indexed."""
    folder.mkdir(parents=True, exist_ok=True)
    number = _highest_number(folder) + 1
    index = make_index(dimension, ids, vectors)
    name = f"gallery-{number:08d}-{writer}.faiss"
    data = faiss.serialize_index(index).tobytes()
    write_whole(folder / name, data)
    generation = Generation(
        number=number,
        file=name,
        sha256=hashlib.sha256(data).hexdigest(),
        count=len(ids),
        pack=pack,
        matrix_id=matrix_id,
        dimension=dimension,
        last_id=int(ids.max()) if len(ids) else 0,
        clock=clock,
    )
    try:
        write_whole(folder / MANIFEST, seal_table(asdict(generation)), last_look=last_look)
    except BaseException:
        (folder / name).unlink(missing_ok=True)
        raise
    drop_other_files(folder, generation)
    return generation


def mark_manifest(folder: Path) -> tuple[int, int]:
    """Something cheap that differs when another generation has become current; zeros where there is none."""
    try:
        status = (folder / MANIFEST).stat()
    except OSError:
        return 0, 0
    return status.st_ino, status.st_mtime_ns


def read_manifest(folder: Path) -> Generation | None:
    """The current generation, None where there is none yet. Raises IndexFileError: index_changed."""
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as exc:
        raise IndexFileError("index_changed", f"{MANIFEST} cannot be read: {exc}") from exc
    try:
        return Generation(**open_table(text))
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise IndexFileError("index_changed", f"{MANIFEST} has changed: {exc}") from exc


def open_generation(folder: Path, generation: Generation) -> tuple[Index, Ids]:
    """The generation's FAISS index, mapped read-only, and its ids; every byte was checked first.

    Raises IndexFileError: index_missing, index_changed.
    """
    path = folder / generation.file
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise IndexFileError("index_missing", f"{generation.file} cannot be read: {exc.strerror}") from exc
    if digest != generation.sha256:
        raise IndexFileError("index_changed", f"{generation.file} does not have the SHA-256 of its manifest")
    index: Index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
    ids = faiss.vector_to_array(index.id_map).astype(np.int64)
    if len(ids) != generation.count or index.d != generation.dimension:
        raise IndexFileError("index_changed", f"{generation.file} does not hold what its manifest says")
    return index, ids


def view_vectors(index: Index) -> Vectors:
    """The (n, d) f32 vectors of a generation's index as they lie in its file; valid as long as the index is held."""
    flat: Index = faiss.downcast_index(index.index)
    if not index.ntotal:
        return np.zeros((0, index.d), np.float32)
    view: Vectors = faiss.rev_swig_ptr(flat.get_xb(), index.ntotal * index.d).reshape(index.ntotal, index.d)
    return view


def drop_other_files(folder: Path, generation: Generation) -> None:
    """Remove older generations and what an interrupted save left: withdrawn vectors must not live on in files."""
    for path in folder.iterdir():
        if path.name not in (MANIFEST, generation.file):
            path.unlink(missing_ok=True)


def _highest_number(folder: Path) -> int:
    numbers = (path.stem.split("-")[1] for path in folder.glob("gallery-*.faiss"))
    return max((int(number) for number in numbers if number.isdigit()), default=0)


def seal_table(table: dict[str, Any]) -> bytes:
    """A manifest's text, with a check over what it says."""
    return json.dumps({**table, "format": FORMAT, "check": _check_of(table)}, indent=1).encode()


def open_table(text: str) -> dict[str, Any]:
    """What a manifest says. Raises ValueError, KeyError, TypeError, AttributeError where it is damaged."""
    table: dict[str, Any] = json.loads(text)
    check = table.pop("check")
    if table.pop("format") != FORMAT or check != _check_of(table):
        raise ValueError("its check does not fit")
    return table


def _check_of(table: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()
