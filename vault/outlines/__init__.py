"""Outlines of pictures, inside the box only: markers and chunks are read, nothing is decoded.

In come hostile bytes of one of the five formats, out comes an `Outline`: size, foreseen cost, whether
the file is whole, and a plain copy of the picture for the decoder: one frame, no metadata but the
orientation, one chunk of data, an end. So neither texts, profiles nor further frames cost anything, a
damaged tail is mended in one place, and a picture of 12 KB that decodes for an hour is refused within
milliseconds. Each reader counts the parts it meets and gives up at its cap: reading an outline is cheap.
"""

from collections.abc import Callable

from vault import formats
from vault.outlines.bmp import read_bmp
from vault.outlines.gif import read_gif
from vault.outlines.interlace import fill_gaps
from vault.outlines.jpeg import read_jpeg
from vault.outlines.outline import Outline
from vault.outlines.png import read_png
from vault.outlines.webp import read_webp

__all__ = ["Outline", "fill_gaps", "read_outline"]

READERS: dict[str, Callable[[bytes], Outline]] = {
    formats.JPEG: read_jpeg,
    formats.PNG: read_png,
    formats.GIF: read_gif,
    formats.WEBP: read_webp,
    formats.BMP: read_bmp,
}


def read_outline(name: str, data: bytes) -> Outline:
    """The outline of a file of the format `name`. Raises Refused: image_corrupt, image_truncated (it ends before it
    says how large it is), image_too_costly (more parts than any writer makes)."""
    return READERS[name](data)
