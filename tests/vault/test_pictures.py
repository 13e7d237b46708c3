"""What the box opens and how: formats, modes, orientation, and every hostile picture in the list of faults."""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from cli.demo.people import HTML_AS_JPG, draw_bomb
from tests.samples import png, portrait
from tests.vault import bombs
from vault.box import LONG_SIDE, Box, Child, make_refusal
from vault.errors import InputRefused


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    with Box() as box, box.batch() as made:
        yield made


def save(picture: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def gradient(width: int = 64, height: int = 48) -> Image.Image:
    """Red grows to the right, green downwards, blue is 40."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, np.full_like(x, 40)], axis=2).astype(np.uint8), "RGB")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_an_allowed_format_gives_the_right_colours(child: Child, kind: str) -> None:
    options: dict[str, object] = {"quality": 97} if kind in ("JPEG", "WEBP") else {}
    picture = child.open_picture(save(gradient(), kind, **options))
    expected = np.asarray(gradient())[:, :, ::-1].astype(int)
    assert picture.pixels.shape == (48, 64, 3)
    assert np.abs(picture.pixels.astype(int) - expected).mean() < 4


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("L", 100, (100, 100, 100)),
        ("1", 1, (255, 255, 255)),
        ("LA", (100, 255), (100, 100, 100)),
        ("LA", (100, 0), (255, 255, 255)),
        ("RGBA", (200, 10, 20, 255), (200, 10, 20)),
        ("RGBA", (200, 10, 20, 0), (255, 255, 255)),
        ("P", 0, None),
        ("I;16", 51400, (200, 200, 200)),
    ],
)
def test_every_mode_of_png_is_converted_as_a_viewer_shows_it(
    child: Child, mode: str, colour: object, expected: tuple[int, int, int] | None
) -> None:
    pixels = child.open_picture(png(32, 32, mode, colour)).pixels
    shown = tuple(int(value) for value in pixels[5, 5, ::-1])
    assert expected is None or max(abs(a - b) for a, b in zip(shown, expected, strict=True)) <= 1


def test_a_cmyk_jpeg_keeps_its_colours(child: Child) -> None:
    red = Image.new("RGB", (40, 40), (210, 30, 30)).convert("CMYK")
    shown = child.open_picture(save(red, "JPEG", quality=95)).pixels[20, 20, ::-1].astype(int)
    assert shown[0] > 180
    assert shown[1] < 70
    assert shown[2] < 70


def test_a_gif_gives_its_first_frame(child: Child) -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in ((250, 0, 0), (0, 250, 0))]
    data = save(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert child.open_picture(data).pixels[5, 5].tolist() == [0, 0, 250]


def test_a_jpeg_of_several_pictures_gives_its_first(child: Child) -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in ((250, 0, 0), (0, 250, 0))]
    data = save(frames[0], "MPO", save_all=True, append_images=frames[1:], quality=95)
    assert child.open_picture(data).pixels[5, 5, 2] > 230


@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
def test_every_exif_orientation_is_put_upright(child: Child, orientation: int) -> None:
    stored = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
    }[orientation]  # fmt: skip
    upright = gradient()
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = save(upright.transpose(stored) if stored is not None else upright, "PNG", exif=exif)
    picture = child.open_picture(data)
    assert (picture.width, picture.height) == upright.size
    assert np.array_equal(picture.pixels, np.asarray(upright)[:, :, ::-1])


@pytest.mark.parametrize("orientation", [0, 9, 99, 65535])
def test_an_impossible_orientation_is_ignored(child: Child, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = child.open_picture(save(gradient(), "PNG", exif=exif))
    assert np.array_equal(picture.pixels, np.asarray(gradient())[:, :, ::-1])


def test_a_large_picture_comes_out_scaled_down(child: Child) -> None:
    picture = child.open_picture(save(gradient(4000, 1000), "JPEG"))
    assert picture.pixels.shape == (LONG_SIDE // 4, LONG_SIDE, 3)
    assert (picture.width, picture.height) == (4000, 1000)
    assert picture.scale == pytest.approx(LONG_SIDE / 4000)


def lying_jpeg() -> bytes:
    """A JPEG whose header promises 65,500 x 65,500."""
    data = bytearray(save(gradient(), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 65_500, 65_500)
    return bytes(data)


def other_format(kind: str) -> bytes:
    return save(Image.new("RGB", (64, 64)), kind)


HOSTILE = {
    "nothing": (b"", "body_empty"),
    "png 20000x20000": (draw_bomb(), "image_too_large"),
    "jpeg that lies 65500x65500": (lying_jpeg(), "image_too_large"),
    "1 x 60000": (png(1, 60_000, "1"), "image_too_large"),
    "60000 x 1": (png(60_000, 1, "1"), "image_too_large"),
    "gif on a canvas of 60000 x 60000": (
        b"GIF89a"
        + struct.pack("<HHBBB", 60_000, 60_000, 0, 0, 0)
        + b"\x2c"
        + struct.pack("<HHHHB", 0, 0, 16, 16, 0)
        + b"\2\1\x44\0;",
        "image_too_large",
    ),
    "webp of 16383 x 16383": (
        b"RIFF\x1e\0\0\0WEBPVP8 \x12\0\0\0\x30\1\0\x9d\1\x2a\xff\x3f\xff\x3f" + bytes(8),
        "image_too_large",
    ),
    "bmp that lies 12000x3300": (
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 0, 0, 0, 54, 40, 12_000, 3300, 1, 24, *[0] * 6),
        "image_truncated",
    ),
    "0 x 0": (bombs.write_png(0, 0, b""), "image_corrupt"),
    "8 x 8": (png(8, 8), "image_too_small"),
    "jpeg cut in its header": (portrait("astronaut")[:300], "image_truncated"),
    "jpeg cut after a row": (portrait("astronaut")[:630], "image_truncated"),
    "png cut in its first rows": (bombs.write_png(600, 600, bombs.draw_rows(600, 600))[:100], "image_truncated"),
    "a jpeg's name and nothing": (b"\xff\xd8\xff", "image_corrupt"),
    "png with rubbish inside": (bombs.write_png(64, 64, b"rubbish"), "image_corrupt"),
    "png that ends early inside": (bombs.write_png(64, 64, zlib.compress(b"\0" * 100)), "image_truncated"),
    "html": (HTML_AS_JPG, "format_not_allowed"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>', "format_not_allowed"),
    "billion laughs": (b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa">]><x>&a;</x>', "format_not_allowed"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "format_not_allowed"),
    "pdf": (b"%PDF-1.7\n1 0 obj\n", "format_not_allowed"),
    "psd": (b"8BPS\0\1" + bytes(60), "format_not_allowed"),
    "fits": (b"SIMPLE  =                    T" + bytes(2880), "format_not_allowed"),
    "jp2": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100), "format_not_allowed"),
    "mp4": (b"\0\0\0\x20ftypisom" + bytes(100), "format_not_allowed"),
    "avif": (b"\0\0\0\x20ftypavif" + bytes(100), "format_not_allowed"),
    "heic": (b"\0\0\0\x20ftypheic" + bytes(100), "format_not_allowed"),
    "tiff": (other_format("TIFF"), "format_not_allowed"),
    "ico": (other_format("ICO"), "format_not_allowed"),
    "ppm": (other_format("PPM"), "format_not_allowed"),
    "tga": (other_format("TGA"), "format_not_allowed"),
    "noise": (bytes(range(256)) * 40, "format_not_allowed"),
    "jpeg magic only": (b"\xff\xd8\xff\xe0" + bytes(200), "image_corrupt"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_picture_ends_in_its_code(child: Child, name: str) -> None:
    data, code = HOSTILE[name]
    with pytest.raises(InputRefused) as caught:
        child.open_picture(data)
    assert caught.value.stable_code == code


@pytest.mark.parametrize(
    ("name", "format_name"),
    [("html", "HTML"), ("svg", "SVG"), ("psd", "PSD"), ("jp2", "JPEG 2000"), ("mp4", "MP4"), ("avif", "AVIF"),
     ("heic", "HEIC"), ("tiff", "TIFF"), ("ico", "ICO"), ("tga", "TGA"), ("noise", "unknown")],
)  # fmt: skip
def test_a_format_that_is_not_read_is_named(child: Child, name: str, format_name: str) -> None:
    with pytest.raises(InputRefused) as caught:
        child.open_picture(HOSTILE[name][0])
    assert caught.value.message == format_name


def test_a_name_that_the_child_made_up_is_not_believed() -> None:
    refusal = make_refusal({"refused": "format_not_allowed", "text": "<script>"})
    assert refusal.message == "unknown"


def test_a_large_picture_in_sixteen_bits_of_grey_is_scaled_down(child: Child) -> None:
    grey = Image.fromarray(np.tile(np.linspace(0, 65_535, 2000).astype(np.uint16), (1500, 1)))
    picture = child.open_picture(save(grey, "PNG"))
    assert picture.pixels.shape == (960, LONG_SIDE, 3)
    assert np.abs(picture.pixels[500, :, 0].astype(int) - np.linspace(0, 255, LONG_SIDE)).max() <= 2


def test_a_decompression_bomb_of_many_rows_stays_within_memory(child: Child) -> None:
    """39 million pixels are allowed, and still the decoder stays small."""
    data = png(11_900, 3_300, "RGBA", (10, 20, 30, 128))
    picture = child.open_picture(data)
    assert picture.pixels.shape[1] == LONG_SIDE
    with open(f"/proc/{child.pid}/status", encoding="ascii") as file:
        peak = int(file.read().split("VmHWM:")[1].split()[0]) / 1000
    assert peak < 700


def test_appended_bytes_do_not_matter(child: Child) -> None:
    """A polyglot: a JPEG with HTML behind it is a picture for us, and only its pixels come out."""
    data = save(gradient(), "JPEG") + b"<html><script>alert(1)</script></html>"
    assert child.open_picture(data).pixels.shape == (48, 64, 3)
