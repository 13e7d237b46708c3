"""Pictures, inside the box only: in come hostile bytes, out come upright 8-bit RGB pixels, a mosaic, or a refusal.

A file's outline is read first (`vault/outlines`): what is too large, or would take too long, is refused before a
pixel is decoded. One decoder for everything, Pillow with a closed list of formats: on 250 px JPEGs it took 0.26 ms
against 0.18 for its header and OpenCV's decoder, gave the same pixels, and knows CMYK, 16-bit and palettes; so OpenCV's
decoders stay out. A file that ends early or is damaged is shown as far as it goes, as viewers do.
"""

import contextlib
import io
from dataclasses import dataclass

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageChops,
    ImageFile,
    ImagePalette,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from vault import formats
from vault.outlines import Outline, fill_gaps, read_outline
from vault.refusals import Refused

# What Pillow would load later, when it no longer can: TIFF's reader is also EXIF's.
LOADED = (
    BmpImagePlugin, GifImagePlugin, ImageChops, ImagePalette, JpegImagePlugin, PngImagePlugin, TiffImagePlugin,
    WebPImagePlugin,
)  # fmt: skip
DECODERS = {formats.JPEG: "JPEG", formats.PNG: "PNG", formats.WEBP: "WEBP", formats.GIF: "GIF", formats.BMP: "BMP"}
MOST_PIXELS = 40_000_000
MOST_SECONDS = 2.0  # foreseen; 40 MP of a camera take 0.2 to 1.0, and ITEM_SECONDS of the box end what was not foreseen
LONGEST_SIDE = 12_000
SHORTEST_SIDE = 16  # no face the detector finds is smaller
ORIENTATION = 0x0112  # EXIF tag (CIPA DC-008, section 4.6.4)
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
GREY_SIDE = 32
MOSAIC_BLOCKS = 6  # at most: more of them name people (tests/vault/test_mosaic.py measures it)
MOSAIC_REACH = 0.6  # of the face's longer side, from its centre to each edge of the crop

Image.MAX_IMAGE_PIXELS = None  # our own caps are checked from the header, and are lower


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """A picture upright, 8-bit RGB, and its size before scaling, in pixels. `truncated`: its file ends early or is
    damaged, and this is what a viewer shows of it; `shown`: the share of its rows that hold anything."""

    picture: Image.Image
    size: tuple[int, int]
    truncated: bool = False
    shown: float = 1.0


def open_picture(data: bytes, long_side: int) -> Opened:
    """Decode at no more than `long_side` pixels a side. Raises Refused."""
    if not data:
        raise Refused("body_empty")
    name, start = formats.find_picture(data)
    if name not in formats.READ:
        raise Refused("format_not_allowed", name)
    outline = read_outline(name, data[start:])
    check_outline(outline)
    try:
        return decode(name, outline, long_side, truncated=outline.cut)
    except MemoryError:
        raise
    except Exception as exc:
        cut = outline.cut or "truncated" in str(exc) or isinstance(exc, EOFError)
        refusal = Refused("image_truncated" if cut else "image_corrupt", type(exc).__name__)
        if outline.cut:
            raise refusal from exc
    try:
        return decode(name, outline, long_side, truncated=True)
    except MemoryError:
        raise
    except Exception as exc:
        raise refusal from exc


def check_outline(outline: Outline) -> None:
    """Raises Refused for what is not to be decoded."""
    width, height = outline.width, outline.height
    if width * height > MOST_PIXELS or max(width, height) > LONGEST_SIDE:
        raise Refused("image_too_large", f"{width} x {height}")
    if min(width, height) < SHORTEST_SIDE:
        raise Refused("image_too_small", f"{width} x {height}")
    if outline.rows < SHORTEST_SIDE:
        raise Refused("image_truncated", f"{outline.rows} of {height} rows")
    if outline.seconds > MOST_SECONDS:
        raise Refused("image_too_costly", f"about {outline.seconds:.0f} s")


def decode(name: str, outline: Outline, long_side: int, *, truncated: bool) -> Opened:
    """The pixels; where `truncated`, as far as they go. Raises Refused, and whatever the decoder raises."""
    file = Image.open(io.BytesIO(outline.content), formats=[DECODERS[name]])
    if name == formats.JPEG:
        file.draft("RGB", (long_side, long_side))
    ImageFile.LOAD_TRUNCATED_IMAGES = truncated
    file.load()  # before EXIF is asked for: that would load too, and a load that failed is not repeated
    if truncated and outline.interlaced:
        fill_gaps(name, outline.content, file)
    turn = read_orientation(file)
    picture = to_rgb(shrink(file, long_side))
    shown = measure_shown(picture, outline) if truncated else 1.0
    size = outline.width, outline.height
    if turn is not None and turn in TURNS:
        picture = picture.transpose(TURNS[turn])
        size = (size[1], size[0]) if turn >= 5 else size
    return Opened(picture=picture, size=size, truncated=truncated, shown=shown)


