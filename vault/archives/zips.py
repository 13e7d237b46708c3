"""Zip: the directory is read by zipfile, and decides the caps; members come out one by one, unlocked where they are."""

import bz2
import encodings.cp437
import encodings.utf_8
import io
import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, cast

from vault.archives.crypt import unlock_winzip, unlock_zipcrypto
from vault.archives.reading import PIECE, Passwords
from vault.archives.rules import Member, name_kind, note_name
from vault.refusals import Refused

LOADED = (bz2, encodings.cp437, encodings.utf_8, lzma, zlib)  # what zipfile would load later, when it no longer can
SMALL_PIECE = 4096  # of bzip2 and LZMA, whose output zipfile does not bound: 4 KB may grow to 90 MB
LOCAL_HEADER = 30  # bytes of the shortest local file header (APPNOTE 4.3.7)
DIRECTORY_BASE, DIRECTORY_ENTRY = 64 << 10, 512  # bytes of the directory: 46 and a name would do
ENCRYPTED, DESCRIPTOR, STRONG = 0x1, 0x8, 0x40  # general purpose bits (APPNOTE 4.4.4)
AES_METHOD, AES_EXTRA, AE_1 = 99, 0x9901, 1


class Directory(io.BufferedReader):
    """zipfile reads the directory at once, as large as the file says it is: no read is larger than `most`."""

    most = DIRECTORY_BASE

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size > self.most:
            raise Refused("archive_too_many_entries", f"a directory of {size} bytes")
        return super().read(size)


def list_members(file: BinaryIO, size: int, limits: dict[str, int], passwords: Passwords) -> Iterator[Member]:
    """Every file of a zip. Raises Refused when the archive as a whole is not to be opened."""
    raw = file.raw if isinstance(file, io.BufferedReader) else file
    directory = Directory(cast(io.RawIOBase, raw), PIECE)
    directory.most = DIRECTORY_BASE + DIRECTORY_ENTRY * limits["entries"]
    try:
        archive = zipfile.ZipFile(directory)
        entries = archive.infolist()
    except (Refused, MemoryError):
        raise
    except Exception as exc:
        raise Refused("archive_corrupt", type(exc).__name__) from exc
    check_archive(entries, size, limits)
    for number, entry in enumerate(entries):
        if entry.orig_filename.endswith("/"):
            continue
        notice = note_name(entry.orig_filename)
        try:
            content = read_member(archive, directory, entry, limits["member_bytes"], passwords)
            yield Member(number=number, content=content, notice=notice)
        except Refused as exc:
            yield Member(number=number, refused=exc, notice=notice)


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


def read_member(
    archive: zipfile.ZipFile, file: io.BufferedReader, entry: zipfile.ZipInfo, most: int, passwords: Passwords
) -> bytes:
    mode = entry.external_attr >> 16
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise Refused("archive_link")
    if entry.file_size > most:
        raise Refused("body_too_large", str(entry.file_size))
    try:
        if entry.flag_bits & (ENCRYPTED | STRONG):
            content = unlock_member(file, entry, passwords)
        else:
            piece = PIECE if entry.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) else SMALL_PIECE
            with archive.open(entry) as member:
                content = b"".join(iter(lambda: member.read(piece), b""))
    except (Refused, MemoryError):
        raise
    except NotImplementedError as exc:
        raise Refused("archive_unsupported", f"method {entry.compress_type}") from exc
    except Exception as exc:
        raise Refused("archive_corrupt", type(exc).__name__) from exc
    if name_kind(content[:512]):
        raise Refused("archive_nested")
    return content


# -- members under a password -----------------------------------------------------------------------------------------


def unlock_member(file: io.BufferedReader, entry: zipfile.ZipInfo, passwords: Passwords) -> bytes:
    """Raises Refused: archive_encrypted without a password, archive_password where none fits, and what is damaged."""
    if entry.flag_bits & STRONG:
        raise Refused("archive_unsupported", "PKWARE's strong encryption")
    if not passwords.list_candidates():
        raise passwords.refusal()
    is_aes = entry.compress_type == AES_METHOD
    version, strength, method = read_aes_extra(entry) if is_aes else (0, 0, entry.compress_type)
    if method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Refused("archive_unsupported", f"method {method} under a password")
    locked = read_locked(file, entry)
    damaged: Refused | None = None
    for password in passwords.list_candidates():
        if passwords.good is None:
            passwords.spend_tries(1)
        try:
            if is_aes:
                packed = unlock_winzip(locked, password, strength)
            else:
                packed = unlock_zipcrypto(locked, password, find_check(entry))
        except Refused as exc:
            damaged, packed = exc, None
        content = None if packed is None else unpack(packed, method, entry.file_size)
        if content is not None and (version > AE_1 or zlib.crc32(content) == entry.CRC):
            passwords.good = password
            return content
        if packed is not None and (is_aes or passwords.good is not None):
            damaged = Refused("archive_corrupt", "checksum")
    raise damaged or passwords.refusal()


def find_check(entry: zipfile.ZipInfo) -> int:
    """The byte that ZipCrypto's head ends in: of the checksum, or of the time where that was not known yet."""
    if entry.flag_bits & DESCRIPTOR:
        _, _, _, hour, minute, _ = entry.date_time
        return (hour << 3 | minute >> 3) & 0xFF
    return entry.CRC >> 24


def read_aes_extra(entry: zipfile.ZipInfo) -> tuple[int, int, int]:
    """Version, strength and the method under the AES (WinZip, "AES Encryption Information", II.C). Raises Refused."""
    at = 0
    while at + 4 <= len(entry.extra):
        kind, length = struct.unpack_from("<HH", entry.extra, at)
        if kind == AES_EXTRA and length == 7 and at + 11 <= len(entry.extra):
            version, _vendor, strength, method = struct.unpack_from("<H2sBH", entry.extra, at + 4)
            return version, strength, method
        at += 4 + length
    raise Refused("archive_corrupt", "AES without its extra field")


def read_locked(file: io.BufferedReader, entry: zipfile.ZipInfo) -> bytes:
    """The member's bytes as they lie there, no more than what its declared size could need."""
    if entry.compress_size > entry.file_size + entry.file_size // 100 + 1024:
        raise Refused("archive_corrupt", "more packed bytes than plain ones")
    file.seek(entry.header_offset)
    head = file.read(LOCAL_HEADER)
    if len(head) < LOCAL_HEADER or not head.startswith(b"PK\x03\x04"):
        raise Refused("archive_corrupt", "no local header")
    name, extra = struct.unpack_from("<HH", head, 26)
    file.seek(name + extra, io.SEEK_CUR)
    parts, left = [], entry.compress_size
    while left and (part := file.read(min(left, PIECE))):
        parts.append(part)
        left -= len(part)
    if left:
        raise Refused("archive_corrupt", "cut short")
    return b"".join(parts)


def unpack(packed: bytes, method: int, size: int) -> bytes | None:
    """`size` bytes, or None: a wrong password that passed its check."""
    if method == zipfile.ZIP_STORED:
        return packed if len(packed) == size else None
    try:
        content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, size + 1)
    except zlib.error:
        return None
    return content if len(content) == size else None
