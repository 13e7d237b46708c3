"""A 7z's headers: in come their bytes, out come folders and entries. Format: 7-Zip's DOC/7zFormat.txt.

A folder is a run of members packed as one stream by a chain of coders. Every count is held against the entries that are
allowed before anything of that size is made.
"""

import encodings.utf_16_le
import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from vault.refusals import Refused

LOADED = (encodings.utf_16_le,)
SIGNATURE_BYTES = 32
MOST_CODERS = 4
PADDING = 0x19  # a property that may come several times


@dataclass(slots=True)
class Folder:
    """Coders in the order in which they unpack, and where their input lies."""

    coders: list[tuple[bytes, bytes]] = field(default_factory=list)  # method, properties; empty where not supported
    sizes: list[int] = field(default_factory=list)  # of what each coder makes, by its number in the file
    last: int = 0  # the coder whose output is the folder's
    streams: int = 1  # packed streams it takes
    checksum: int | None = None
    start: int = 0
    packed: int = 0
    parts: list[tuple[int, int | None]] = field(default_factory=list)  # size and checksum of each member

    @property
    def size(self) -> int:
        return self.sizes[self.last] if self.sizes else 0


@dataclass(slots=True)
class Entry:
    name: str = ""
    attributes: int = 0
    has_stream: bool = True
    is_file: bool = True


