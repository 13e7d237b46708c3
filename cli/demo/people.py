"""Who is in the demo: faces of installed packages, read when it runs, and pictures that this code draws.

The astronaut of scikit-image (NASA, public domain) and the people of insightface's `t1` picture. Five enrol; the two
others of `t1` are strangers. Where the faces are stands here, so that nothing of ours decides what is planted.
"""

import io
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from vault.errors import ServerError

# (x, y, width, height) of the faces in the two pictures, from left to right; measured once, by eye and ruler
T1_FACES = ((52, 266, 118, 133), (271, 147, 99, 129), (463, 266, 113, 150), (750, 346, 94, 126), (899, 57, 106, 140),
            (1132, 274, 95, 124))  # fmt: skip
ASTRONAUT_FACE = (178, 63, 90, 113)
T1_ENROLLED = (0, 1, 2, 5)
T1_STRANGERS = (3, 4)
PORTRAIT_SHARE = 0.6  # on LFW 15 % of the whole photos show a second face that is not small, 0.2 % of such cuts
ADDRESS = "demo.example"


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """Somebody with a face: `name` is used in addresses, `portrait` shows them alone."""

    name: str
    portrait: Image.Image
    enrols: bool

    @property
    def address(self) -> str:
        return f"{self.name}@{ADDRESS}"


def package_file(package: str, path: str) -> Path:
    """A data file of an installed package, found without importing it. Raises ServerError."""
    spec = find_spec(package)
    places = list(spec.submodule_search_locations or ()) if spec else []
    if not places or not (Path(places[0]) / path).is_file():
        raise ServerError(f"{package} does not ship {path}", mend="remove .venv and run ./facewarden again")
    return Path(places[0]) / path


@cache
def open_t1() -> Image.Image:
    return Image.open(package_file("insightface", "data/images/t1.jpg")).convert("RGB")


@cache
def open_astronaut() -> Image.Image:
    return Image.open(package_file("skimage", "data/astronaut.png")).convert("RGB")


def cut_portrait(picture: Image.Image, face: tuple[int, int, int, int], room: float = 0.55) -> Image.Image:
    """A face with `room` times its size around it."""
    x, y, width, height = face
    dx, dy = width * room, height * room
    box = (max(0, x - dx), max(0, y - dy), min(picture.width, x + width + dx), min(picture.height, y + height + dy))
    return picture.crop(tuple(round(value) for value in box))  # type: ignore[arg-type]


def cut_middle(path: Path) -> bytes:
    """The middle of a photo, as a PNG: in such folders the named face is in the centre and others stand beside it,
    while a person who enrols sends a portrait of themselves alone."""
    picture = Image.open(path).convert("RGB")
    dx, dy = round(picture.width * (1 - PORTRAIT_SHARE) / 2), round(picture.height * (1 - PORTRAIT_SHARE) / 2)
    out = io.BytesIO()
    picture.crop((dx, dy, picture.width - dx, picture.height - dy)).save(out, "PNG")
    return out.getvalue()


def list_people() -> list[Person]:
    """Five who enrol, then two who do not."""
    people = [Person(name="astronaut", portrait=cut_portrait(open_astronaut(), ASTRONAUT_FACE), enrols=True)]
    for number in (*T1_ENROLLED, *T1_STRANGERS):
        portrait = cut_portrait(open_t1(), T1_FACES[number])
        enrols = number in T1_ENROLLED
        people.append(Person(name=f"t1-{number + 1}", portrait=portrait, enrols=enrols))
    return people


# -- what sellers do to pictures --------------------------------------------------------------------------------------


def reencode(picture: Image.Image) -> bytes:
    return save_jpeg(picture, 55)


def crop_tight(picture: Image.Image) -> bytes:
    dx, dy = round(picture.width * 0.14), round(picture.height * 0.14)
    cut = picture.crop((dx, dy, picture.width - dx, picture.height - dy))
    return save_jpeg(cut.resize((round(cut.width * 0.8), round(cut.height * 0.8))), 85)


def darken(picture: Image.Image) -> bytes:
    return save_jpeg(ImageEnhance.Brightness(picture).enhance(0.5), 85)


def mirror(picture: Image.Image) -> bytes:
    return save_jpeg(ImageOps.mirror(picture), 85)


def turn(picture: Image.Image) -> bytes:
    """Stored lying on its side, with the EXIF orientation that puts it upright again."""
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    picture.transpose(Image.Transpose.ROTATE_90).save(out, "JPEG", quality=85, exif=exif)
    return out.getvalue()


def as_webp(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=80)
    return out.getvalue()


VARIANTS: tuple[Callable[[Image.Image], bytes], ...] = (reencode, crop_tight, darken, mirror, turn, as_webp)


def put_beside(left: Image.Image, right: Image.Image) -> bytes:
    """Two portraits in one picture."""
    height = max(left.height, right.height)
    both = Image.new("RGB", (left.width + right.width + 24, height), (200, 205, 210))
    both.paste(left, (0, (height - left.height) // 2))
    both.paste(right, (left.width + 24, (height - right.height) // 2))
    return save_jpeg(both, 85)


def save_jpeg(picture: Image.Image, quality: int) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()


# -- pictures of nobody -----------------------------------------------------------------------------------------------


def draw_nobody(seed: int) -> bytes:
    """A drawn picture: shapes, an ID card without a face, or a cartoon."""
    chance = random.Random(seed)
    picture = Image.new("RGB", (chance.randrange(240, 480), chance.randrange(240, 480)), random_colour(chance))
    draw = ImageDraw.Draw(picture)
    kind = seed % 3
    if kind == 0:
        for _ in range(30):
            x, y = chance.randrange(picture.width), chance.randrange(picture.height)
            size = chance.randrange(8, 90)
            shape = draw.ellipse if chance.random() < 0.5 else draw.rectangle
            shape((x, y, x + size, y + size), fill=random_colour(chance))
    elif kind == 1:
        draw.rounded_rectangle(
            (12, 40, picture.width - 12, 200), 12, fill=(225, 232, 240), outline=(90, 110, 140), width=3
        )
        draw.rectangle((28, 60, 108, 170), fill=(170, 185, 200))
        for line in range(5):
            draw.rectangle((124, 66 + line * 22, 124 + chance.randrange(60, 110), 76 + line * 22), fill=(120, 130, 150))
    else:
        centre, size = (picture.width // 2, picture.height // 2), 90
        draw.ellipse((centre[0] - size, centre[1] - size, centre[0] + size, centre[1] + size), fill=(250, 220, 60))
        draw.arc((centre[0] - 50, centre[1] - 30, centre[0] + 50, centre[1] + 60), 20, 160, fill=(60, 40, 0), width=6)
        for dx in (-32, 32):
            draw.ellipse((centre[0] + dx - 8, centre[1] - 38, centre[0] + dx + 8, centre[1] - 14), fill=(60, 40, 0))
    return save_jpeg(picture, 85)


def random_colour(chance: random.Random) -> tuple[int, int, int]:
    return chance.randrange(256), chance.randrange(256), chance.randrange(256)


# -- hostile pictures -------------------------------------------------------------------------------------------------


@cache
def draw_bomb() -> bytes:
    """A PNG of 20,000 x 20,000 that is small on the wire."""
    out = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(out, "PNG", compress_level=9)
    return out.getvalue()


def cut_short(picture: bytes) -> bytes:
    return picture[: len(picture) // 2]


HTML_AS_JPG = b"<!doctype html><html><body><script>alert(document.domain)</script></body></html>"
