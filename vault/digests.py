"""Many digests in little memory: in come lists of hex lines, out comes a set that can be asked.

A Python set of two million digests takes 280 MB; sorted bytes take 64, and a look-up is a binary search.
"""

import binascii
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vault.errors import SettingError

PDQ = b"pdq:"
MD5_BYTES, SHA256_BYTES = 16, 32
LONGEST_LINE = 4096  # bytes, with its remark

Sorted = npt.NDArray[np.bytes_]  # (n,) of one width, ascending
Hashes = npt.NDArray[np.uint8]  # (n, 32)


def sort_bytes(data: bytes | bytearray, width: int) -> Sorted:
    """So many bytes a digest, in place where they may be written to."""
    digests = np.frombuffer(data if isinstance(data, bytearray) else bytearray(data), f"S{width}")
    digests.sort()
    return digests


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Digests:
    """MD5 and SHA-256 digests."""

    md5: Sorted = field(default_factory=lambda: sort_bytes(b"", MD5_BYTES))
    sha256: Sorted = field(default_factory=lambda: sort_bytes(b"", SHA256_BYTES))

    def __len__(self) -> int:
        return len(self.md5) + len(self.sha256)

    def __contains__(self, digest: str) -> bool:
        """Is this digest, in lower-case hex, one of them?"""
        raw = bytes.fromhex(digest)
        known = {MD5_BYTES: self.md5, SHA256_BYTES: self.sha256}.get(len(raw))
        if known is None:
            return False
        wanted = np.array(raw, known.dtype)
        at = int(np.searchsorted(known, wanted))
        return at < len(known) and bool(known[at] == wanted)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lists:
    """What the lists hold together."""

    digests: Digests
    pdq: Hashes


def read_lists(paths: Iterable[Path]) -> Lists:
    """All lists as one. Raises SettingError, with file and line, for what is neither a digest nor a remark."""
    md5, sha256, pdq = bytearray(), bytearray(), bytearray()
    for path in paths:
        for number, entry in read_entries(path):
            is_pdq = entry.startswith(PDQ)
            try:
                raw = binascii.unhexlify(entry[len(PDQ) :] if is_pdq else entry)
            except binascii.Error:
                raw = b""
            if len(raw) == SHA256_BYTES:
                (pdq if is_pdq else sha256).extend(raw)
            elif len(raw) == MD5_BYTES and not is_pdq:
                md5.extend(raw)
            else:
                raise refuse_line(path, number, f"{entry[:40].decode('ascii', 'backslashreplace')!r} is")
    return Lists(
        digests=Digests(md5=sort_bytes(md5, MD5_BYTES), sha256=sort_bytes(sha256, SHA256_BYTES)),
        pdq=np.frombuffer(pdq, np.uint8).reshape(-1, 32),
    )


def read_entries(path: Path) -> Iterator[tuple[int, bytes]]:
    """(line, entry in lower case) of one list, remarks left out. Raises SettingError."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE), b""), 1):
                if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                    raise refuse_line(path, number, f"a line of more than {LONGEST_LINE} bytes is")
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                entry = line.partition(b"#")[0].strip().lower()
                if entry:
                    yield number, entry
    except OSError as exc:
        raise SettingError(f"cannot read the hash list {path}: {exc.strerror}", mend="check crawl.hash_lists") from exc


def refuse_line(path: Path, number: int, what: str) -> SettingError:
    return SettingError(
        f"{path}, line {number}: {what} no MD5, SHA-256 or pdq: hash in hex",
        mend="one digest a line; # begins a remark",
    )
