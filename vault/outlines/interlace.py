"""Interlaced pictures that end early: a pixel that did not come is shown as the nearest one left of it and above that
did, as viewers do."""

import zlib

from PIL import Image

from vault import formats
from vault.outlines.png import HEAD_BYTES, SAMPLES, SIGNATURE

ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
GRIDS = ((8, 8), (4, 8), (4, 4), (2, 4), (2, 2), (1, 2), (1, 1))  # after each pass one pixel in so many is there
GIF_PASSES = ((0, 8), (4, 8), (2, 4), (1, 2))  # first row, step
PIECE = 1024


def fill_gaps(name: str, content: bytes, picture: Image.Image) -> None:
    """Fill, in place, what the interlaced picture lacks that was decoded of `content`."""
    if name == formats.GIF:
        fill_lines(picture)
    elif name == formats.PNG and not picture.mode.startswith("I"):
        for top, grid in list_grids(content, *picture.size):
            fill_grid(picture, top, *grid)


def list_grids(content: bytes, width: int, height: int) -> list[tuple[int, tuple[int, int]]]:
    """From which row on only the pixels of a coarser grid are there: of a PNG that ends in the middle of a pass."""
    start = len(SIGNATURE) + 8
    head = content[start : start + HEAD_BYTES]
    pixel_bits = SAMPLES[head[9]] * head[8]
    passes = []  # (bytes of a row, rows)
    for first, top, across, down in ADAM7:
        columns, rows = max(0, -(-(width - first) // across)), max(0, -(-(height - top) // down))
        passes.append((1 + -(-columns * pixel_bits // 8) if columns else 0, rows))
    left = count_unpacked(content, sum(row_bytes * rows for row_bytes, rows in passes))
    for number, (row_bytes, rows) in enumerate(passes):
        if left < rows * row_bytes:
            done = left // row_bytes * ADAM7[number][3]  # rows of the picture that this pass has reached
            before = [(done, GRIDS[number - 1])] if number else []
            return [*before, (0, GRIDS[number])] if done else before
        left -= rows * row_bytes
    return []


def count_unpacked(content: bytes, most: int) -> int:
    """Bytes that come out of a PNG's pixels, up to where they end or are damaged, or there are enough."""
    decoder, count = zlib.decompressobj(), 0
    try:
        for at in range(content.index(b"IDAT") + 4, len(content), PIECE):
            count += len(decoder.decompress(content[at : at + PIECE]))
            if count >= most:
                break
    except zlib.error:
        pass
    return count


def fill_grid(picture: Image.Image, top: int, across: int, down: int) -> None:
    """From row `top` on, spread each pixel of the grid over its cell."""
    top -= top % down
    part = picture.crop((0, top, *picture.size))
    columns, rows = -(-part.width // across), -(-part.height // down)
    matrix = (across, 0, 0.5 - across / 2, 0, down, 0.5 - down / 2)  # its centres are those of the grid's pixels
    known = part.transform((columns, rows), Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST)
    cells = known.resize((columns * across, rows * down), Image.Resampling.NEAREST)
    picture.paste(cells.crop((0, 0, *part.size)), (0, top))


def fill_lines(picture: Image.Image) -> None:
    """Rows of a GIF that hold nothing at the end of the last passes become those above them."""
    for row, above in list_empty(picture):
        picture.paste(picture.crop((0, above, picture.width, above + 1)), (0, row))


def list_empty(picture: Image.Image) -> list[tuple[int, int]]:
    """(row, the row above it that came in an earlier pass) of the rows at the file's end that are of one colour."""
    order = [(row, row - row % step) for first, step in GIF_PASSES for row in range(first, picture.height, step)]
    there = len(order)
    while there and is_flat(picture, order[there - 1][0]):
        there -= 1
    return order[there:]


def is_flat(picture: Image.Image, row: int) -> bool:
    """Is a row of a palette's or grey picture of one colour?"""
    low, high = picture.crop((0, row, picture.width, row + 1)).getextrema()
    return bool(low == high)
