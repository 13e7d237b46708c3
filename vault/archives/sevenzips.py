"""7z in one pass: each folder (a run of members packed as one stream) is unpacked once, from its start to its end.

The headers are read here and the codecs are the same as everywhere, because py7zr cannot stay within the box: its
decoders of deflate, zstd and BZip2 hand out all that a piece of input holds (64 KB may be 64 MB), it gathers the packed
bytes of a solid folder in memory, and allows 256 MB of headers.

Unpacked: Copy, LZMA, LZMA2 (with the x86 or delta filter before it), BZip2, Deflate, Zstandard, 7zAES around any.
Not PPMd: its only decoder for Python starts a thread, which the box forbids. Not BCJ2, Deflate64, Brotli, LZ4.
"""

import bz2
import itertools
import lzma
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from vault.archives.crypt import derive_7z_key, read_7z_properties, unlock_7z
from vault.archives.fields import SIGNATURE_BYTES, Entry, Fields, Folder
from vault.archives.reading import (
    LARGEST_DICTIONARY,
    Decoder,
    Inflater,
    Meter,
    Passwords,
    Stream,
    drain_decoder,
    open_zstd,
    read_pieces,
    refuse_failures,
)
from vault.archives.rules import Member, name_kind, note_name
from vault.refusals import Refused

HEADER_BASE, HEADER_ENTRY = 64 << 10, 1024  # bytes of headers allowed: an entry has a name, three times, a checksum
DEEPEST_HEADER = 3  # a packed header may hold a packed header
KEY_TRIES = 10  # of a derived key, as tries are counted
DIRECTORY, REPARSE_POINT, UNIX = 0x10, 0x400, 0x8000  # attributes; with UNIX the mode is in the high half

COPY, LZMA1, LZMA2 = b"\x00", lzma.FILTER_LZMA1, lzma.FILTER_LZMA2
AES = b"\x06\xf1\x07\x01"
LZMA_METHODS = {b"\x03\x01\x01": LZMA1, b"\x21": LZMA2}
FILTERS = {b"\x03": lzma.FILTER_DELTA, b"\x04": lzma.FILTER_X86, b"\x03\x03\x01\x03": lzma.FILTER_X86}
OTHERS: dict[bytes, Callable[[], Decoder]] = {
    b"\x04\x02\x02": bz2.BZ2Decompressor,
    b"\x04\x01\x08": lambda: Inflater(-zlib.MAX_WBITS),
    b"\x04\xf7\x11\x01": open_zstd,
}


def list_members(
    file: BinaryIO, size: int, limits: dict[str, int], passwords: Passwords, meter: Meter
) -> Iterator[Member]:
    """Every file of a 7z. Raises Refused when the archive as a whole is not to be opened."""
    opener = _Opener(file, size, limits, passwords, meter)
    with refuse_failures():
        folders, entries = opener.read_headers()
    meter.check_declared(sum(folder.size for folder in folders))
    if sum(len(folder.parts) for folder in folders) != sum(entry.has_stream for entry in entries):
        raise Refused("archive_corrupt", "members and streams do not fit")
    parts = itertools.chain.from_iterable(opener.list_parts(folder) for folder in folders)
    for number, entry in enumerate(entries):
        content = next(parts) if entry.has_stream else b""
        refused = check_entry(entry)
        if entry.has_stream and refused is None and isinstance(content, Refused):
            refused = content
        if not entry.is_file and refused is None:
            continue
        if refused is None and isinstance(content, bytes) and name_kind(content[:512]):
            refused = Refused("archive_nested")
        kept = content if refused is None and isinstance(content, bytes) else b""
        yield Member(number=number, content=kept, refused=refused, notice=note_name(entry.name))


def check_entry(entry: Entry) -> Refused | None:
    kind = stat.S_IFMT(entry.attributes >> 16) if entry.attributes & UNIX else 0
    if entry.attributes & REPARSE_POINT or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return Refused("archive_link")
    return None


