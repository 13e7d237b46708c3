"""JPEG (ITU-T T.81, annex B): segments up to the first scan, then scans up to the end mark.

A decoder visits every block of a component once a scan, so the cost of a progressive picture is the
number of its scans times its blocks, whatever its size in bytes.
"""

import re
from dataclasses import dataclass, field

from vault.outlines.outline import MOST_EXIF, Outline
from vault.refusals import Refused

MOST_SEGMENTS = 20_000  # a 64 KB profile in 255 parts, an XMP packet in hundreds: writers make no more than a thousand
# Seconds, measured with libjpeg-turbo 3.2 on one core of a Xeon (model 167) at 39 megapixels: the dearest visit is that
# of a refining scan over 63 coefficients, the dearest byte one of correction bits
VISIT, BYTE, PIXEL, SCAN = 36e-9, 25e-9, 5e-9, 2e-6
BASELINE_BYTE, ARITHMETIC_BYTE = 12e-9, 150e-9
MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")  # none of entropy-coded data, none without a length
SOI, EOI, SOS, APP0, APP1, APP14, APP15, COM = 0xD8, 0xD9, 0xDA, 0xE0, 0xE1, 0xEE, 0xEF, 0xFE
FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
PROGRESSIVE, ARITHMETIC = frozenset({0xC2, 0xC6, 0xCA, 0xCE}), frozenset(range(0xC9, 0xD0))
START, END = b"\xff\xd8", b"\xff\xd9"


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """The frame header: how the picture is coded, its size, and the blocks of each component."""

    marker: int
    width: int
    height: int
    blocks: dict[int, int]


@dataclass(slots=True)
class Parts:
    """What is needed of a file. `first`, `end`: where its scans begin and end; `visits`: of blocks, by all scans;
    `whole`: the end mark was reached; `dropped`: there is more in it."""

    frame: Frame | None = None
    kept: list[bytes] = field(default_factory=list)
    first: int = 0
    end: int = 0
    scans: int = 0
    visits: int = 0
    whole: bool = False
    dropped: bool = False


def read_jpeg(data: bytes) -> Outline:
    """Raises Refused: image_corrupt, image_truncated, image_too_costly."""
    parts = gather_parts(data)
    frame = parts.frame
    if frame is None or not parts.first:
        raise Refused("image_corrupt" if parts.whole or not parts.kept else "image_truncated", "no scan in it")
    plain = parts.whole and not parts.dropped and parts.end + len(END) == len(data)
    content = data if plain else b"".join((START, *parts.kept, memoryview(data)[parts.first : parts.end], END))
    return Outline(
        content=content,
        width=frame.width,
        height=frame.height,
        seconds=parts.visits * VISIT
        + parts.scans * SCAN
        + len(content) * cost_byte(frame)
        + frame.width * frame.height * PIXEL,
        cut=not parts.whole,
    )


def gather_parts(data: bytes) -> Parts:
    """Go from marker to marker. Raises Refused: image_corrupt, image_too_costly."""
    parts, at = Parts(), len(START)
    for _ in range(MOST_SEGMENTS):
        found = MARKER.search(data, at)
        if found is None or found[1][0] in (SOI, EOI):
            parts.end = len(data) if found is None else found.start()
            parts.whole = found is not None and found[1][0] == EOI
            return parts
        marker, body = found[1][0], read_segment(data, found.end())
        if body is None:  # the file ends in it; what came before may be a picture
            parts.end = found.start()
            return parts
        if found.end() != at + 2:  # fill bytes, or others between segments
            parts.dropped = True
        at = found.end() + 2 + len(body)
        if marker == SOS:
            parts.first = parts.first or found.start()
            if note_scan(parts, body):  # no decoder reads on
                end = len(data) - len(END) if data.endswith(END) else data.find(END, at)
                parts.whole, parts.end = end >= at, len(data) if end < at else end
                return parts
        else:
            note_segment(parts, marker, body)
    raise Refused("image_too_costly", f"more than {MOST_SEGMENTS} segments")


def note_scan(parts: Parts, body: bytes) -> bool:
    """Count a scan; is it the only one of its picture? Raises Refused: image_corrupt."""
    if parts.frame is None or not body:
        raise Refused("image_corrupt", "a scan before its frame")
    blocks = parts.frame.blocks
    chosen = blocks.keys() & set(body[1 : 1 + 2 * body[0] : 2])
    parts.scans += 1
    parts.visits += sum(blocks[component] for component in chosen)
    return parts.frame.marker not in PROGRESSIVE and len(chosen) == len(blocks)


def note_segment(parts: Parts, marker: int, body: bytes) -> None:
    """Raises Refused: image_corrupt."""
    if marker in FRAMES:
        if parts.frame is not None:
            raise Refused("image_corrupt", "two frames")
        parts.frame = read_frame(marker, body)
    if parts.first:
        return
    if is_needed(marker, body, parts.kept):
        parts.kept.append(b"\xff%c%b%b" % (marker, (2 + len(body)).to_bytes(2), body))
    else:
        parts.dropped = True


def read_segment(data: bytes, at: int) -> bytes | None:
    """What follows a segment's length, or None where the file ends before it does. Raises Refused."""
    length = int.from_bytes(data[at : at + 2])
    if len(data) < at + 2 or len(data) < at + length:
        return None
    if length < 2:
        raise Refused("image_corrupt", "a segment without a length")
    return data[at + 2 : at + length]


def read_frame(marker: int, body: bytes) -> Frame:
    """Raises Refused: image_corrupt."""
    if len(body) < 6 or len(body) < 6 + 3 * body[5]:
        raise Refused("image_corrupt", "a frame header that is too short")
    height, width = int.from_bytes(body[1:3]), int.from_bytes(body[3:5])
    parts = [body[at : at + 3] for at in range(6, 6 + 3 * body[5], 3)]
    across, down = ([max(1, part[1] >> shift & 15) for part in parts] for shift in (4, 0))
    if not (width and height and parts):
        raise Refused("image_corrupt", f"{width} x {height}")
    blocks = {
        part[0]: count_blocks(width, own, max(across)) * count_blocks(height, own_down, max(down))
        for part, own, own_down in zip(parts, across, down, strict=True)
    }
    return Frame(marker=marker, width=width, height=height, blocks=blocks)


def count_blocks(length: int, factor: int, most: int) -> int:
    """Blocks of eight samples along a side of a component (T.81, A.1.1)."""
    samples = (length * factor + most - 1) // most
    return (samples + 7) // 8


def is_needed(marker: int, body: bytes, kept: list[bytes]) -> bool:
    """Tables, colours (JFIF, Adobe) and the first EXIF are; profiles, previews, further pictures, remarks are not."""
    if marker == APP1:
        return body.startswith(b"Exif\0\0") and len(body) < MOST_EXIF and not any(each[1] == APP1 for each in kept)
    return marker in (APP0, APP14) or not (APP0 <= marker <= APP15 or marker == COM)


def cost_byte(frame: Frame) -> float:
    if frame.marker in ARITHMETIC:
        return ARITHMETIC_BYTE
    return BYTE if frame.marker in PROGRESSIVE else BASELINE_BYTE
