"""Pictures that lie in a page as letters: in comes its text, out come the pictures.

A `data:` address in an attribute, a style or a script; base64 in JSON, in lines, with the alphabet of
addresses, behind other bytes; percent signs, entities, escapes of scripts and styles around it; hex
digits, lists of numbers, uuencode; and whatever lies inside such a text once more. What is looked for is
bytes with the signature of a picture, so it does not matter what a page calls them. Pure; no picture is
decoded. The work grows with the length of the page, whatever is in it.
"""

import base64
import binascii
import hashlib
import html
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from crawler.bodies import PLAIN_PNM, RAW_PNM, is_text
from vault import formats
from vault.pieces import Piece, choose_end, cut_out, find_pieces, is_whole, list_limits, measure

SHORTEST_SIDE = 16  # pixels: in less no face is found, see `vault/pictures.py`
DEPTH = 3  # of texts in texts
MOST_ROUNDS = 3  # of escapes in escapes
SHORTEST_RUN = 48  # letters of base64 that are looked at: fewer are no picture
LINE = 32  # letters of one line of several
SHIFTS = 4  # letters of base64 at which the bytes of a picture may begin
FEW_ESCAPES, MOST_STYLE = 3, 1 << 20  # escapes of styles, and letters in which they are counted
TAKEN_OUT = b" [picture] "  # what stands where a picture was
BLANK = ord(" ")
# bytes that a picture may be written in, or that may stand for those: all others are blank
DENSE = bytes(
    ord("x") if (chr(code).isalnum() and code < 128) or chr(code) in "+/_-=%\\&#;" else BLANK for code in range(256)
)
TO_LOW, WHITE, MANY = bytes(range(256)).lower(), b" \t\r\n\f", 40
DATA = re.compile(rb"d\s{0,4}a\s{0,4}t\s{0,4}a\s{0,4}:[^,:<>\"']{0,200},", re.IGNORECASE)
LETTERS, SPACED_LETTERS = re.compile(rb"[A-Za-z0-9+/_-]*={0,2}"), re.compile(rb"[A-Za-z0-9+/_\s-]*={0,2}")
DESCRIPTOR = re.compile(rb"(?:\s{1,8}\d{1,6}[wxh]){1,2}\s{0,8}$")  # of a candidate in a srcset
DESCRIBED = 40
QUOTES = b"\"'`"
LINE_OF = re.compile(rb"[A-Za-z0-9+/_-]{%d,}+={0,2}" % LINE)
TAIL = re.compile(rb"[A-Za-z0-9+/_-]{1,%d}+={0,2}" % LINE)
# between lines: a break; quotes, perhaps with an operator that joins texts or the comma of a list
GLUE = re.compile(rb"\s{0,8}[\"']\s{0,64}[+.&,]?\s{0,64}[\"']\s{0,8}|\s{1,64}|(?:\\[nr]){1,4}\s{0,64}")
ENTITY = re.compile(rb"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z]{2,8});?")
SCRIPT_ESCAPE = re.compile(rb"\\(?:x[0-9a-fA-F]{2}|u00[0-9a-fA-F]{2}|[nrt/])")
STYLE_ESCAPE = re.compile(rb"\\0{0,4}([0-9a-fA-F]{2})[ \t\r\n\f]?")
PERCENT = re.compile(rb"%[0-9a-fA-F]{2}")
ESCAPES = (b"%", b"\\", b"&")  # what they begin with
HEX = re.compile(
    rb"(?:ffd8ff|89504e470d0a1a0a|474946383[79]61|52494646[0-9a-f]{8}57454250)[0-9a-f]{80,}+", re.IGNORECASE
)
HEX_LIST = re.compile(rb"(?:0x[0-9a-f]{1,2}\s{0,8},\s{0,8}){40,}+(?:0x[0-9a-f]{1,2})?", re.IGNORECASE)
NUMBERS = re.compile(
    rb"(?:255\s{0,8},\s{0,8}216|137\s{0,8},\s{0,8}80|71\s{0,8},\s{0,8}73|82\s{0,8},\s{0,8}73|66\s{0,8},\s{0,8}77)"
    rb"(?:\s{0,8},\s{0,8}\d{1,3}){40,}+"
)
UUENCODED = re.compile(rb"(?:^|\n)begin [0-7]{3,4} [^\r\n]{1,200}\r?\n((?:[\x20-\x60]{1,90}\r?\n)++)")
TO_STANDARD = bytes.maketrans(b"-_", b"+/")
NO_LETTER = bytes({*range(256)} - {*b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_"})
# formats whose signature is too short to be believed of bytes that may be anything
DOUBTFUL = frozenset({"TGA", "PCX", "PNM", "cursor", "SVG"})
WEAK_START = b"\xff\x0a"  # of JPEG XL without its box


class Found(NamedTuple):
    name: str  # of the format
    content: bytes


class Place(NamedTuple):
    """Where bytes may be written in letters, and what these may mean."""

    start: int
    end: int
    meanings: Iterable[bytes]


Span = tuple[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Inside:
    """A picture that lies in a page. `name`: of its format; `is_small`: too small to show a face, as spacers and marks
    are."""

    name: str
    content: bytes
    sha256: str
    md5: str
    is_small: bool


def find_inside(text: bytes) -> list[Inside]:
    """The pictures in a text, each once, in their order."""
    found: dict[str, Inside] = {}
    for name, content in search_text(text, DEPTH):
        sha256 = hashlib.sha256(content).hexdigest()
        if sha256 not in found:
            md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
            found[sha256] = Inside(name=name, content=content, sha256=sha256, md5=md5, is_small=is_small(name, content))
    return list(found.values())


def hide_pictures(text: str) -> str:
    """A text without the letters in which pictures, or the beginnings of pictures, are written."""
    letters = text.encode("utf-8", "replace")
    if not may_hold(letters):
        return text
    _, spans = search_letters(letters, 1, final=True)
    return take_out(letters, spans).decode("utf-8", "replace") if spans else text


def join_parts(parts: Iterable[bytes]) -> bytes:
    """Several texts as one, so that nothing runs from one into the next."""
    return b"\n<>\n".join(parts)


def is_small(name: str, content: bytes) -> bool:
    sides = measure(name, content)
    return sides is not None and min(sides) < SHORTEST_SIDE


def may_hold(text: bytes) -> bool:
    """Is there anything in it that could be a picture? Most pages are done with this."""
    if b"x" * SHORTEST_RUN in text.translate(DENSE) or b"data:" in text.translate(TO_LOW, WHITE):
        return True
    if b"begin " in text and UUENCODED.search(text) is not None:
        return True
    return text.count(b",") > MANY and any(pattern.search(text) is not None for pattern in (NUMBERS, HEX_LIST))


def search_text(text: bytes, depth: int) -> Iterator[Found]:
    """Pictures in a text. What was found is taken out before the text is read once more as whoever shows it would read
    it, so that nothing comes twice, or comes changed."""
    if not depth or not may_hold(text):
        return
    final = False
    for round_ in range(MOST_ROUNDS + 1):
        final = final or round_ == MOST_ROUNDS or not has_escapes(text)
        found, spans = search_letters(text, depth, final=final)
        yield from found
        text = take_out(text, spans)
        if final:
            break
        unfolded = unfold(text)
        final = unfolded == text
        raw, spans = search_raw(unfolded)
        yield from raw
        text = take_out(unfolded, spans)
    if len(STYLE_ESCAPE.findall(text[:MOST_STYLE])) > FEW_ESCAPES:
        yield from search_letters(unfold_style(text), depth, final=True)[0]


def take_out(text: bytes, spans: list[Span]) -> bytes:
    """The text without what stands there."""
    parts, at = [], 0
    for start, end in sorted(spans):
        parts += [text[at:start], TAKEN_OUT]
        at = end
    return b"".join([*parts, text[at:]])


# -- escapes ----------------------------------------------------------------------------------------------------------


def has_escapes(text: bytes) -> bool:
    return any(pattern.search(text) is not None for pattern in (ENTITY, PERCENT, SCRIPT_ESCAPE))


def unfold(text: bytes) -> bytes:
    """One level of escapes less: entities, escapes of scripts, percent signs."""
    return unfold_percents(unfold_script(unfold_entities(text)))


def unfold_entities(text: bytes) -> bytes:
    if ENTITY.search(text) is None:
        return text
    return html.unescape(text.decode("latin-1")).encode("latin-1", "replace")


def unfold_script(text: bytes) -> bytes:
    if b"\\" not in text:
        return text
    text = text.replace(b"\\/", b"/").replace(b"\\\n", b"")
    if SCRIPT_ESCAPE.search(text) is None:
        return text
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a backslash before a letter that needs none
        return text.decode("unicode_escape", "replace").encode("latin-1", "replace")


def unfold_percents(text: bytes) -> bytes:
    """As `urllib.parse.unquote_to_bytes`, by the decoder of quoted-printable: in a twentieth of its time."""
    if PERCENT.search(text) is None:
        return text
    return binascii.a2b_qp(text.replace(b"=", b"=3D").replace(b"%", b"="))


def unfold_style(text: bytes) -> bytes:
    """Escapes of styles, which mean something else in scripts."""
    return STYLE_ESCAPE.sub(lambda found: bytes([int(found[1], 16)]), text)


# -- places -----------------------------------------------------------------------------------------------------------


def search_raw(text: bytes) -> tuple[list[Found], list[Span]]:
    """Pictures whose bytes stood there as escapes, and where they stand."""
    pieces: list[Piece] = [] if text.isascii() else list(find_pieces(text))
    spans = [
        (piece.start, choose_end(piece, text, limit))
        for piece, limit in zip(pieces, list_limits(text, pieces), strict=True)
    ]
    return [Found(piece.name, text[slice(*span)]) for piece, span in zip(pieces, spans, strict=True)], spans


def search_letters(text: bytes, depth: int, *, final: bool) -> tuple[list[Found], list[Span]]:
    """Pictures written in letters, and where they stand. Unless it is `final`, what an escape interrupts is left."""
    found: list[Found] = []
    spans: list[Span] = []
    for list_places in PLACES:
        here: list[Span] = []
        for place in list_places(text):
            if not final and text[place.end : place.end + 1] in ESCAPES:
                continue
            pictures = [picture for content in place.meanings for picture in search_bytes(content, depth)]
            if pictures:
                found += pictures
                here.append((place.start, place.end))
        text = wipe(text, here)
        spans += here
    return found, spans


def wipe(text: bytes, spans: list[Span]) -> bytes:
    """The text with blanks there, so that every other letter keeps its place."""
    if not spans:
        return text
    wiped = bytearray(text)
    for start, end in spans:
        wiped[start:end] = bytes([BLANK]) * (end - start)
    return bytes(wiped)


def list_uuencoded(text: bytes) -> Iterator[Place]:
    for found in UUENCODED.finditer(text):
        yield Place(found.start(), found.end(), [read_uuencoded(found[1])])


def list_hex(text: bytes) -> Iterator[Place]:
    for found in HEX.finditer(text):
        digits = found[0][: len(found[0]) // 2 * 2].decode("ascii")
        yield Place(found.start(), found.end(), [bytes.fromhex(digits)])


def list_numbers(text: bytes) -> Iterator[Place]:
    for pattern, base in ((NUMBERS, 10), (HEX_LIST, 16)):
        for found in pattern.finditer(text):
            numbers = [int(number, base) for number in found[0].split(b",") if number.strip()]
            yield Place(found.start(), found.end(), [bytes(min(number, 255) for number in numbers)])


def list_data(text: bytes) -> Iterator[Place]:
    """What stands behind `data:`. Between quotes white space in it counts for nothing."""
    at = 0
    while (found := DATA.search(text, at)) is not None:
        is_quoted = found.start() > 0 and text[found.start() - 1] in QUOTES
        letters = (SPACED_LETTERS if is_quoted else LETTERS).match(text, found.end())
        at = letters.end() if letters is not None else found.end()
        if at - found.end() >= SHORTEST_RUN:
            told = DESCRIPTOR.search(text, max(found.end(), at - DESCRIBED), at)
            end = told.start() if told is not None else at
            yield Place(found.end(), end, decode_shifted(text[found.end() : end]))


def list_runs(text: bytes) -> Iterator[Place]:
    """Long runs of letters that may be base64, lines that follow each other joined."""
    at = 0
    while (line := LINE_OF.search(text, at)) is not None:
        parts, at = join_lines(text, line)
        if at - line.start() >= SHORTEST_RUN:
            yield Place(line.start(), at, decode_parts(parts))


PLACES: tuple[Callable[[bytes], Iterator[Place]], ...] = (
    list_uuencoded, list_hex, list_numbers, list_data, list_runs,
)  # fmt: skip


def join_lines(text: bytes, line: re.Match[bytes]) -> tuple[list[bytes], int]:
    """A line of base64 with those that follow it, behind a break or joined by an operator, and where they end. Several,
    where commas stand between them."""
    at, parts, lines = line.end(), list[bytes](), [line[0]]
    while (glue := GLUE.match(text, at)) is not None:
        is_list = b"," in glue[0]
        following = LINE_OF.match(text, glue.end())
        if following is None and (b"\n" in glue[0] or glue[0].strip()):
            following = TAIL.match(text, glue.end())
        if following is None or (lines[-1].endswith(b"=") and not is_list) or is_boundary(following[0], lines[-1]):
            break
        if is_list:
            parts.append(b"".join(lines))
            lines = []
        lines.append(following[0])
        at = following.end()
        if len(following[0]) < LINE:
            break
    return [*parts, b"".join(lines)], at


def is_boundary(line: bytes, before: bytes) -> bool:
    """Does it end a part of a mail (RFC 2046, section 5.1.1)? Hyphens are letters of base64 in addresses, too."""
    return line.startswith(b"--") and b"-" not in before


# -- meanings ---------------------------------------------------------------------------------------------------------


def decode_parts(parts: list[bytes]) -> Iterator[bytes]:
    """What the parts of a list mean: each a picture of its own, or all together one, cut into lines."""
    first = decode_base64(parts[0])
    if len(parts) > 1 and begins_picture(first) and not is_whole(first):
        yield from decode_shifted(b"".join(parts))
        return
    for part in parts:
        yield from decode_shifted(part)


def decode_shifted(letters: bytes) -> Iterator[bytes]:
    """The bytes of a picture may begin at any of four letters."""
    content = decode_base64(letters)
    yield content
    if begins_picture(content):
        return
    plain = letters.translate(TO_STANDARD, NO_LETTER)
    for shift in range(1, SHIFTS):
        if next(find_pieces(decode_base64(plain[shift : shift + 4 * formats.REACH])), None) is not None:
            yield decode_base64(plain[shift:])


def begins_picture(content: bytes) -> bool:
    return formats.find_picture(content)[0] in formats.READ


def decode_base64(letters: bytes) -> bytes:
    """Whole groups of four, and what a last one that is not whole still says."""
    plain = letters.translate(TO_STANDARD, NO_LETTER)
    plain = plain[: len(plain) - (len(plain) % 4 == 1)]
    return base64.b64decode(plain + b"=" * (-len(plain) % 4))


def read_uuencoded(lines: bytes) -> bytes:
    found = bytearray()
    for line in lines.splitlines():
        try:
            found += binascii.a2b_uu(line)
        except binascii.Error:
            break
    return bytes(found)


def search_bytes(content: bytes, depth: int) -> Iterator[Found]:
    """Pictures in what was written in letters: the whole of it, behind other bytes, several; or a text once more."""
    name, start = formats.find_picture(content)
    if formats.is_picture(name) and name not in formats.READ | DOUBTFUL and not content.startswith(WEAK_START):
        yield Found(name, content[start:])
        return
    if RAW_PNM.match(content) or PLAIN_PNM.match(content):
        yield Found("PNM", content)
        return
    some = False
    for each in cut_out(content):
        some = True
        yield Found(*each)
    if not some and is_text(content):
        yield from search_text(content, depth - 1)
