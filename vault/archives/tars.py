"""Tar in one pass: plain, or under gzip, bzip2, xz or zstd. tarfile reads a header, everything between them is ours:
its reader holds extension headers of any size in memory, and goes one call deeper for each.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from vault.archives.reading import PACKERS, Meter, Stream, read_pieces, unpack_frames
from vault.archives.rules import Member, is_tar_header, name_kind, note_name
from vault.refusals import Refused

BLOCK = tarfile.BLOCKSIZE
ZEROS = bytes(BLOCK)
LONGEST_EXTENSION = 64 << 10  # bytes of one extension header; a name has at most 4,096
MOST_EXTENSION_BYTES = 16 << 20  # of all of them
MOST_RECORDS = 256  # of one extended header
MOST_IN_A_ROW = 8  # extension headers before a member; two long names, a global and a local one are four
PAX = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
LONG_NAME = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
LINKS = (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)  # no data follow
MORE_SPARSE, MORE_SPARSE_MAP = 482, 504  # offsets of the mark in a header and in a block of the map (GNU tar manual, D)


@dataclass(frozen=True, slots=True)
class Entry:
    """A member's header, with what its extension headers changed."""

    type: bytes
    name: str
    size: int
    sparse: bool
    more_map: int


def list_members(file: BinaryIO, kind: str, limits: dict[str, int], meter: Meter) -> Iterator[Member]:
    """Every member of a tar, and of those written behind it. Raises Refused."""
    pieces = read_pieces(file, meter)
    if kind in PACKERS:
        pieces = unpack_frames(pieces, PACKERS[kind].open)
    stream = Stream(pieces, meter)
    first = stream.read(BLOCK)
    if first != ZEROS and not is_tar_header(first):
        nested = name_kind(first)
        raise Refused("archive_nested" if nested else "archive_unsupported", nested or "no tar inside")
    yield from _Reader(stream, limits).list_members(first)


class _Reader:
    """Goes from header to header; extension headers change what the next member's header says."""

    def __init__(self, stream: Stream, limits: dict[str, int]) -> None:
        self._stream, self._limits = stream, limits
        self._budget = MOST_EXTENSION_BYTES
        self._extensions = 2 * limits["entries"] + MOST_IN_A_ROW  # a long name and a long link target for each member

    def list_members(self, block: bytes) -> Iterator[Member]:
        number, ended = 0, False
        while block:
            if block == ZEROS:
                ended = True
            elif ended and not is_tar_header(block):
                return  # what lies behind the end and is no other tar is padding
            else:
                ended = False
                if number == self._limits["entries"]:
                    raise Refused("archive_too_many_entries", f"more than {number}")
                member = self._read_member(number, self._read_header(block))
                if member is not None:
                    yield member
                number += 1
            block = self._stream.read(BLOCK)
        if not ended:
            raise Refused("archive_corrupt", "no end mark: cut short")

    def _read_header(self, block: bytes) -> Entry:
        """The next member; extension headers before it are read."""
        name: str | None = None
        size: int | None = None
        sparse = False
        for _ in range(MOST_IN_A_ROW):
            header = parse_header(block)
            if header.type in LONG_NAME:
                data = self._read_extension(header.size)
                if header.type == tarfile.GNUTYPE_LONGNAME:
                    name = data.rstrip(b"\0").decode("utf-8", "surrogateescape")
            elif header.type in PAX:
                records = parse_pax(self._read_extension(header.size))
                sparse = sparse or any(key.startswith(b"GNU.sparse.") for key in records)
                if b"path" in records:
                    name = records[b"path"].decode("utf-8", "surrogateescape")
                if b"size" in records:
                    size = parse_size(records[b"size"])
            else:
                name, size = header.name if name is None else name, header.size if size is None else size
                sparse = sparse or header.type == tarfile.GNUTYPE_SPARSE
                return Entry(header.type, name, size, sparse, block[MORE_SPARSE])
            block = self._stream.read(BLOCK)
        raise Refused("archive_corrupt", "too many extension headers in a row")

    def _read_extension(self, size: int) -> bytes:
        self._budget -= size
        self._extensions -= 1
        if self._extensions < 0:
            raise Refused("archive_too_many_entries", "extension headers")
        if size > LONGEST_EXTENSION or self._budget < 0:
            raise Refused("archive_corrupt", "extension headers of that size")
        data = self._stream.read(size)
        if len(data) < size or not self._stream.skip(-size % BLOCK):
            raise Refused("archive_corrupt", "cut short")
        return data

    def _read_member(self, number: int, entry: Entry) -> Member | None:
        """None for a folder. Whatever a member is, the stream stands behind it afterwards."""
        notice = note_name(entry.name)
        if entry.type == tarfile.DIRTYPE:
            return None
        if entry.type in LINKS:
            return Member(number=number, refused=Refused("archive_link"), notice=notice)
        if entry.type == tarfile.GNUTYPE_SPARSE:
            self._skip_sparse_map(entry.more_map)
        refused: Refused | None = None
        if entry.sparse:
            refused = Refused("archive_link", "a sparse file")
        elif entry.type not in tarfile.REGULAR_TYPES:
            refused = Refused("archive_unsupported", "a member of an unknown type")
        elif entry.size > self._limits["member_bytes"]:
            refused = Refused("body_too_large", str(entry.size))
        content = b"" if refused else self._stream.read(entry.size)
        if not self._stream.skip((entry.size if refused else 0) + -entry.size % BLOCK) or (
            not refused and len(content) < entry.size
        ):
            raise Refused("archive_corrupt", "cut short")
        if name_kind(content[:BLOCK]):
            refused, content = Refused("archive_nested"), b""
        return Member(number=number, content=content, refused=refused, notice=notice)

    def _skip_sparse_map(self, more: int) -> None:
        """Blocks of an old GNU sparse file's map follow its header; each says whether another does."""
        while more:
            self._budget -= BLOCK
            block = self._stream.read(BLOCK)
            if len(block) < BLOCK or self._budget < 0:
                raise Refused("archive_corrupt", "cut short")
            more = block[MORE_SPARSE_MAP]


def parse_header(block: bytes) -> tarfile.TarInfo:
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError) as exc:
        raise Refused("archive_corrupt", type(exc).__name__) from exc
    if header.size < 0:
        raise Refused("archive_corrupt", "a size below zero")
    return header


def parse_pax(data: bytes) -> dict[bytes, bytes]:
    """Records `length key=value newline` (POSIX.1-2001, pax Extended Header). Raises Refused."""
    records: dict[bytes, bytes] = {}
    at = count = 0
    while at < len(data) and data[at]:
        space = data.find(b" ", at, at + 21)
        length = parse_size(data[at:space]) if space > at else 0
        key, equals, value = data[space + 1 : at + length].partition(b"=")
        if length < 5 or at + length > len(data) or not equals or not value.endswith(b"\n"):
            raise Refused("archive_corrupt", "a damaged extended header")
        records[key] = value[:-1]
        at, count = at + length, count + 1
        if count > MOST_RECORDS:
            raise Refused("archive_corrupt", "an extended header of many records")
    return records


def parse_size(text: bytes) -> int:
    if not text.isdigit() or len(text) > 20:
        raise Refused("archive_corrupt", "a damaged size")
    return int(text)
