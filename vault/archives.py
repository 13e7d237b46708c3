"""Archives, inside the box only: in comes a file that can be read at any offset, out come its members or a refusal.

Zip for now. Names are ignored: members are known by their number, and a name that points outside is only reported.
"""

import bz2
import encodings.cp437
import encodings.utf_8
import io
import lzma
import stat
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from vault.pictures import Refused

LOADED = (bz2, encodings.cp437, encodings.utf_8, lzma, zlib)  # what zipfile would load later, when it no longer can
PIECE = 64 * 1024
LOCAL_HEADER = 30  # bytes of the shortest local file header (APPNOTE 4.3.7)
ENCRYPTED = 0x1  # general purpose bit 0 (APPNOTE 4.4.4)
NESTED = (b"PK\x03\x04", b"Rar!", b"7z\xbc\xaf", b"\x1f\x8b")


def list_members(file: BinaryIO, size: int, limits: dict[str, int]) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Every file of a zip: (head, content), with caps on entries, bytes, ratio and depth. Names are ignored; the head
    says if one was unsafe. Raises Refused when the archive as a whole is not to be opened."""
    if file.read(4) not in (b"PK\x03\x04", b"PK\x05\x06"):
        raise Refused("archive_unsupported")
    try:
        archive = zipfile.ZipFile(file)
        entries = archive.infolist()
    except MemoryError:
        raise
    except Exception as exc:
        raise Refused("archive_corrupt", type(exc).__name__) from exc
    check_archive(entries, size, limits)
    for number, entry in enumerate(entries):
        if entry.orig_filename.endswith("/"):
            continue
        head: dict[str, Any] = {"member": number}
        if has_unsafe_name(entry.orig_filename):
            head["notice"] = "archive_name_unsafe"
        try:
            yield head, read_member(archive, entry, limits["member_bytes"])
        except Refused as exc:
            yield {**head, "refused": exc.code, "text": exc.text}, b""


def check_archive(entries: list[zipfile.ZipInfo], size: int, limits: dict[str, int]) -> None:
    """The caps that the directory alone decides; zipfile never yields more bytes than an entry declares."""
    if len(entries) > limits["entries"]:
        raise Refused("archive_too_many_entries", str(len(entries)))
    total = sum(entry.file_size for entry in entries)
    if total > limits["total_bytes"]:
        raise Refused("archive_too_large", str(total))
    if total > limits["ratio"] * max(size, 1):
        raise Refused("archive_ratio", str(total // max(size, 1)))
    end = 0
    for entry in sorted(entries, key=lambda item: item.header_offset):
        if entry.header_offset < end:
            raise Refused("archive_overlap")
        end = entry.header_offset + LOCAL_HEADER + entry.compress_size


def has_unsafe_name(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return name.startswith(("/", "\\")) or ".." in parts or "\0" in name or ":" in parts[0] or len(name) > 255


def read_member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    mode = entry.external_attr >> 16
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise Refused("archive_link")
    if entry.flag_bits & ENCRYPTED:
        raise Refused("archive_encrypted")
    if entry.file_size > most:
        raise Refused("body_too_large", str(entry.file_size))
    try:
        with archive.open(entry) as member:
            content = b"".join(iter(lambda: member.read(PIECE), b""))
    except MemoryError:
        raise
    except Exception as exc:
        raise Refused("archive_corrupt", type(exc).__name__) from exc
    if content.startswith(NESTED):
        raise Refused("archive_nested")
    return content


def warm_up() -> None:
    """Open one archive of each compression, so that nothing is loaded after the lock-down."""
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as archive:
            archive.writestr("a", b"a")
        limits = {"entries": 1, "total_bytes": 1, "member_bytes": 1, "ratio": 1}
        list(list_members(io.BytesIO(out.getvalue()), len(out.getvalue()), limits))
