"""What a picture file says of itself before a pixel is decoded."""

from dataclasses import dataclass

MOST_EXIF = 64 << 10  # bytes: a segment of JPEG holds no more, and only the orientation is asked for


@dataclass(frozen=True, kw_only=True, slots=True)
class Outline:
    """`content`: the same picture for the decoder, without what it does not need; `seconds`: how long decoding takes
    at most on the machine that the constants were measured on; `cut`: the file ends early or is damaged; `bottom_up`,
    `interlaced`: the order of its rows; `rows`: at most so many of them are there."""

    content: bytes
    width: int
    height: int
    seconds: float
    cut: bool = False
    bottom_up: bool = False
    interlaced: bool = False
    rows: int = 1 << 31
