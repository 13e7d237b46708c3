"""GIF (GIF89a specification, 1990): the first picture, with its palette and transparency, and nothing behind it."""

from vault.outlines.outline import Outline
from vault.refusals import Refused

MOST_BLOCKS = 300_000  # sub-blocks of at most 255 bytes up to the end of the first picture: 64 MB in full ones
# Seconds, measured with Pillow's decoder on one core of a Xeon (model 167) at 39 megapixels
BYTE, PIXEL = 30e-9, 10e-9
HEAD_BYTES, IMAGE_BYTES = 13, 10
EXTENSION, IMAGE, END = 0x21, 0x2C, 0x3B
CONTROL = 0xF9  # the graphic control extension: transparency
PALETTE, PALETTE_SIZE, INTERLACED = 0x80, 0x07, 0x40  # flags


def read_gif(data: bytes) -> Outline:
    """Raises Refused: image_corrupt, image_truncated, image_too_costly."""
    walk = Walk(data, HEAD_BYTES)
    if len(data) < HEAD_BYTES:
        raise Refused("image_truncated", "no picture in it")
    walk.at += count_palette(data[10])
    head, control = data[: walk.at], b""
    while (kind := walk.peek()) == EXTENSION:
        start = walk.at
        walk.at += 2
        walk.skip_blocks()
        if data[start + 1 : start + 2] == bytes([CONTROL]):
            control = data[start : walk.at]
    if kind != IMAGE:
        raise Refused("image_corrupt" if kind == END else "image_truncated", "no picture in it")
    start = walk.at
    image = data[start : start + IMAGE_BYTES]
    if len(image) < IMAGE_BYTES:
        raise Refused("image_truncated", "no picture in it")
    walk.at += IMAGE_BYTES + count_palette(image[9]) + 1
    whole = walk.skip_blocks()
    end = walk.at
    left, top, across, down = (int.from_bytes(image[at : at + 2], "little") for at in (1, 3, 5, 7))
    width = max(int.from_bytes(head[6:8], "little"), left + across)
    height = max(int.from_bytes(head[8:10], "little"), top + down)
    if not (width and height):
        raise Refused("image_corrupt", f"{width} x {height}")
    content = b"".join((head, control, data[start:end], b"" if whole else b"\0", bytes([END])))
    return Outline(
        content=content,
        width=width,
        height=height,
        seconds=len(content) * BYTE + width * height * PIXEL,
        cut=not whole or walk.peek() < 0,  # a last byte that is missing, too
        interlaced=bool(image[9] & INTERLACED),
    )


def count_palette(flags: int) -> int:
    """Bytes of the palette that the flags announce."""
    return 3 << (flags & PALETTE_SIZE) + 1 if flags & PALETTE else 0


class Walk:
    """A place in the file; sub-blocks passed over are counted."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self.at, self._left = data, at, MOST_BLOCKS

    def peek(self) -> int:
        """The next byte; -1 at the end. Zeros between blocks are passed over, as viewers do."""
        while self.at < len(self._data) and not self._data[self.at] and self._left:
            self.at, self._left = self.at + 1, self._left - 1
        return self._data[self.at] if self.at < len(self._data) else -1

    def skip_blocks(self) -> bool:
        """Go behind a run of sub-blocks; False, and the place of the last whole one, where the file ends in it. Raises
        Refused: image_too_costly."""
        data, at, end = self._data, self.at, len(self._data)
        for left in range(self._left, 0, -1):
            after = at + 1 + data[at] if at < end else end + 1
            if after > end:
                self.at, self._left = at, left
                return False
            if after == at + 1:
                self.at, self._left = after, left
                return True
            at = after
        raise Refused("image_too_costly", f"more than {MOST_BLOCKS} blocks")
