"""Pictures, inside the box only: in come hostile bytes, out come upright 8-bit RGB pixels, a mosaic, or a refusal.

One decoder for everything, Pillow with a closed list of formats: on 250 px JPEGs it took 0.26 ms against 0.18 for its
header and OpenCV's decoder, gave the same pixels, and knows CMYK, 16-bit and palettes; so OpenCV's decoders stay out.
"""

import io

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageChops,
    ImagePalette,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

# What Pillow would load later, when it no longer can: TIFF's reader is also EXIF's, MPO is a JPEG with several frames.
LOADED = (
    BmpImagePlugin, GifImagePlugin, ImageChops, ImagePalette, JpegImagePlugin, MpoImagePlugin, PngImagePlugin,
    TiffImagePlugin, WebPImagePlugin,
)  # fmt: skip
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM")
MOST_PIXELS = 40_000_000
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


class Refused(Exception):
    """A refusal code of `vault/errors.py`, on its way out of the box."""

    def __init__(self, code: str, text: str = "") -> None:
        super().__init__(code, text)
        self.code, self.text = code, text


def open_picture(data: bytes, long_side: int) -> tuple[Image.Image, tuple[int, int]]:
    """Decode at no more than `long_side` pixels a side, upright, 8-bit RGB. Also the size as shown, before scaling."""
    if not data:
        raise Refused("body_empty")
    try:
        file = Image.open(io.BytesIO(data), formats=FORMATS)
    except MemoryError:
        raise
    except Exception as exc:
        known = data.startswith(MAGIC) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")
        raise Refused("image_corrupt" if known else "format_not_allowed", type(exc).__name__) from exc
    width, height = file.size
    if width * height > MOST_PIXELS or max(width, height) > LONGEST_SIDE:
        raise Refused("image_too_large", f"{width} x {height}")
    if min(width, height) < SHORTEST_SIDE:
        raise Refused("image_too_small", f"{width} x {height}")
    try:
        if file.format == "JPEG":
            file.draft("RGB", (long_side, long_side))
        file.load()  # before EXIF is asked for: that would load too, and a load that failed is not repeated
        turn = read_orientation(file)
        picture = to_rgb(shrink(file, long_side))
        if turn is not None and turn in TURNS:
            picture = picture.transpose(TURNS[turn])
            if turn >= 5:
                width, height = height, width
    except MemoryError:
        raise
    except Exception as exc:
        cut = "truncated" in str(exc) or isinstance(exc, EOFError)
        raise Refused("image_truncated" if cut else "image_corrupt", type(exc).__name__) from exc
    return picture, (width, height)


def read_orientation(file: Image.Image) -> int | None:
    try:
        return file.getexif().get(ORIENTATION)
    except MemoryError:
        raise
    except Exception:  # damaged EXIF says nothing about the pixels
        return None


def shrink(picture: Image.Image, long_side: int) -> Image.Image:
    longest = max(picture.size)
    if longest <= long_side:
        return picture
    if picture.mode in ("P", "1"):  # palettes and bits cannot be averaged
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    size = (max(1, round(picture.width * long_side / longest)), max(1, round(picture.height * long_side / longest)))
    return picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def to_rgb(picture: Image.Image) -> Image.Image:
    """8-bit RGB as a viewer would show it: transparency over white, 16-bit grey by its high byte."""
    if picture.mode == "RGB":
        return picture
    if picture.mode.startswith(("I", "F")):
        return picture.convert("I").point(lambda value: value * (1 / 256)).convert("L").convert("RGB")
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
    picture, (width, _) = open_picture(data, LONGEST_SIDE)
    scale = picture.width / width
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
    for name in FORMATS:
        out = io.BytesIO()
        Image.new("RGB", (32, 32)).save(out, name, **({} if name in ("GIF", "BMP") else {"exif": exif}))
        shrink_to_grey(open_picture(out.getvalue(), SHORTEST_SIDE)[0])
        make_mosaic(out.getvalue(), [4, 4, 16, 16], 32)
