"""What holds for a member of any archive: its name, its kind, and what it may not be."""

import tarfile
from dataclasses import dataclass

from vault.refusals import Refused

MAGIC = {
    "zip": (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"),
    "7z": (b"7z\xbc\xaf\x27\x1c",),
    "rar": (b"Rar!\x1a\x07",),
    "gzip": (b"\x1f\x8b",),
    "bzip2": tuple(b"BZh%d" % level for level in range(1, 10)),
    "xz": (b"\xfd7zXZ\x00",),
    # RFC 8878: a frame, or a skippable one, with which some tools begin
    "zstd": (b"\x28\xb5\x2f\xfd", *(bytes((n,)) + b"\x2a\x4d\x18" for n in range(0x50, 0x60))),
}
ALL_MAGIC = tuple(magic for magics in MAGIC.values() for magic in magics)
LONGEST_NAME = 255
CHECKSUM = slice(148, 156)  # of a tar header: octal digits


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One file on its way out of the box."""

    number: int
    content: bytes = b""
    refused: Refused | None = None
    notice: str | None = None


def name_kind(start: bytes) -> str:
    """The kind of archive that begins with these bytes (at least 512 of them, if there are so many); "" for none."""
    if start.startswith(ALL_MAGIC):
        return next(kind for kind, magics in MAGIC.items() if start.startswith(magics))
    return "tar" if is_tar_header(start[: tarfile.BLOCKSIZE]) else ""


def is_tar_header(block: bytes) -> bool:
    """By the checksum alone, which old tars have too; a block of zeros is none."""
    if len(block) != tarfile.BLOCKSIZE or not block[0] or not block[CHECKSUM].strip(b" \0").isdigit():
        return False
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


def note_name(name: str) -> str | None:
    """`archive_name_unsafe` for a name that would point outside, if names were used."""
    parts = name.replace("\\", "/").split("/")
    outside = name.startswith(("/", "\\")) or ".." in parts or "\0" in name or ":" in parts[0]
    return "archive_name_unsafe" if outside or len(name) > LONGEST_NAME else None
