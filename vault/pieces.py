"""Pictures that lie in other bytes: in come bytes, out comes where pictures begin and end in them.

Only formats that are read, and only by signatures that no text has. Pure; nothing is decoded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vault.formats import BMP, BMP_HEADERS, GIF, JPEG, PNG, WEBP

MOST_PICTURES = 10_000  # of one file
MOST_SEGMENTS = 2_000  # of a JPEG before its first scan
MOST_BLOCKS = 300_000  # of a GIF: 64 MB
MOST_ENDS = 4  # an end mark of JPEG may also stand in a table between its scans
JPEG_START, JPEG_END, PNG_START, PNG_END = b"\xff\xd8\xff", b"\xff\xd9", b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
# signature -> format, and how many bytes of it come before
SIGNATURES = {
    JPEG_START: (JPEG, 0), PNG_START: (PNG, 0), b"GIF87a": (GIF, 0), b"GIF89a": (GIF, 0), b"WEBPVP8": (WEBP, 8),
}  # fmt: skip
SOS = 0xDA
GIF_EXTENSION, GIF_IMAGE, GIF_END = 0x21, 0x2C, 0x3B


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A picture in other bytes. `ends`: where it may end, in order; the last is where the bytes end."""

    name: str
    start: int
    ends: tuple[int, ...]


def find_pieces(data: bytes) -> Iterator[Piece]:
    """The pictures in these bytes, in order; not those that lie in another one, as previews do."""
    if is_bmp(data):
        yield Piece(name=BMP, start=0, ends=list_ends(BMP, data, 0))
        return
    at = 0
    coming = {magic: find_start(data, magic, at) for magic in SIGNATURES}
    for _ in range(MOST_PICTURES):
        for magic, start in coming.items():  # each is looked for once more only behind what was found
            if start < at:
                coming[magic] = find_start(data, magic, at)
        magic, start = min(coming.items(), key=lambda each: each[1])
        if start == len(data):
            return
        name = SIGNATURES[magic][0]
        yield (piece := Piece(name=name, start=start, ends=list_ends(name, data, start)))
        at = piece.ends[0]


def find_start(data: bytes, magic: bytes, at: int) -> int:
    """Where the next picture with this signature begins; the length of the data if there is none."""
    name, before = SIGNATURES[magic]
    found = at + before - 1
    while (found := data.find(magic, found + 1)) >= 0:
        if is_picture_at(name, data, found - before):
            return found - before
    return len(data)


def is_picture_at(name: str, data: bytes, start: int) -> bool:
    """Does what follows the signature look like its format? Text may hold a signature's letters."""
    if name == JPEG:
        length = int.from_bytes(data[start + 4 : start + 6])
        after = start + 4 + length
        return length >= 2 and data[start + 3] >= 0xC0 and data[after : after + 1] == b"\xff"
    if name == GIF:
        head = data[start : start + 13]
        after = start + 13 + count_palette(head[10]) if len(head) == 13 else len(data)
        return len(head) == 13 and (after >= len(data) or data[after] in (GIF_EXTENSION, GIF_IMAGE))
    return name != WEBP or data[start : start + 4] == b"RIFF"


def is_bmp(data: bytes) -> bool:
    """At the beginning only: elsewhere two letters say too little."""
    return data[:2] == b"BM" and len(data) > 26 and int.from_bytes(data[14:18], "little") in BMP_HEADERS


def list_ends(name: str, data: bytes, start: int) -> tuple[int, ...]:
    ends: list[int] = []
    if name == JPEG:
        ends = list_jpeg_ends(data, start)
    elif name == PNG:
        found = data.find(PNG_END, start)
        ends = [found + len(PNG_END)] if found >= 0 else []
    elif name == GIF:
        ends = [end] if (end := find_gif_end(data, start)) else []
    elif name == WEBP:
        ends = [start + 8 + int.from_bytes(data[start + 4 : start + 8], "little")]
    elif name == BMP:
        ends = [start + int.from_bytes(data[start + 2 : start + 6], "little")]
    inside = [end for end in ends if start + 16 < end < len(data)]
    return (*dict.fromkeys(inside), len(data))