def measure_shown(picture: Image.Image, outline: Outline) -> float:
    """The share of rows of a truncated picture that are more than what the decoder fills the rest with: the colour of
    its last pixel. Raises Refused where they could not hold a face."""
    last = (0, 0) if outline.bottom_up else (picture.width - 1, picture.height - 1)
    rest = Image.new("RGB", picture.size, picture.getpixel(last))
    left, top, right, bottom = ImageChops.difference(picture, rest).getbbox() or (0, 0, 0, 0)
    share = min((bottom - top) / picture.height, outline.rows / outline.height)
    if min(share * outline.height, (right - left) / picture.width * outline.width) < SHORTEST_SIDE:
        raise Refused("image_truncated", f"{share:.0%} of it is there")
    return share


def read_orientation(file: Image.Image) -> int | None:
    try:
        return file.getexif().get(ORIENTATION)
    except MemoryError:
        raise
    except Exception:  # damaged EXIF says nothing about the pixels
        return None


def shrink(picture: Image.Image, long_side: int) -> Image.Image:
    longest = max(picture.size)
    if picture.mode.startswith("I"):  # 16-bit grey, by its high byte; it cannot be averaged as it is
        picture = picture.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if longest <= long_side:
        return picture
    if picture.mode in ("P", "1"):  # palettes and bits cannot be averaged
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    size = (max(1, round(picture.width * long_side / longest)), max(1, round(picture.height * long_side / longest)))
    return picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def to_rgb(picture: Image.Image) -> Image.Image:
    """8-bit RGB as a viewer would show it: transparency over white."""
    if picture.mode == "RGB":
        return picture
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGB", picture.size, (255, 255, 255))
        white.paste(picture, mask=picture.getchannel("A"))
        return white
    return picture.convert("RGB")


def shrink_to_grey(picture: Image.Image) -> bytes:
    """The picture's luminance at 32 x 32, one byte a pixel: what its perceptual hash is made of (`vault/phash.py`)."""
    grey = picture.convert("L")
    return grey.resize((GREY_SIDE, GREY_SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0).tobytes()


def make_mosaic(data: bytes, box: list[float], side: int) -> bytes:
    """The square around `box` (x, y, width, height) as at most 6 x 6 flat blocks, smoothed to side x side: a PNG.

    The whole crop is averaged, not the face alone, so nothing beside it can be recognised either.
    """
    opened = open_picture(data, LONGEST_SIDE)
    picture = opened.picture
    scale = picture.width / opened.size[0]
    x, y, w, h = (value * scale for value in box)
    reach = max(w, h, 1.0) * MOSAIC_REACH
    left, top = max(0, round(x + w / 2 - reach)), max(0, round(y + h / 2 - reach))
    right, bottom = min(picture.width, round(x + w / 2 + reach)), min(picture.height, round(y + h / 2 + reach))
    if right - left < 1 or bottom - top < 1:
        raise Refused("image_corrupt", "the box lies outside the picture")
    crop = picture.crop((left, top, right, bottom))
    longest = max(crop.size)
    blocks = [max(1, int(MOSAIC_BLOCKS * length / longest)) for length in crop.size]
    small = crop.resize((blocks[0], blocks[1]), Image.Resampling.BOX)
    shown = [max(1, round(side * length / longest)) for length in crop.size]
    out = io.BytesIO()
    small.resize((shown[0], shown[1]), Image.Resampling.BICUBIC).save(out, "PNG")
    return out.getvalue()


def warm_up() -> None:
    """Decode one picture of each format, so that nothing is loaded after the lock-down."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    for name in DECODERS.values():
        out = io.BytesIO()
        drawn = Image.linear_gradient("L").resize((32, 32)).convert("RGB")
        drawn.save(out, name, **({} if name in ("GIF", "BMP") else {"exif": exif}))
        shrink_to_grey(open_picture(out.getvalue(), SHORTEST_SIDE).picture)
        make_mosaic(out.getvalue(), [4, 4, 16, 16], 32)
        with contextlib.suppress(Refused):
            open_picture(out.getvalue()[:-40], SHORTEST_SIDE)