class _Opener:
    """Headers, and folder after folder."""

    def __init__(
        self, file: BinaryIO, size: int, limits: dict[str, int], passwords: Passwords, meter: Meter
    ) -> None:  # fmt: skip
        self._file, self._size, self._limits, self._meter = file, size, limits, meter
        self._passwords = passwords
        self._keys: dict[tuple[str, int, bytes], bytes] = {}
        self._locked = False  # none of the passwords fits: they are not tried on every folder
        self._most_header = HEADER_BASE + HEADER_ENTRY * limits["entries"]

    # -- headers ------------------------------------------------------------------------------------------------------

    def read_headers(self) -> tuple[list[Folder], list[Entry]]:
        signature = self._file.read(SIGNATURE_BYTES)
        if len(signature) < SIGNATURE_BYTES or zlib.crc32(signature[12:]) != struct.unpack_from("<I", signature, 8)[0]:
            raise Refused("archive_corrupt", "signature header")
        offset, length, checksum = struct.unpack_from("<QQI", signature, 12)
        if not length:
            return [], []
        if SIGNATURE_BYTES + offset + length > self._size:
            raise Refused("archive_corrupt", "cut short")
        self._check_header_size(length)
        self._file.seek(SIGNATURE_BYTES + offset)
        header = self._file.read(length)
        if len(header) < length or zlib.crc32(header) != checksum:
            raise Refused("archive_corrupt", "header checksum")
        return self._read_header(header, DEEPEST_HEADER)

    def _read_header(self, header: bytes, deepest: int, known: bool = True) -> tuple[list[Folder], list[Entry]]:
        """`known`: that these are the bytes that were packed; if not, they must be a header to the last one."""
        if not deepest:
            raise Refused("archive_corrupt", "headers within headers")
        fields = Fields(header, self._limits["entries"])
        kind = fields.read_byte()
        if kind not in (0x01, 0x17):
            raise Refused("archive_corrupt", "an unknown header")
        if kind == 0x01:
            found = fields.read_header(self._size)
            if not known and not fields.is_at_end():
                raise Refused("archive_corrupt", "bytes behind the header")
            return found
        folders = fields.read_streams(self._size)
        if len(folders) != 1:
            raise Refused("archive_corrupt", "a packed header in pieces")
        return self._unpack_header(folders[0], deepest - 1)

    def _check_header_size(self, length: int) -> None:
        if length > self._most_header:
            raise Refused("archive_too_many_entries", f"headers of {length} bytes")

    def _unpack_header(self, folder: Folder, deepest: int) -> tuple[list[Folder], list[Entry]]:
        self._check_header_size(folder.size)
        encrypted = any(method == AES for method, _ in folder.coders)
        refusal: Refused | None = None
        for password in self._passwords.list_candidates() if encrypted else [None]:
            known = not encrypted
            try:
                header = self._open_folder(folder, password).read(folder.size)
                if len(header) < folder.size or folder.checksum not in (None, zlib.crc32(header)):
                    raise Refused("archive_corrupt", "header checksum")
                # py7zr writes no checksum there: of 128 wrong passwords one makes what begins as a header does
                known = known or folder.checksum is not None
                with refuse_failures():
                    found = self._read_header(header, deepest, known)
            except Refused as exc:
                if known:
                    raise
                if exc.code != "archive_corrupt":
                    refusal = refusal or exc
                continue
            if encrypted:
                self._passwords.good = password
            return found
        raise refusal or self._passwords.refusal()

    # -- folders ------------------------------------------------------------------------------------------------------

    def list_parts(self, folder: Folder) -> Iterator[bytes | Refused]:
        """The content of each member of a folder, or why there is none. What ends the whole archive is raised."""
        damage: Refused | None = None
        stream: Stream | None = None
        for size, checksum in folder.parts:
            if damage is None:
                try:
                    stream = stream or self._open_folder(folder, self._find_password(folder))
                    yield self._read_part(stream, size, checksum)
                    continue
                except Refused as exc:
                    if exc.code not in ("archive_corrupt", "archive_unsupported", "archive_memory",
                                        "archive_encrypted", "archive_password"):  # fmt: skip
                        raise
                    damage = exc
            yield damage

    def _read_part(self, stream: Stream, size: int, checksum: int | None) -> bytes | Refused:
        if size > self._limits["member_bytes"]:
            if not stream.skip(size):
                raise Refused("archive_corrupt", "cut short")
            return Refused("body_too_large", str(size))
        content = stream.read(size)
        if len(content) < size:
            raise Refused("archive_corrupt", "cut short")
        if checksum is not None and zlib.crc32(content) != checksum:
            return Refused("archive_corrupt", "checksum")
        return content

    def _find_password(self, folder: Folder) -> str | None:
        """The password for a folder, tried on its first member. Raises Refused."""
        if not any(method == AES for method, _ in folder.coders):
            return None
        if self._passwords.good is not None:
            return self._passwords.good
        if not self._locked:
            for password in self._passwords.list_candidates():
                if self._fits(folder, password):
                    self._passwords.good = password
                    return password
        self._locked = True
        raise self._passwords.refusal()

    def _fits(self, folder: Folder, password: str) -> bool:
        size, checksum = next((part for part in folder.parts if part[0]), (0, None))
        tried = min(size, self._limits["member_bytes"])
        try:
            data = self._open_folder(folder, password, Meter(self._size, self._limits)).read(tried)
        except Refused as exc:
            if exc.code != "archive_corrupt":
                raise
            return False
        return len(data) == tried and (tried < size or checksum in (None, zlib.crc32(data)))

    def _open_folder(self, folder: Folder, password: str | None, meter: Meter | None = None) -> Stream:
        """A folder's unpacked bytes. Raises Refused."""
        if not folder.coders:
            raise Refused("archive_unsupported", "an unknown method")
        coders = list(folder.coders)
        self._file.seek(folder.start)
        meter = meter or self._meter
        pieces = read_pieces(self._file, meter, folder.packed)
        if coders[0][0] == AES:
            cycles, salt, vector = read_7z_properties(coders.pop(0)[1])
            assert password is not None
            pieces = unlock_7z(pieces, self._find_key(password, cycles, salt), vector)
        if coders and coders[0][0] != COPY:
            pieces = unpack_stream(pieces, open_decoder(coders))
        elif len(coders) > 1:
            raise Refused("archive_unsupported", "a filter alone")
        return Stream(cut_pieces(pieces, folder.size), meter)

    def _find_key(self, password: str, cycles: int, salt: bytes) -> bytes:
        key = self._keys.get((password, cycles, salt))
        if key is None:
            self._passwords.spend_tries(KEY_TRIES)
            key = self._keys[password, cycles, salt] = derive_7z_key(password, cycles, salt)
        return key


