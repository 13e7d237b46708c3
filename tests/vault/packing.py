"""Archives for the tests, good and hostile: zip, tar and 7z from their smallest parts."""

import bz2
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence

import py7zr
from backports import zstd

Files = Sequence[tuple[str, bytes]]

PACK: dict[str, Callable[[bytes], bytes]] = {
    "tar": bytes,
    "gzip": lambda data: zlib.compress(data, wbits=31),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd.compress,
}
SEVEN_METHODS: dict[str, list[dict[str, int]]] = {
    "7z": [{"id": py7zr.FILTER_LZMA2, "preset": 1}],
    "7z-lzma": [{"id": py7zr.FILTER_LZMA, "preset": 1}],
    "7z-x86": [{"id": py7zr.FILTER_X86}, {"id": py7zr.FILTER_LZMA2, "preset": 1}],
    "7z-delta": [{"id": py7zr.FILTER_DELTA}, {"id": py7zr.FILTER_LZMA2, "preset": 1}],
    "7z-copy": [{"id": py7zr.FILTER_COPY}],
    "7z-bzip2": [{"id": py7zr.FILTER_BZIP2}],
    "7z-deflate": [{"id": py7zr.FILTER_DEFLATE}],
    "7z-zstd": [{"id": py7zr.FILTER_ZSTD}],
}
KINDS = ["zip", *PACK, *SEVEN_METHODS]
BLOCK = 512


def pack(kind: str, files: Files) -> bytes:
    """An archive of any kind as ordinary tools make it."""
    if kind == "zip":
        return pack_zip(files)
    if kind in PACK:
        return PACK[kind](pack_tar(files))
    return pack_7z(files, SEVEN_METHODS[kind])


def pack_zip(files: Files, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files:
            archive.writestr(zipfile.ZipInfo(name) if "\\" in name or name.startswith("/") else name, data, method)
    return out.getvalue()


def pack_7z(files: Files, filters: list[dict[str, int]], password: str | None = None, hidden: bool = False) -> bytes:
    out = io.BytesIO()
    with py7zr.SevenZipFile(out, "w", filters=filters, password=password, header_encryption=hidden) as archive:
        for name, data in files:
            archive.writef(io.BytesIO(data), name)
    return out.getvalue()


# -- tar ---------------------------------------------------------------------------------------------------------------


def pack_tar(files: Files, format: int = tarfile.PAX_FORMAT) -> bytes:  # noqa: A002
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def entry(name: str = "a", data: bytes = b"", kind: bytes = tarfile.REGTYPE, size: int | None = None) -> bytes:
    """A tar's header and data, padded; `size` is what the header says."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data) if size is None else size
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % BLOCK)


def seal_tar(block: bytes) -> bytes:
    """The header with its checksum made right."""
    plain = block[:148] + b" " * 8 + block[156:BLOCK]
    return block[:148] + b"%06o\0 " % sum(plain) + block[156:]


def pax(**records: str) -> bytes:
    data = b""
    for key, value in records.items():
        text = f" {key.replace('__', '.')}={value}\n".encode()
        length = len(text) + len(str(len(text) + 2))
        data += str(length).encode() + text
    return entry("pax", data, tarfile.XHDTYPE)


END = bytes(2 * BLOCK)


# -- 7z ----------------------------------------------------------------------------------------------------------------


def number(value: int) -> bytes:
    """7-Zip's numbers, in their longest form where one byte is not enough."""
    return bytes((value,)) if value < 0x80 else b"\xff" + struct.pack("<Q", value)


def coder(method: bytes, properties: bytes = b"") -> bytes:
    flags = len(method) | (0x20 if properties else 0)
    return bytes((flags,)) + method + (number(len(properties)) + properties if properties else b"")


LZMA2_CODER = coder(b"\x21", b"\x10")


def pack_lzma2(data: bytes) -> bytes:
    return lzma.compress(data, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}])


def streams(
    packed: Iterable[int],
    folders: Sequence[bytes],
    sizes: Iterable[int],
    counts: Sequence[int] = (),
    parts: bytes = b"",
) -> bytes:
    """Streams info: packed sizes, folders (their coders as bytes), unpacked sizes, members in each."""
    packed = list(packed)
    data = b"\x06" + number(0) + number(len(packed)) + b"\x09" + b"".join(map(number, packed)) + b"\x00"
    data += b"\x07\x0b" + number(len(folders)) + b"\x00" + b"".join(folders)
    data += b"\x0c" + b"".join(map(number, sizes)) + b"\x00"
    if counts:
        data += b"\x08\x0d" + b"".join(map(number, counts)) + parts + b"\x00"
    return data + b"\x00"


def names(*each: str) -> bytes:
    data = b"\x00" + "".join(name + "\0" for name in each).encode("utf-16-le")
    return number(len(each)) + b"\x11" + number(len(data)) + data


def header(main: bytes, files: bytes) -> bytes:
    return b"\x01\x04" + main + b"\x05" + files + b"\x00\x00"


def seal_7z(packed: bytes, head: bytes, length: int | None = None) -> bytes:
    start = struct.pack("<QQI", len(packed), len(head) if length is None else length, zlib.crc32(head))
    return b"7z\xbc\xaf\x27\x1c\x00\x04" + struct.pack("<I", zlib.crc32(start)) + start + packed + head


def simple_7z(
    packed: bytes, size: int, one: bytes = b"\x01" + LZMA2_CODER, extra: bytes = b"", packed_size: int | None = None
) -> bytes:
    """One member in one folder."""
    length = len(packed) if packed_size is None else packed_size
    return seal_7z(packed, header(streams([length], [one], [size]), names("a.jpg") + extra))
