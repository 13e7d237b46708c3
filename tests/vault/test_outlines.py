"""What a picture costs is foreseen before it is decoded, and what the decoder gets is the same picture."""

import contextlib
import io
import random
import zlib
from collections.abc import Iterator

import psutil
import pytest
from PIL import Image

from tests.samples import draw_picture, portrait
from tests.vault import bombs
from vault import formats
from vault.box import Box, Child
from vault.errors import InputRefused
from vault.outlines import read_outline
from vault.pictures import MOST_SECONDS, open_picture
from vault.refusals import Refused


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    with Box() as box, box.batch() as made:
        yield made


def save(picture: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def read_cpu(child: Child) -> float:
    """Seconds of the child's processor, which count the same on a busy machine."""
    child.open_picture(portrait("astronaut"))
    spent = psutil.Process(child.pid).cpu_times()
    return float(spent.user + spent.system)


def animate(kind: str, frames: int) -> bytes:
    pictures = [draw_picture(seed, (48, 40)) for seed in range(3)]
    return save(pictures[0], kind, save_all=True, append_images=[pictures[number % 3] for number in range(1, frames)])


COSTLY = {
    "progressive, 100 scans": lambda: bombs.draw_scans(100),
    "progressive, 200 scans": lambda: bombs.draw_scans(200),
    "progressive, 600 scans": lambda: bombs.draw_scans(600),
    "progressive, 200 scans, restart markers": lambda: bombs.draw_scans(200, restart=1),
    "progressive, 60,000 scans of 64 pixels": lambda: bombs.draw_scans(60_000, side=64),
    "arithmetic, progressive, 200 scans": lambda: bombs.draw_scans(200, frame=0xCA),
    "JPEG of 100,000 tables": lambda: bombs.draw_segments(100_000, 0xDB),
    "JPEG of 100,000 remarks": lambda: bombs.draw_segments(100_000, 0xFE),
    "PNG of 500,000 chunks": lambda: bombs.write_png(400, 400, bytes(500_000), piece=1),
    "PNG of 500,000 texts": lambda: bombs.write_png(64, 64, b"", more=bombs.write_chunk(b"tEXt", b"") * 500_000),
    "BMP of single runs": lambda: bombs.draw_runs(3000),
    "GIF in blocks of one byte": lambda: bombs.split_gif(save(draw_picture(1, (2000, 2000)), "GIF")),
    "GIF behind a remark in blocks of one byte": lambda: bombs.split_gif(
        save(draw_picture(1), "GIF"), b"\x21\xfe" + b"\1x" * 400_000 + b"\0"
    ),
    "WebP of 100,000 chunks": lambda: b"RIFF\0\0\0\0WEBP" + b"JUNK\0\0\0\0" * 100_000,
}


@pytest.mark.parametrize("name", COSTLY)
def test_a_picture_that_would_take_too_long_is_refused_at_once(child: Child, name: str) -> None:
    data = COSTLY[name]()
    before = read_cpu(child)
    with pytest.raises(InputRefused) as caught:
        child.open_picture(data)
    assert caught.value.stable_code == "image_too_costly"
    assert read_cpu(child) - before < 0.5


CHEAP = {
    "PNG with a text of 300 MB": lambda: bombs.write_png(
        64, 64, bombs.draw_rows(64, 64), more=bombs.write_chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(300 << 20), 1))
    ),
    "PNG with a profile of 300 MB": lambda: bombs.write_png(
        64, 64, bombs.draw_rows(64, 64), more=bombs.write_chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(300 << 20), 1))
    ),
    "PNG with 1 GB behind its rows": lambda: bombs.write_png(64, 64, zlib.compress(bytes(1 << 28), 1)),
    "interlaced PNG without an end, 1 GB behind its rows": lambda: bombs.write_png(
        64, 64, zlib.compress(bytes((0, 1, 2, 3)) * 4000 + bytes(1 << 30), 1)[:-4], interlaced=1
    )[:-12],
    "GIF of 10,000 frames": lambda: animate("GIF", 3)[:-1] + animate("GIF", 3)[800:-1] * 5000 + b";",
    "GIF of 300 frames": lambda: animate("GIF", 300),
    "WebP of 300 frames": lambda: animate("WEBP", 300),
    "APNG of 300 frames": lambda: animate("PNG", 300),
    "JPEG behind 8 MB of fill bytes": lambda: save(draw_picture(1), "JPEG").replace(
        b"\xff\xdb", b"\xff" * (8 << 20) + b"\xdb", 1
    ),
    "JPEG of fill bytes and stuffed zeros": lambda: (
        save(draw_picture(1), "JPEG", progressive=True)[:-2] + (b"\xff" * 4_000_000 + b"\0") * 2 + b"\xff\xd9"
    ),
    "JPEG with 9 MB of profile": lambda: save(draw_picture(1), "JPEG", icc_profile=bytes(9 << 20)),
    "JPEG with 300 EXIF segments": lambda: save(draw_picture(1), "JPEG").replace(
        b"\xff\xdb", bombs.segment(0xE1, b"Exif\0\0" + bytes(60_000)) * 300 + b"\xff\xdb", 1
    ),
}


