"""Pictures that end early, are damaged or have something before them are shown as viewers show them, and marked."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image

from tests.samples import portrait
from tests.vault import bombs
from vault.box import Box, Child
from vault.errors import InputRefused
from workers.faces.engine import Engine


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    with Box() as box, box.batch() as made:
        yield made


FACE = Image.open(io.BytesIO(portrait("astronaut"))).convert("RGB")
WIDTH, HEIGHT = FACE.size
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def save(kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    FACE.save(out, kind, **options)
    return out.getvalue()


def interlace() -> bytes:
    """The picture as a PNG in the seven passes of Adam7."""
    pixels = np.asarray(FACE)
    rows = (row for x, y, across, down in ADAM7 for row in pixels[y::down, x::across])
    return bombs.write_png(WIDTH, HEIGHT, zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows)), interlaced=1)


KINDS: dict[str, bytes] = {
    "jpeg": save("JPEG", quality=90),
    "progressive jpeg": save("JPEG", quality=90, progressive=True),
    "jpeg with restarts": save("JPEG", quality=90, restart_marker_rows=1),
    "png": save("PNG"),
    "interlaced png": interlace(),
    "png of small chunks": bombs.write_png(
        WIDTH, HEIGHT, zlib.compress(b"".join(b"\0" + row.tobytes() for row in np.asarray(FACE))), piece=999
    ),
    "gif": save("GIF", interlace=0),
    "interlaced gif": save("GIF", interlace=1),
    "webp": save("WEBP", quality=85),
    "lossless webp": save("WEBP", lossless=True),
    "webp with a profile": save("WEBP", icc_profile=bytes(500)),
    "bmp": save("BMP"),
}
WHOLE = {"progressive jpeg", "interlaced png", "interlaced gif"}  # an early part of them shows all of the picture


def find_scans(data: bytes) -> list[int]:
    return [at for at in range(len(data)) if data.startswith(b"\xff\xda", at)]


@pytest.mark.parametrize("missing", [1, 2, 3, 20])
@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_without_its_last_bytes_is_shown_whole_and_marked(child: Child, kind: str, missing: int) -> None:
    data = KINDS[kind]
    picture, whole = child.open_picture(data[:-missing]), child.open_picture(data)
    assert picture.truncated
    assert not whole.truncated
    assert (picture.width, picture.height) == (WIDTH, HEIGHT)
    assert picture.rows_shown > 0.98
    rows = HEIGHT - 16  # of the last blocks something may be missing
    first = 1 if kind == "bmp" else 0  # whose rows come from below
    apart = np.abs(picture.pixels[first:rows].astype(int) - whole.pixels[first:rows].astype(int))
    assert (apart.max(axis=2) > 30).mean() < 0.01


@pytest.mark.parametrize("share", [0.9, 0.67, 0.5, 0.3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_of_which_a_part_is_missing_shows_the_rest(child: Child, kind: str, share: float) -> None:
    data = KINDS[kind]
    picture, whole = child.open_picture(data[: int(len(data) * share)]), child.open_picture(data)
    assert picture.truncated
    assert picture.rows_shown == 1 if kind in WHOLE else share - 0.2 < picture.rows_shown < share + 0.1
    there = slice(int(HEIGHT * (1 - share) + 16), None) if kind == "bmp" else slice(None, int(HEIGHT * (share - 0.25)))
    apart = np.abs(picture.pixels[there].astype(int) - whole.pixels[there].astype(int))
    assert apart.size == 0 or np.median(apart.max(axis=2)) <= (24 if kind in WHOLE else 3)


@pytest.mark.parametrize("share", [0.9, 0.67])
@pytest.mark.parametrize("kind", KINDS)
def test_the_face_of_a_truncated_picture_is_found_and_near_its_own(
    child: Child, engine: Engine, kind: str, share: float
) -> None:
    whole = child.open_picture(KINDS[kind])
    picture = child.open_picture(KINDS[kind][: int(len(KINDS[kind]) * share)])
    pictures = [whole.pixels, picture.pixels]
    crops = [face.crop for pixels in pictures for face in engine.find_faces(pixels) if face.crop is not None]
    assert len(crops) == 2
    first, second = engine.embed_exact(crops)
    assert first @ second > (0.55 if kind == "bmp" else 0.8)  # of a BMP the hair is missing


@pytest.mark.parametrize("number", range(1, len(find_scans(KINDS["progressive jpeg"]))))
def test_a_progressive_jpeg_that_ends_behind_any_scan_is_shown(child: Child, number: int) -> None:
    data = KINDS["progressive jpeg"]
    scans = find_scans(data)
    middle = scans[number] + (len(data) - scans[number]) // 3
    for end in (scans[number], scans[number] + 7, middle):
        picture = child.open_picture(data[:end])
        assert picture.truncated
        assert picture.rows_shown == 1


@pytest.mark.parametrize(
    "before",
    [
        b"\n",
        b"\r\n",
        b"\r\n\r\n",
        b" ",
        b"\0",
        b"\xef\xbb\xbf",
        b"\xef\xbb\xbf\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"<br />\n",
        b"<b>Warning</b>: include(x.php): failed to open stream in /var/www/x.php on line 3<br />\n",
        bytes(range(1, 200)) * 5,
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_before_a_picture_is_passed_over(child: Child, kind: str, before: bytes) -> None:
    if kind == "bmp" and before.strip(b"\r\n \0\xef\xbb\xbf"):
        pytest.skip("two letters are no signature to search for")
    picture, whole = child.open_picture(before + KINDS[kind]), child.open_picture(KINDS[kind])
    assert not picture.truncated
    assert np.array_equal(picture.pixels, whole.pixels)


@pytest.mark.parametrize("behind", [b"\n", b"\0" * 700, b"<html></html>" * 90, b"\xff\xd8\xff\xe0 another"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_behind_a_picture_is_passed_over(child: Child, kind: str, behind: bytes) -> None:
    picture, whole = child.open_picture(KINDS[kind] + behind), child.open_picture(KINDS[kind])
    assert not picture.truncated
    assert np.array_equal(picture.pixels, whole.pixels)


def test_a_signature_beyond_the_reach_is_not_searched_for(child: Child) -> None:
    with pytest.raises(InputRefused) as caught:
        child.open_picture(b"\n" * 3000 + KINDS["jpeg"])
    assert caught.value.stable_code == "format_not_allowed"


def break_checksum(data: bytes) -> bytes:
    at = data.index(b"IDAT") - 4
    end = at + 8 + int.from_bytes(data[at : at + 4])
    return data[:end] + bytes(byte ^ 0xFF for byte in data[end : end + 4]) + data[end + 4 :]


def break_middle(data: bytes) -> bytes:
    at = len(data) * 3 // 4
    return data[:at] + b"\x5a" * 40 + data[at + 40 :]


def lie_about_length(data: bytes) -> bytes:
    at = data.index(b"IDAT") - 4
    return data[:at] + struct.pack(">I", 0x7FFFFFFF) + data[at + 4 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a wrong checksum": break_checksum,
    "bytes changed at three quarters": break_middle,
    "no end": lambda data: data[:-12],
    "no end and no checksum": lambda data: data[:-16],
    "a chunk that says it is 2 GB": lie_about_length,
    "rubbish instead of the end": lambda data: data[:-12] + b"rubbish behind the pixels" * 9,
}


@pytest.mark.parametrize("name", DAMAGES)
@pytest.mark.parametrize("kind", ["png", "interlaced png"])
def test_a_damaged_png_is_shown_as_far_as_it_goes(child: Child, kind: str, name: str) -> None:
    picture, whole = child.open_picture(DAMAGES[name](KINDS[kind])), child.open_picture(KINDS[kind])
    assert picture.truncated
    assert picture.rows_shown > 0.7
    there = slice(None, HEIGHT // 2)
    assert np.abs(picture.pixels[there].astype(int) - whole.pixels[there].astype(int)).mean() < 8


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_cut_before_anything_can_be_shown_is_refused(child: Child, kind: str) -> None:
    """At every length up to a twentieth: a typed refusal, or at least sixteen rows."""
    data = KINDS[kind]
    codes = set()
    for end in range(12, len(data) // 20, max(1, len(data) // 2000)):
        try:
            assert child.open_picture(data[:end]).rows_shown * HEIGHT >= 16
        except InputRefused as exc:
            codes.add(exc.stable_code)
    assert codes <= {"image_truncated", "image_corrupt", "format_not_allowed"}
    assert "image_truncated" in codes


def test_a_truncated_picture_is_blurred_like_any_other(child: Child) -> None:
    assert child.make_mosaic(KINDS["jpeg"][:-2], (60, 60, 80, 80)).startswith(b"\x89PNG")


def test_its_face_is_upright_where_the_file_says_how_it_lies(child: Child) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    FACE.transpose(Image.Transpose.ROTATE_90).save(out, "JPEG", exif=exif, quality=90)
    picture = child.open_picture(out.getvalue()[:-200])
    assert picture.truncated
    assert (picture.width, picture.height) == (WIDTH, HEIGHT)