def open_decoder(coders: list[tuple[bytes, bytes]]) -> Decoder:
    """One method that unpacks, and the filter behind it if it is LZMA2's. Raises Refused."""
    (method, properties), filters = coders[0], coders[1:]
    if method in OTHERS and not filters:
        return OTHERS[method]()
    lzma_method = LZMA_METHODS.get(method)
    if lzma_method is None or (filters and (lzma_method != LZMA2 or len(filters) > 1 or filters[0][0] not in FILTERS)):
        raise Refused("archive_unsupported", "an unknown method")
    chain: list[dict[str, Any]] = []
    if filters:
        chain.append({"id": FILTERS[filters[0][0]]})
        if filters[0][0] == b"\x03":
            chain[0]["dist"] = (filters[0][1] or b"\0")[0] + 1
    chain.append(read_lzma_properties(lzma_method, properties))
    if chain[-1]["dict_size"] > LARGEST_DICTIONARY:
        raise Refused("archive_memory", f"a dictionary of {chain[-1]['dict_size']} bytes")
    with refuse_failures():
        return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=chain)


def read_lzma_properties(method: int, data: bytes) -> dict[str, Any]:
    """7-Zip's DOC/lzma-specification.txt for LZMA; for LZMA2 one byte stands for the dictionary's size."""
    if method == LZMA2:
        if len(data) != 1 or data[0] > 40:
            raise Refused("archive_corrupt", "LZMA2 properties")
        size = 0xFFFFFFFF if data[0] == 40 else (2 | data[0] & 1) << (data[0] // 2 + 11)
        return {"id": method, "dict_size": size}
    if len(data) != 5 or data[0] >= 9 * 5 * 5:
        raise Refused("archive_corrupt", "LZMA properties")
    rest, lc = divmod(data[0], 9)
    pb, lp = divmod(rest, 5)
    size = max(4096, int.from_bytes(data[1:], "little"))
    return {"id": method, "dict_size": size, "lc": lc, "lp": lp, "pb": pb}


def unpack_stream(pieces: Iterator[bytes], decoder: Decoder) -> Iterator[bytes]:
    """One stream without a frame around it: LZMA has no end mark, so whoever reads stops at the declared size."""
    for piece in pieces:
        yield from drain_decoder(decoder, piece)
        if decoder.eof:
            return


def cut_pieces(pieces: Iterator[bytes], length: int) -> Iterator[bytes]:
    for piece in pieces:
        if len(piece) >= length:
            yield piece[:length]
            return
        length -= len(piece)
        yield piece
