"""WebP (RFC 9649): chunks of a RIFF file. Of an animation the first frame is left; missing data become
zeros, which the decoder takes for blocks of one colour."""

from collections.abc import Iterator

from vault.outlines.outline import MOST_EXIF, Outline
from vault.refusals import Refused

MOST_PIXELS = 26_000_000  # Pillow's decoder holds a picture four times: 16 bytes a pixel, of the box's 448 MB
MOST_CHUNKS = 1000  # up to the first picture; further frames of an animation are not looked at
MOST_MISSING, MISSING_TIMES = 64 << 20, 31  # bytes, and times what is there
MORE_ZEROS = 64 << 10  # a block of zeros may take more bits than the one that is missing
# Seconds, measured with libwebp 1.6 on one core of a Xeon (model 167): lossy ones at 90, lossless ones with noise
BYTE, PIXEL = 30e-9, 20e-9
RIFF_HEAD, CHUNK_HEAD, FRAME_HEAD = 12, 8, 16
LOSSY, LOSSLESS, FRAME = b"VP8 ", b"VP8L", b"ANMF"
EXTENDED, ANIMATION, ALPHA, EXIF = b"VP8X", b"ANIM", b"ALPH", b"EXIF"


def read_webp(data: bytes) -> Outline:
    """Raises Refused: image_corrupt, image_truncated, image_too_costly."""
    kept: dict[bytes, bytes] = {}
    picture, share = b"", 1.0
    for kind, body, missing in list_chunks(data):
        if kind in (LOSSY, LOSSLESS, FRAME) and not picture:
            if missing > min(MOST_MISSING, MISSING_TIMES * len(body)):
                raise Refused("image_truncated", "hardly any of it is there")
            picture, share = kind, len(body) / max(1, len(body) + missing)
            kept[kind] = body + bytes(missing + MORE_ZEROS if missing else 0)
        elif not missing and (kind in (EXTENDED, ANIMATION, ALPHA) or (kind == EXIF and len(body) < MOST_EXIF)):
            kept.setdefault(kind, body)
    if not picture:
        raise Refused("image_truncated", "no picture in it")
    width, height = read_size(kept, picture)
    if width * height > MOST_PIXELS:
        raise Refused("image_too_large", f"{width} x {height} of a WebP")
    chunks = b"".join(write_chunk(kind, body) for kind, body in kept.items())
    return Outline(
        content=b"RIFF" + (4 + len(chunks)).to_bytes(4, "little") + b"WEBP" + chunks,
        width=width,
        height=height,
        seconds=len(chunks) * BYTE + width * height * PIXEL,
        cut=len(data) < 8 + int.from_bytes(data[4:8], "little"),
        rows=int(height * share),
    )


def list_chunks(data: bytes) -> Iterator[tuple[bytes, bytes, int]]:
    """(kind, content, how many bytes of it are missing). Raises Refused: image_too_costly."""
    at, has_picture = RIFF_HEAD, False
    for _ in range(MOST_CHUNKS):
        kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + CHUNK_HEAD], "little")
        if len(data) < at + CHUNK_HEAD:
            return
        body = data[at + CHUNK_HEAD : at + CHUNK_HEAD + size]
        yield kind, body, size - len(body)
        has_picture = has_picture or kind in (LOSSY, LOSSLESS, FRAME)
        at += CHUNK_HEAD + size + size % 2
    if not has_picture:
        raise Refused("image_too_costly", f"more than {MOST_CHUNKS} chunks")


def read_size(kept: dict[bytes, bytes], picture: bytes) -> tuple[int, int]:
    """Width and height of the canvas. Raises Refused: image_corrupt."""
    canvas, body = kept.get(EXTENDED, b""), kept[picture]
    if len(canvas) >= 10:
        return 1 + int.from_bytes(canvas[4:7], "little"), 1 + int.from_bytes(canvas[7:10], "little")
    if picture == LOSSY and body[3:6] == b"\x9d\x01\x2a" and len(body) >= 10:
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    if picture == LOSSLESS and body[:1] == b"\x2f" and len(body) >= 5:
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    raise Refused("image_corrupt", "no size in it")


def write_chunk(kind: bytes, body: bytes) -> bytes:
    return kind + len(body).to_bytes(4, "little") + body + b"\0" * (len(body) % 2)
