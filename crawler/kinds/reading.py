"""What the readers of all kinds share: the record they return."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from parsel import Selector

from crawler.pages import ParsedPage

INGEST = "ingest:///"  # addresses of what a person handed in
LONGEST_PLACE = 3 * 4096  # letters: the longest path of Linux with every byte escaped
END = re.compile(r"\.([A-Za-z0-9]{1,8})$")
NOTHING = ParsedPage(listings=(), links=())
BLOCKS = {"br", "p", "div", "tr", "td", "li", "h1", "h2", "h3", "h4", "table", "body", "blockquote", "pre"}
# the last are pictures, too: fetched, and refused by their format's name (icons and drawings are no samples)
PICTURE_ENDS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".heic", ".heif", ".avif", ".tif",
                ".tiff", ".jp2", ".j2k", ".jxl", ".psd")  # fmt: skip
ARCHIVE_ENDS = (".zip", ".7z", ".rar", ".tar", ".tgz", ".tbz2", ".txz", ".tzst", ".tar.gz", ".tar.bz2", ".tar.xz",
                ".tar.zst")  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What a page says, and what tells whether it is one. `text`: what a reader of it sees; `root`: its tree, where it
    is HTML; `said`: what an answer for machines says of its own failing; `problem`: why nothing could be read.
    `passed_over`: files it names that are no samples, by format; `truncated`: it ends before its end. `places`: of each
    listing the part of the page that shows it, a `Selector` or what JSON holds, where it is known."""

    parsed: ParsedPage
    text: str
    root: Selector | None = None
    said: str = ""
    problem: str = ""
    passed_over: Mapping[str, int] = field(default_factory=dict)
    truncated: bool = False
    places: tuple[Any, ...] = ()


TOO_COMPLEX = Reading(
    parsed=ParsedPage(listings=(), links=(), cut=True),
    text="",
    problem="more tags, or tags deeper in each other, than are read",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One message of an export. `name`: how the document calls it; `place`: the chat it was sent to; `at`: seconds;
    `files`: paths beside the document, or `?...` for a part of it."""

    name: str
    author: str
    forwarded: str
    place: str
    at: int | None
    text: str
    files: tuple[str, ...]
    subject: str = ""
    left_out: tuple[str, ...] = ()  # what it shows and is not there to be read, by format


def read_lines(element: Any) -> str:
    """The text of an element of lxml, blocks on lines of their own."""
    parts = []
    for piece in element.xpath(".//text()"):
        around = piece.getparent()
        if piece.is_tail or around.tag not in ("script", "style"):
            parts.append(("\n" if around.tag in BLOCKS else " ") + piece.strip())
    return "".join(parts).strip()


def is_handed_in(url: object) -> bool:
    return isinstance(url, str) and url.startswith(INGEST) and len(url) <= LONGEST_PLACE


def name_end(name: str) -> str:
    """What a file is by its name alone: `mp4`, or `no ending`."""
    found = END.search(name)
    return found[1].lower() if found else "no ending"


def is_picture(name: str) -> bool:
    return name.lower().endswith(PICTURE_ENDS)


def is_archive(name: str) -> bool:
    return name.lower().endswith(ARCHIVE_ENDS)