class Fields:
    """The fields of a header, one after the other. Every count is held against the entries that are allowed."""

    def __init__(self, data: bytes, most: int) -> None:
        self._data, self._length, self._most = io.BytesIO(data), len(data), most

    def read_header(self, size: int) -> tuple[list[Folder], list[Entry]]:
        folders: list[Folder] = []
        entries: list[Entry] = []
        kind = self.read_byte()
        if kind == 0x02:  # archive properties
            while self.read_byte():
                self._read(self.read_number())
            kind = self.read_byte()
        if kind == 0x03:
            raise Refused("archive_unsupported", "additional streams")
        if kind == 0x04:
            folders = self.read_streams(size)
            kind = self.read_byte()
        if kind == 0x05:
            entries = self._read_entries()
            kind = self.read_byte()
        if kind != 0x00:
            raise Refused("archive_corrupt", "header")
        return folders, entries

    def read_streams(self, size: int) -> list[Folder]:
        """Pack info, folders and substreams; `size` is the file's, which no packed stream may leave."""
        packed: list[int] = []
        at = SIGNATURE_BYTES
        folders: list[Folder] = []
        kind = self.read_byte()
        if kind == 0x06:
            at += self.read_number()
            packed = self._read_pack_info()
            kind = self.read_byte()
        if kind == 0x07:
            folders = self._read_folders()
            kind = self.read_byte()
        for folder in folders:
            folder.parts = [(folder.size, folder.checksum)]
        if kind == 0x08:
            self._read_substreams(folders)
            kind = self.read_byte()
        if kind != 0x00 or sum(folder.streams for folder in folders) > len(packed) or at + sum(packed) > size:
            raise Refused("archive_corrupt", "streams")
        sizes = iter(packed)
        for folder in folders:
            folder.start = at
            folder.packed = sum(itertools.islice(sizes, folder.streams))
            at += folder.packed
        return folders

    def _read_pack_info(self) -> list[int]:
        count = self._read_count()
        sizes: list[int] = []
        kind = self.read_byte()
        if kind == 0x09:
            sizes = [self.read_number() for _ in range(count)]
            kind = self.read_byte()
        if kind == 0x0A:
            self._read_checksums(count)
            kind = self.read_byte()
        if kind != 0x00:
            raise Refused("archive_corrupt", "pack info")
        return sizes

    def _read_folders(self) -> list[Folder]:
        self._expect(0x0B)
        count = self._read_count()
        self._expect(0x00)  # not external
        folders = [self._read_folder() for _ in range(count)]
        self._expect(0x0C)
        for folder in folders:
            folder.sizes = [self.read_number() for _ in folder.sizes]
        kind = self.read_byte()
        if kind == 0x0A:
            for folder, checksum in zip(folders, self._read_checksums(count), strict=True):
                folder.checksum = checksum
            kind = self.read_byte()
        if kind != 0x00:
            raise Refused("archive_corrupt", "folders")
        return folders

    def _read_folder(self) -> Folder:
        count = self.read_number()
        if not 0 < count <= 32:
            raise Refused("archive_corrupt", "coders")
        coders: list[tuple[bytes, bytes]] = []
        inputs = outputs = 0
        for _ in range(count):
            flags = self.read_byte()
            method = self._read(flags & 0x0F)
            more = (self.read_number(), self.read_number()) if flags & 0x10 else (1, 1)
            inputs, outputs = inputs + more[0], outputs + more[1]
            if flags & 0x80 or max(inputs, outputs) > 64 or not outputs:
                raise Refused("archive_corrupt", "coders")
            coders.append((method, self._read(self.read_number()) if flags & 0x20 else b""))
        bonds = {}  # output: the input it goes to
        for _ in range(outputs - 1):
            into, out = self.read_number(), self.read_number()
            bonds[out] = into
        streams = inputs - (outputs - 1)
        if streams < 1:
            raise Refused("archive_corrupt", "coders")
        if streams > 1:
            for _ in range(streams):
                self.read_number()
        last = next((out for out in range(outputs) if out not in bonds), 0)
        folder = Folder(sizes=[0] * outputs, last=last, streams=streams)
        if inputs == outputs == count <= MOST_CODERS:
            folder.coders = order_coders(coders, bonds)
        return folder

    def _read_substreams(self, folders: list[Folder]) -> None:
        kind = self.read_byte()
        counts = [1] * len(folders)
        if kind == 0x0D:
            counts = [self._read_count() for _ in folders]
            self._check_count(sum(counts))
            kind = self.read_byte()
        sizes: list[list[int]] = []
        for folder, count in zip(folders, counts, strict=True):
            known = [self.read_number() for _ in range(count - 1)] if kind == 0x09 else []
            if (count > 1 and kind != 0x09) or sum(known) > folder.size:
                raise Refused("archive_corrupt", "substreams")
            sizes.append([*known, folder.size - sum(known)] if count else [])
        if kind == 0x09:
            kind = self.read_byte()
        unknown = [
            not (count == 1 and folder.checksum is not None) for folder, count in zip(folders, counts, strict=True)
        ]
        checksums: Iterator[int | None] = itertools.repeat(None)
        if kind == 0x0A:
            checksums = iter(self._read_checksums(sum(itertools.compress(counts, unknown))))
            kind = self.read_byte()
        if kind != 0x00:
            raise Refused("archive_corrupt", "substreams")
        for folder, each, open_ in zip(folders, sizes, unknown, strict=True):
            folder.parts = [(size, next(checksums) if open_ else folder.checksum) for size in each]

    def _read_entries(self) -> list[Entry]:
        entries = [Entry() for _ in range(self._read_count())]
        empty: list[Entry] = []
        seen: set[int] = set()
        while kind := self.read_byte():
            if kind in seen:
                raise Refused("archive_corrupt", "a property twice")
            seen |= {kind} - {PADDING}
            field_ = Fields(self._read(self.read_number()), self._most)
            if kind == 0x0E:
                for entry, is_empty in zip(entries, field_._read_bits(len(entries)), strict=True):
                    entry.has_stream, entry.is_file = not is_empty, not is_empty
                empty = [entry for entry in entries if not entry.has_stream]
            elif kind == 0x0F:
                for entry, is_file in zip(empty, field_._read_bits(len(empty)), strict=True):
                    entry.is_file = is_file
            elif kind == 0x11:
                field_._expect(0x00)
                names = field_._data.read().decode("utf-16-le", "replace").split("\0")
                if len(names) != len(entries) + 1:
                    raise Refused("archive_corrupt", "names")
                for entry, name in zip(entries, names, strict=False):
                    entry.name = name
            elif kind == 0x15:
                defined = field_._read_defined(len(entries))
                field_._expect(0x00)
                for entry, is_defined in zip(entries, defined, strict=True):
                    if is_defined:
                        entry.attributes = int.from_bytes(field_._read(4), "little")
        return entries

    # -- the smallest parts -------------------------------------------------------------------------------------------

    def _read(self, length: int) -> bytes:
        data = self._data.read(min(length, self._length))
        if len(data) < length:
            raise Refused("archive_corrupt", "a header cut short")
        return data

    def is_at_end(self) -> bool:
        return self._data.tell() == self._length

    def read_byte(self) -> int:
        return self._read(1)[0]

    def read_number(self) -> int:
        """The first byte's leading ones say how many bytes follow; its other bits are the highest of the number."""
        first = self.read_byte()
        length = 8 - (~first & 0xFF).bit_length()
        high = first & (0x7F >> length) if length < 8 else 0
        return int.from_bytes(self._read(length), "little") | high << 8 * length

    def _read_count(self) -> int:
        count = self.read_number()
        self._check_count(count)
        return count

    def _check_count(self, count: int) -> None:
        if count > self._most:
            raise Refused("archive_too_many_entries", str(count))

    def _expect(self, value: int) -> None:
        if self.read_byte() != value:
            raise Refused("archive_corrupt", f"no {value:#04x} in the header")

    def _read_bits(self, count: int) -> list[bool]:
        data = self._read((count + 7) // 8)
        return [bool(data[at // 8] & 0x80 >> at % 8) for at in range(count)]

    def _read_defined(self, count: int) -> list[bool]:
        return [True] * count if self.read_byte() else self._read_bits(count)

    def _read_checksums(self, count: int) -> list[int | None]:
        defined = self._read_defined(count)
        return [int.from_bytes(self._read(4), "little") if each else None for each in defined]


def order_coders(coders: list[tuple[bytes, bytes]], bonds: dict[int, int]) -> list[tuple[bytes, bytes]]:
    """From the coder that takes the packed stream to the one whose output is the folder's. Raises Refused."""
    into = set(bonds.values())
    at: int | None = next((number for number in range(len(coders)) if number not in into), None)
    ordered: list[tuple[bytes, bytes]] = []
    while at is not None and len(ordered) <= len(coders):
        if at >= len(coders):
            break
        ordered.append(coders[at])
        at = bonds.get(at)
    if len(ordered) != len(coders):
        raise Refused("archive_corrupt", "coders")
    return ordered