def cut_out(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Each picture in these bytes, (format, content), without what does not belong to it."""
    pieces = list(find_pieces(data))
    for piece, limit in zip(pieces, list_limits(data, pieces), strict=True):
        if piece.start == 0 and limit == len(data):
            yield piece.name, data
        else:
            yield piece.name, data[piece.start : choose_end(piece, data, limit)]


def list_limits(data: bytes, pieces: Sequence[Piece]) -> list[int]:
    """Of each where the next one begins, or the bytes end."""
    return [*(piece.start for piece in pieces[1:]), len(data)][: len(pieces)]


def choose_end(piece: Piece, data: bytes, limit: int) -> int:
    """Where a picture ends that has others behind it, from `limit` on."""
    if piece.name == WEBP:  # its size is a claim
        return limit
    if piece.name == JPEG:  # the last mark: an earlier one may stand in a table
        found = data.rfind(JPEG_END, piece.start, limit)
        return limit if found < 0 else found + len(JPEG_END)
    return min(piece.ends[0], limit)


def is_whole(data: bytes) -> bool:
    """Is there an end to the first picture in these bytes?"""
    piece = next(find_pieces(data), None)
    if piece is None:
        return False
    ends = {JPEG: JPEG_END, PNG: PNG_END, GIF: bytes([GIF_END])}
    return len(piece.ends) > 1 or data.endswith(ends.get(piece.name, b""))


def list_jpeg_ends(data: bytes, start: int) -> list[int]:
    """ITU-T T.81, annex B: segments up to the first scan; in a scan 0xFF is never followed by the end's mark."""
    at = start + 2
    for _ in range(MOST_SEGMENTS):
        if data[at : at + 1] != b"\xff" or len(data) < at + 4:
            break
        is_scan = data[at + 1] == SOS
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
        if is_scan:
            break
    ends: list[int] = []
    while len(ends) < MOST_ENDS and (at := data.find(JPEG_END, at)) >= 0:
        at += len(JPEG_END)
        ends.append(at)
    return ends


def find_gif_end(data: bytes, start: int) -> int:
    """GIF89a: blocks up to the trailer; 0 where there is none."""
    at, size = start + 13 + count_palette(data[start + 10]), len(data)
    for _ in range(MOST_BLOCKS):
        kind = data[at] if at < size else -1
        if kind == GIF_END:
            return at + 1
        if kind == GIF_EXTENSION:
            at += 2
        elif kind == GIF_IMAGE and at + 9 < size:
            at += 11 + count_palette(data[at + 9])
        else:
            return 0
        while at < size and data[at]:  # sub-blocks
            at += 1 + data[at]
        at += 1
    return 0


def count_palette(flags: int) -> int:
    """Bytes of the palette that the flags announce."""
    return 3 << (flags & 0x07) + 1 if flags & 0x80 else 0


def measure(name: str, data: bytes) -> tuple[int, int] | None:
    """Width and height by the header of a picture that begins here; None where it does not say."""
    if name == PNG and len(data) >= 24:
        return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    if name == GIF and len(data) >= 10:
        return int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    if name == BMP and len(data) >= 26:
        if data[14] == 12:
            return int.from_bytes(data[18:20], "little"), int.from_bytes(data[20:22], "little")
        sides = (int.from_bytes(data[at : at + 4], "little", signed=True) for at in (18, 22))
        return next(sides), abs(next(sides))
    if name == WEBP:
        return measure_webp(data)
    return measure_jpeg(data) if name == JPEG else None


def measure_webp(data: bytes) -> tuple[int, int] | None:
    """RFC 9649, sections 2.5 to 2.7."""
    if len(data) < 30:
        return None
    if data[12:16] == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF


def measure_jpeg(data: bytes) -> tuple[int, int] | None:
    """The first frame header; a preview's lies in a segment and is passed over."""
    at = 2
    for _ in range(MOST_SEGMENTS):
        if len(data) < at + 9 or data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(data[at + 7 : at + 9]), int.from_bytes(data[at + 5 : at + 7])
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return None
