"""What an answer's body is, by its bytes, whatever it is called: a page, a picture, an archive, another file.

A page is text. A body in which pictures lie as they are is no page, whatever else is in it, nor is one
that is mostly no letters. Pure; `vault/formats.py` knows the formats.
"""

import codecs
import re
from dataclasses import dataclass
from enum import StrEnum

from vault import formats
from vault.pieces import find_pieces

REACH = formats.REACH  # bytes in which a file may begin behind others
PIECE = 64 << 10  # of a long body, looked at by itself
FEW = 16  # bytes that are no letters: a page may hold some by mistake
SHARE = 0.01  # of them in a piece of a page
# all but tab, line ends, form feed, and the escapes of ISO-2022 (East Asian mail)
NO_LETTERS = bytes({*range(0x20), 0x7F} - {*b"\t\n\r\f", 0x0B, 0x0E, 0x0F, 0x1B})
WIDE_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
WIDE_ENCODINGS, WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"), 5  # a fifth of it zeros
CHARSET = re.compile(r"charset\s*=\s*[\"']?\s*([\w.:-]{2,40})|encoding\s*=\s*[\"']([\w.:-]{2,40})", re.IGNORECASE)
ASCII = bytes(range(0x20, 0x7F))
NO_PAGE_TYPE = re.compile(
    r"\s*(?:image/(?!svg)|video/|audio/|font/|application/(?:zip|x-7z|x-rar|pdf|octet-stream))", re.I
)
ARCHIVES = frozenset({"zip", "7z", "rar", "gzip", "bzip2", "xz", "zstd", "tar"})
# of bytes that are text: what is no file, and formats whose signature a text may begin with
NO_FILES = frozenset({
    formats.UNKNOWN, formats.TEXT, formats.EMPTY, "HTML", "XML", "SVG", "PNM", "TGA", "PCX", "ICNS", "QOI", "DDS",
    "Ogg", "program", "MP3", "pickle", "raw photo", "Parquet", "bzip2", "FITS", "PostScript", "RTF", "MOV",
})  # fmt: skip
# pictures that are written in letters, and those that have letters for a head
PLAIN_PNM = re.compile(rb"P[123]\s(?:\s*#[^\n]*\n)*\s*\d{1,6}\s+\d{1,6}\s+[\d\s]{20}")
RAW_PNM = re.compile(rb"P(?:[456]\s(?:\s*#[^\n]*\n)*\s*\d{1,6}\s+\d{1,6}\s|7\nWIDTH |[Ff]\s\d{1,6}\s+\d{1,6}\s)")
LETTER_PICTURE = re.compile(rb"/\* XPM \*/|! XPM2|#define \w{1,64}_width \d{1,5}\s+#define \w{1,64}_height \d{1,5}\s")


class Kind(StrEnum):
    PAGE = "page"
    PICTURE = "picture"
    ARCHIVE = "archive"
    FILE = "file"


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """What a body is. `name`: of its format; `is_read`: a picture of a format that is decoded."""

    kind: Kind
    name: str = ""

    @property
    def is_read(self) -> bool:
        return self.name in formats.READ


PAGE = Content(kind=Kind.PAGE)


def judge_body(body: bytes, content_type: str) -> Content:
    """`content_type`: what the server calls it, which is believed only where it says that it is no page."""
    text = widen(body)
    if text is None or formats.name_format(body[: formats.HEAD]) not in NO_FILES:
        return name_file(body)
    if NO_PAGE_TYPE.match(content_type):
        named = name_file(body)
        return named if named.kind is not Kind.FILE else Content(kind=Kind.FILE, name=content_type[:40])
    beginning = text[: REACH + 200]
    for pattern, name in ((PLAIN_PNM, "PNM"), (LETTER_PICTURE, "XPM")):
        if pattern.search(beginning):
            return Content(kind=Kind.PICTURE, name=name)
    return PAGE


def widen(body: bytes) -> bytes | None:
    """The letters of a body; None where it is no text. UTF-16 and UTF-32 are mostly zeros and are text all the same."""
    marked = [name for mark, name in WIDE_MARKS if body.startswith(mark)][:1]
    if not marked and body[:PIECE].count(0) * WIDE < min(len(body), PIECE):
        return body if is_text(body) else None
    for encoding in marked or WIDE_ENCODINGS:
        try:
            text = body.decode(encoding).encode()
        except (UnicodeDecodeError, UnicodeEncodeError):
            continue
        if is_text(text):
            return text
    return None


def read_letters(body: bytes, content_type: str) -> bytes:
    """The letters of a text, those of ASCII as ASCII has them, whatever encoding it declares."""
    text = widen(body)
    if text is not None and text is not body:
        return text
    declared = CHARSET.search(content_type) or CHARSET.search(body[: REACH * 2].decode("latin-1"))
    if declared is None:
        return body
    encoding = declared[1] or declared[2]
    try:
        if ASCII.decode(encoding) == ASCII.decode("ascii"):
            return body
        return body.decode(encoding, "replace").encode("utf-8", "replace")
    except (LookupError, ValueError):  # no encoding of texts
        return body


def is_text(body: bytes) -> bool:
    if any(is_binary(body[at : at + PIECE]) for at in range(0, len(body), PIECE)):
        return False
    try:
        body.decode()
    except UnicodeDecodeError:
        return next(find_pieces(body), None) is None and not has_raw_pixels(body)
    return True


def is_binary(piece: bytes) -> bool:
    others = len(piece) - len(piece.translate(None, NO_LETTERS))
    return others > max(FEW, SHARE * len(piece))


def has_raw_pixels(body: bytes) -> bool:
    """A head in letters, as PPM has, and behind it bytes that are none."""
    found = RAW_PNM.search(body[: REACH + 200])
    if found is None:
        return False
    try:
        body[found.end() : found.end() + 256].decode()
    except UnicodeDecodeError as exc:
        return exc.start < 200  # not only the last letter, cut in two
    return False


def name_file(body: bytes) -> Content:
    """What a body is that is no text."""
    name, _ = formats.find_picture(body)
    if formats.is_picture(name) and name != "SVG":
        return Content(kind=Kind.PICTURE, name=name)
    if name in ARCHIVES:
        return Content(kind=Kind.ARCHIVE, name=name)
    piece = next(find_pieces(body), None)
    if piece is not None and name in (formats.UNKNOWN, formats.TEXT, "HTML", "XML", "SVG"):
        return Content(kind=Kind.PICTURE, name=piece.name)
    if has_raw_pixels(body):
        return Content(kind=Kind.PICTURE, name="PNM")
    return Content(kind=Kind.FILE, name=name)
