"""A pack's zip, as an operator got it from somewhere: in comes a path, out come its models' bytes or a ModelError.

Nothing is believed that the zip says of itself: directory, entries, sizes and ratio are bounded, names are only read.
"""

import contextlib
import io
import os
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from vault.archives.rules import note_name
from vault.archives.zips import Directory
from vault.errors import ModelError
from vault.refusals import Refused

PIECE = 1 << 20
MOST_ENTRIES, DIRECTORY_BYTES = 1000, 1 << 20  # a published pack has five models
MOST_MODELS = 20
MOST_MODEL_BYTES, MOST_BYTES = 1 << 30, 2 << 30
MOST_RATIO = 20  # weights hardly shrink
ENCRYPTED = 0x41  # general purpose bits: a password, PKWARE's strong encryption
AS_PUBLISHED = "use the zip as insightface publishes it"


@contextlib.contextmanager
def open_package(archive: Path) -> Iterator["Package"]:
    """Raises ModelError: model_missing, model_archive."""
    try:
        raw = io.FileIO(archive, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))
    except OSError as exc:
        raise ModelError("model_missing", f"cannot read {archive}: {exc.strerror}", mend="give a zip file") from exc
    with contextlib.closing(raw):
        directory = Directory(raw, PIECE)
        directory.most = DIRECTORY_BYTES
        with translate(archive):
            package = zipfile.ZipFile(directory)
        yield Package(archive, package)


class Package:
    """An open zip."""

    def __init__(self, path: Path, package: zipfile.ZipFile) -> None:
        self._path, self._package = path, package

    def list_models(self) -> list[zipfile.ZipInfo]:
        """Its .onnx entries. Raises ModelError: model_archive."""
        entries = self._package.infolist()
        names = Counter(entry.filename for entry in entries)
        models = [entry for entry in entries if entry.filename.endswith(".onnx")]
        total = sum(entry.file_size for entry in models)
        for wrong, what in (
            (len(entries) > MOST_ENTRIES, f"has more than {MOST_ENTRIES} entries"),
            (len(models) > MOST_MODELS, f"has more than {MOST_MODELS} models"),
            (any(number > 1 for number in names.values()), "has two entries of one name"),
            (any(map(note_name, names)), "has a name that points outside of it"),
            (any(entry.flag_bits & ENCRYPTED for entry in entries), "asks for a password"),
            (any(entry.file_size > MOST_MODEL_BYTES for entry in models), "has a model of more than 1 GB"),
            (total > MOST_BYTES, "unpacks to more than 2 GB"),
            (
                total > MOST_RATIO * max(1, self._path.stat().st_size),
                f"unpacks to more than {MOST_RATIO} times its size",
            ),
        ):
            if wrong:
                raise refuse(self._path, what)
        return models

    def read(self, entry: zipfile.ZipInfo) -> Iterator[bytes]:
        """A model's bytes in pieces; never more than the directory says. Raises ModelError: model_archive."""
        with translate(self._path), self._package.open(entry) as file:
            left = entry.file_size
            while left and (piece := file.read(min(PIECE, left))):
                left -= len(piece)
                yield piece


@contextlib.contextmanager
def translate(path: Path) -> Iterator[None]:
    """Whatever zipfile raises over hostile bytes becomes a ModelError."""
    try:
        yield
    except (ModelError, MemoryError, GeneratorExit):
        raise
    except Refused as exc:
        raise refuse(path, f"cannot be read: {exc.text}") from exc
    except Exception as exc:
        raise refuse(path, f"is no zip that can be read: {str(exc)[:80] or type(exc).__name__}") from exc


def refuse(path: Path, what: str) -> ModelError:
    return ModelError("model_archive", f"{path.name} {what}", mend=AS_PUBLISHED)
