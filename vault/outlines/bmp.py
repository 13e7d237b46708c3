"""BMP (Microsoft, "Bitmap Storage"): a header, perhaps a palette, rows. Missing rows are made up for by zeros."""

from vault.outlines.outline import Outline
from vault.refusals import Refused

FILE_HEADER, CORE_HEADER = 14, 12
RLE8, RLE4 = 1, 2
DEPTHS = (1, 2, 4, 8, 16, 24, 32)
# Seconds, measured on one core of a Xeon (model 167): runs are unpacked in Python by Pillow
BYTE, PIXEL, RUN_BYTE, RUN_PIXEL = 2e-9, 5e-9, 130e-9, 50e-9
ZEROS = b"\0\2\0\xff"  # a run of 255 rows further up, which are zeros


def read_bmp(data: bytes) -> Outline:
    """Raises Refused: image_corrupt, image_truncated."""
    length = int.from_bytes(data[FILE_HEADER : FILE_HEADER + 4], "little")
    if len(data) < FILE_HEADER + max(length, CORE_HEADER):
        raise Refused("image_truncated", "no picture in it")
    header = data[FILE_HEADER : FILE_HEADER + length]
    if length == CORE_HEADER:
        width, height = (int.from_bytes(header[at : at + 2], "little") for at in (4, 6))
        depth, packing = int.from_bytes(header[10:12], "little"), 0
    else:
        width, height = (int.from_bytes(header[at : at + 4], "little", signed=True) for at in (4, 8))
        depth, packing = int.from_bytes(header[14:16], "little"), int.from_bytes(header[16:20], "little")
    width, rows = abs(width), abs(height)
    if not (width and rows) or depth not in DEPTHS:
        raise Refused("image_corrupt", f"{width} x {rows}, {depth} bits")
    start = int.from_bytes(data[10:14], "little")
    if packing in (RLE8, RLE4):
        return outline_runs(data, width, rows)
    row = -(-width * depth // 32) * 4
    there = max(0, len(data) - start) // row
    return Outline(
        content=data,
        width=width,
        height=rows,
        seconds=min(len(data), rows * row) * BYTE + width * rows * PIXEL,
        cut=there < rows,
        bottom_up=height > 0,
        rows=min(there, rows),
    )


def outline_runs(data: bytes, width: int, height: int) -> Outline:
    """Runs, and enough of them behind the last to fill the picture: viewers take what is missing for zeros."""
    content = data + b"\0" * (len(data) % 2) + ZEROS * (height // 255 + 2)
    seconds = len(data) * RUN_BYTE + width * height * RUN_PIXEL
    return Outline(content=content, width=width, height=height, seconds=seconds, bottom_up=True)