@pytest.mark.parametrize("name", CHEAP)
def test_what_a_decoder_does_not_need_costs_nothing(child: Child, name: str) -> None:
    data = CHEAP[name]()
    before = read_cpu(child)
    child.open_picture(data)
    assert read_cpu(child) - before < 1.0


def test_sixty_four_bombs_cost_less_than_two_seconds_together() -> None:
    data = bombs.draw_scans(200)
    with Box() as box, box.batch() as child:
        before = read_cpu(child)
        found = list(child.open_pictures([data + bytes([number]) for number in range(64)]))
        assert read_cpu(child) - before < 2.0
    assert {each.stable_code for each in found if isinstance(each, InputRefused)} == {"image_too_costly"}
    assert len(found) == 64


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({"quality": 92}, 0.6),
        ({"quality": 92, "progressive": True}, 1.5),
        ({"quality": 95, "progressive": True, "subsampling": 0}, 1.8),
    ],
)
def test_a_picture_of_forty_megapixels_from_a_camera_is_foreseen_below_the_limit(
    options: dict[str, object], most: float
) -> None:
    noise = Image.effect_noise((7300, 5400), 40).convert("RGB")
    outline = read_outline(formats.JPEG, save(noise, "JPEG", **options))
    assert (outline.width, outline.height, outline.cut) == (7300, 5400, False)
    assert outline.seconds < most < MOST_SECONDS


EXIF = b"Exif\0\0II*\0\x08\0\0\0" + bytes(6)  # an empty list of tags
ORDINARY: dict[str, tuple[str, dict[str, object]]] = {
    "baseline": ("JPEG", {"quality": 90}),
    "progressive": ("JPEG", {"quality": 90, "progressive": True}),
    "restarts": ("JPEG", {"quality": 90, "restart_marker_blocks": 1}),
    "no subsampling": ("JPEG", {"quality": 90, "subsampling": 0}),
    "profile, remark and EXIF": ("JPEG", {"icc_profile": bytes(200_000), "comment": b"x", "exif": EXIF}),
    "png": ("PNG", {}),
    "gif": ("GIF", {}),
    "interlaced gif": ("GIF", {"interlace": 1}),
    "webp": ("WEBP", {"quality": 80}),
    "lossless webp": ("WEBP", {"lossless": True}),
    "webp with EXIF": ("WEBP", {"exif": EXIF}),
    "bmp": ("BMP", {}),
}


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "RGBA", "LA", "P", "1"])
@pytest.mark.parametrize("name", ORDINARY)
def test_the_decoder_gets_the_same_picture(name: str, mode: str) -> None:
    kind, options = ORDINARY[name]
    try:
        data = save(draw_picture(7).convert(mode), kind, **options)
    except (OSError, ValueError):
        pytest.skip(f"{kind} has no {mode}")
    expected = Image.open(io.BytesIO(data))
    opened = open_picture(data, 1280)
    assert not opened.truncated
    assert opened.size == expected.size
    if mode in ("RGB", "L", "CMYK"):
        assert opened.picture.tobytes() == expected.convert("RGB").tobytes()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_file_ends_in_a_picture_or_a_refusal(kind: str, seed: int) -> None:
    """Bytes changed, left out and put in, anywhere: an outline never fails in another way."""
    dice = random.Random(f"{kind} {seed}")
    data = bytearray(save(draw_picture(seed, (96, 80)), kind))
    for _ in range(dice.randrange(1, 12)):
        at = dice.randrange(len(data))
        match dice.randrange(3):
            case 0:
                data[at] = dice.randrange(256)
            case 1:
                del data[at : at + dice.randrange(1, 64)]
            case _:
                data[at:at] = dice.randbytes(dice.randrange(1, 64))
        if len(data) < 20:
            break
    with contextlib.suppress(Refused):
        open_picture(bytes(data), 640)
