"""The hash-list gate: in come the digests of bytes that have just arrived, out comes "may be kept" or not.

Runs before anything is stored or shown. On a hit only digest, place and time are kept, the source stops, and a report
is drafted for a person. Lists are files of MD5 or SHA-256 digests in hex, one a line, `#` for remarks.

A line `pdq:` and 64 hex digits is a PDQ hash, which finds a picture that was made smaller, turned or saved anew. It is
made of pixels, and those come out of the box only after the sealed bytes are on disk: such a picture is found by the
step that looks for faces, before anything of it is shown or searched, and erased there.
"""

import hashlib
import importlib
import importlib.util
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vault.digests import Digests, Hashes, Lists, read_lists
from vault.errors import SettingError
from vault.files import write_whole
from vault.ledger import Kind
from vault.log import clean_text, get_logger
from vault.pieces import find_pieces, list_limits
from vault.settings import Settings
from vault.store import Connection, require_transaction
from vault.store.ledger import write_entry
from vault.store.sources import pause_source

BLANK = b" \t\r\n\f\0"  # what a script prints beside a file
# Meta, "The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm" (2019): pictures are the same within
# 31 of 256 bits; a hash of less than 50 % quality says nothing; a picture may be shrunk to 512 pixels first
PDQ_DISTANCE, PDQ_QUALITY, PDQ_LONG_SIDE = 31, 50, 512
LONGEST_PLACE = 4000  # letters of where a picture came from, in a report
PDQ_ROWS = 8192  # of a list, compared at a time: 256 KB stay in a core's cache

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class HashGate:
    digests: Digests | frozenset[str]
    pdq: Hashes = field(default_factory=lambda: np.empty((0, 32), np.uint8))

    @property
    def looks_at_pixels(self) -> bool:
        return len(self.pdq) > 0

    def is_similar(self, pixels: npt.NDArray[np.uint8]) -> bool:
        """Is the picture, (h, w, 3) uint8 BGR, upright or turned or mirrored, one whose PDQ hash is on a list?"""
        return self.looks_at_pixels and self.is_near(hash_pdq(pixels))

    def is_near(self, hashes: Hashes) -> bool:
        listed, words = self.pdq.view(np.uint64), hashes.view(np.uint64)  # four words are eight times as fast as bytes
        return any(
            int(np.bitwise_count(listed[at : at + PDQ_ROWS] ^ each).sum(axis=1).min()) <= PDQ_DISTANCE
            for at in range(0, len(listed), PDQ_ROWS)
            for each in words
        )

    def is_listed(self, data: bytes) -> bool:
        """Is the MD5 or the SHA-256 of these bytes, or of a picture in them, on a list?"""
        return self.find_listed(data) is not None

    def find_listed(self, data: bytes) -> tuple[str, str] | None:
        """MD5 and SHA-256 of what is on a list: of these bytes, or of a picture that lies in them behind or before
        others."""
        if not self.digests:
            return None
        for part in list_parts(data):
            digests = hash_md5(part), hashlib.sha256(part).hexdigest()
            if self.has_digest(*digests):
                return digests
        return None

    def has_digest(self, *digests: str) -> bool:
        return any(digest in self.digests for digest in digests)


def list_parts(data: bytes) -> Iterator[memoryview]:
    """These bytes, and each picture in them as it may have been before something was put before or behind it."""
    view = memoryview(data)
    yield view
    first, last = len(data) - len(data.lstrip(BLANK)), len(data.rstrip(BLANK))
    edges = {(first, last), (first, len(data)), (0, last)} - {(0, len(data))}  # a picture may itself end in blanks
    yield from (view[start:end] for start, end in edges if start < end)
    pieces = list(find_pieces(data))
    for number, (piece, limit) in enumerate(zip(pieces, list_limits(data, pieces), strict=True)):
        ends = {*piece.ends[:-1], limit} | ({len(data)} if number == 0 else set())
        yield from (view[piece.start : end] for end in ends if end - piece.start < len(data))


def hash_md5(data: bytes | memoryview) -> str:
    """MD5 only because the lists of illegal pictures use it."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def load_gate(settings: Settings) -> HashGate:
    """The gate of the settings. Raises SettingError for a list that cannot be read or used here: no list is worse than
    no crawl."""
    lists = read_once(settings.crawl.hash_lists)
    if len(lists.pdq) and importlib.util.find_spec("pdqhash") is None:
        raise SettingError("a hash list has PDQ hashes and pdqhash is not installed", mend="install facewarden[pdq]")
    return HashGate(digests=lists.digests, pdq=lists.pdq)


@lru_cache(maxsize=2)
def read_once(paths: tuple[Path, ...]) -> Lists:
    return read_lists(paths)


def hash_pdq(pixels: npt.NDArray[np.uint8]) -> Hashes:
    """The PDQ hashes, up to (8, 32), of a picture and its seven turned and mirrored forms; none where there is too
    little in it to say anything."""
    library = importlib.import_module("pdqhash")
    bits, quality = library.compute_dihedral(np.ascontiguousarray(pixels[:, :, ::-1]))
    return np.packbits(np.asarray(bits, np.uint8).reshape(-1, 256)[: 8 if quality >= PDQ_QUALITY else 0], axis=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """A listed picture that came. `place`: where from, as it was named there; `how` it was known."""

    md5: str
    sha256: str
    place: str
    how: str = "same bytes"


def draft_reports(settings: Settings, hits: Iterable[Hit]) -> None:
    """The reports that a person must send, as files: before the transaction that records the hits, so that there is no
    hit without one. Raises OSError."""
    for hit in hits:
        text = (
            "Draft of a report to the competent authority. Nothing of the picture was kept.\n\n"
            f"SHA-256: {hit.sha256}\nMD5: {hit.md5}\nfound at: {clean_text(hit.place, LONGEST_PLACE)}\n"
            f"found by: {hit.how}\n"
        )
        write_whole(settings.home / "reports" / f"{hit.sha256}.txt", text.encode())


def record_hit(conn: Connection, hit: Hit, source_id: int, *, by: str) -> None:
    """Keep digest, place and time in the ledger, and stop the source."""
    require_transaction(conn)
    write_entry(conn, Kind.REFUSAL, about=hit.sha256, code="hash_listed", place=hit.place, by=by)
    pause_source(conn, source_id, "a picture on a list of illegal pictures was served; a person must report it")
    log.warning("a listed digest was refused and its source paused", source_id=source_id)
