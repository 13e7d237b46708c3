"""Pictures that are small to send and long to decode, each drawn by a few lines."""

import struct
import zlib

SIDE = 6300  # 39.7 megapixels, within the cap


def segment(marker: int, body: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


def pack_bits(bits: str) -> bytes:
    """Entropy-coded data of JPEG, padded by ones and stuffed."""
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8).replace(b"\xff", b"\xff\0")


def begin_jpeg(frame: int, side: int, restart: int = 0) -> bytes:
    """Everything of a grey JPEG before its scans; the one AC symbol is the longest run of empty blocks."""
    tables = segment(0xDB, b"\0" + bytes([16] * 64)) + segment(
        frame, struct.pack(">BHHB3s", 8, side, side, 1, b"\1\x11\0")
    )
    tables += segment(0xC4, bytes([0x00, 1, *[0] * 15, 0x00])) + segment(0xC4, bytes([0x10, 1, *[0] * 15, 0xE0]))
    return b"\xff\xd8" + tables + (segment(0xDD, struct.pack(">H", restart)) if restart else b"")


def draw_scans(count: int, side: int = SIDE, frame: int = 0xC2, restart: int = 0) -> bytes:
    """A JPEG of one scan and `count` that refine it; all blocks are empty."""
    left, bits = (-(-side // 8)) ** 2, ""
    while left > 0:
        run = min(left, 32_767)
        bits += "0" + format(max(run, 16_384) - 16_384, "014b")
        left -= run
    scan = pack_bits(bits)
    first = segment(0xDA, bytes([1, 1, 0, 1, 63, 0x01])) + scan
    refining = segment(0xDA, bytes([1, 1, 0, 1, 63, 0x10])) + scan
    return begin_jpeg(frame, side, restart) + first + refining * count + b"\xff\xd9"


def draw_segments(count: int, marker: int) -> bytes:
    """A JPEG with many empty segments before its scan."""
    scan = segment(0xDA, bytes([1, 1, 0, 0, 63, 0])) + b"\x3f"
    return begin_jpeg(0xC0, 64) + segment(marker, b"") * count + scan + b"\xff\xd9"


def write_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_png(
    width: int, height: int, data: bytes, *, more: bytes = b"", piece: int = 1 << 30, interlaced: int = 0
) -> bytes:
    """An RGB PNG of packed rows, in IDAT chunks of `piece` bytes, with other chunks before them."""
    head = write_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, interlaced))
    pixels = b"".join(write_chunk(b"IDAT", data[at : at + piece]) for at in range(0, len(data), piece))
    return b"\x89PNG\r\n\x1a\n" + head + more + pixels + write_chunk(b"IEND", b"")


def draw_rows(width: int, height: int) -> bytes:
    """Packed rows of an RGB PNG that are not of one colour."""
    row = b"\0" + bytes(number % 251 for number in range(3 * width))
    return zlib.compress(row * height)


def draw_runs(side: int) -> bytes:
    """A BMP whose rows are runs of one pixel."""
    runs = (b"\1\5" * side + b"\0\0") * side
    sizes = struct.pack("<IHHI", 14 + 40 + 1024 + len(runs), 0, 0, 14 + 40 + 1024)
    head = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(runs), 0, 0, 256, 0)
    return b"BM" + sizes + head + bytes(range(256)) * 4 + runs


def split_gif(data: bytes, before: bytes = b"") -> bytes:
    """A GIF without a palette of its own for the picture, its data in blocks of one byte, with more before it."""
    start = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    at = data.index(b"\x2c", start) + 11
    packed = b""
    while data[at]:
        packed += data[at + 1 : at + 1 + data[at]]
        at += 1 + data[at]
    image = data[data.index(b"\x2c", start) :][:11]
    return data[:start] + before + image + b"".join(bytes([1, each]) for each in packed) + b"\0;"
