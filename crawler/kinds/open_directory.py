"""Folders that a web server lists: Apache, nginx, lighttpd, IIS, Python's http.server, h5ai and their like.

A folder is a page; the folders in it are followed, never the one above nor the links that sort. One that holds pictures
or archives is one listing: its path is the title, its files are counted.
"""

import datetime as dt
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from parsel import Selector

from crawler.cards import Card
from crawler.kinds.reading import TOO_COMPLEX, Reading, is_archive, is_picture, name_end
from crawler.listing import make_listing
from crawler.pages import HIDDEN_LINKS, MOST_LINKS, ParsedPage, join_urls, open_tree
from crawler.verdicts import measure_text

MOST_FILES = 20_000
MOST_REPEATS = 3  # of one name in a path: a folder that holds itself by a link
MOST_PARTS = 12  # pieces of text of one row
LONGEST_ROW = 200  # letters beside a name in which its date and size stand
MONTHS = {name: number for number, name in enumerate(
    ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1)}  # fmt: skip
DATE = re.compile(
    r"(?P<y>\d{4})-(?P<m>\d{1,2}|[A-Za-z]{3})-(?P<d>\d{1,2})(?!\d)"  # Apache, h5ai; lighttpd writes the month's name
    r"|(?P<d2>\d{1,2})-(?P<m2>[A-Za-z]{3})-(?P<y2>\d{4})"  # nginx
    r"|(?P<m3>\d{1,2})/(?P<d3>\d{1,2})/(?P<y3>\d{4})(?=\s+\d{1,2}:\d{2}\s+[AP]M)"  # IIS, on American machines
)
TIME = re.compile(r"\d{1,2}:\d{2}(?::\d{2})?(?:\s*[AP]M)?")
SIZE = re.compile(r"(?<![\w.,-])(\d{1,15}(?:[.,]\d{1,3})?)\s?(?:([KMGT])i?B?|B|bytes)?(?![\w.,-])", re.IGNORECASE)
NO_NAMES = ("", ".", "..")
UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A file or folder in the index. `size`: bytes, as exactly as the index says them; None where it does not."""

    url: str
    name: str
    folder: bool
    size: int | None = None
    date: dt.date | None = None


def parse_index(body: bytes, url: str, content_type: str, card: Card, seen: dt.date | None) -> Reading:
    tree = open_tree(body, url, content_type)
    if tree is None:
        return TOO_COMPLEX
    root, base, cut = tree
    cut = cut or sum(1 for _ in islice(root.root.iter("a"), MOST_FILES + 1)) > MOST_FILES
    entries = list_entries(root, base, url)
    parsed = read_folder(entries, url, card, cut=cut)
    names = [entry.name for entry in entries if not entry.folder]
    others = Counter(name_end(name) for name in names if not is_picture(name) and not is_archive(name))
    return Reading(parsed=parsed, text=measure_text(root), root=root, passed_over=others)


def read_folder(entries: list[Entry], url: str, card: Card, *, cut: bool) -> ParsedPage:
    """One listing of the pictures and archives that lie in a folder, and links to the folders in it."""
    files = [entry for entry in entries if not entry.folder]
    images = tuple(entry.url for entry in files if is_picture(entry.name))
    archives = tuple(entry.url for entry in files if is_archive(entry.name))
    links = tuple(entry.url for entry in entries if entry.folder and not leads_round(entry.url))[:MOST_LINKS]
    if not images and not archives:
        return ParsedPage(listings=(), links=links, cut=cut)
    listing = make_listing(
        url=url,
        title=unquote(urlsplit(url).path, errors="replace") or "/",
        description=describe_files([entry for entry in files if is_picture(entry.name) or is_archive(entry.name)]),
        count_text=count_words(len(images), len(archives)),
        images=images[: card.budget.images_per_listing],
        archives=archives,
        passwords=card.read.passwords,
        sold=False,
    )
    return ParsedPage(listings=(replace(listing, claimed_count=len(images) or None),), links=links, cut=cut)


def list_entries(root: Selector, base: str, url: str) -> list[Entry]:
    """What lies in the folder itself, each once: no parents, no other hosts, nothing with a query, as sorting has."""
    hidden = set(join_urls(HIDDEN_LINKS(root.root), base))
    here = urlsplit(url)
    found: dict[str, Entry] = {}
    for link in islice(root.root.iter("a"), MOST_FILES + 1):
        urls = join_urls([link.get("href", "../")], base)
        name = find_name(here, urlsplit(urls[0])) if urls and urls[0] not in hidden else ""
        if not name or urls[0] in found:
            continue
        beside = find_beside(link)
        found[urls[0]] = Entry(
            url=urls[0],
            name=unquote(name, errors="replace").rstrip("/"),
            folder=name.endswith("/"),
            size=find_size(beside),
            date=find_date(beside),
        )
    return list(found.values())


def find_name(here: SplitResult, there: SplitResult) -> str:
    """The name of what lies directly in the folder `here`, a folder's with its slash; nothing for all else."""
    if there.query or there.netloc != here.netloc or there.scheme != here.scheme:
        return ""
    for folder in {here.path.rpartition("/")[0] + "/", here.path.rstrip("/") + "/"}:
        rest = there.path.removeprefix(folder)
        if there.path.startswith(folder) and "/" not in rest.rstrip("/") and unquote(rest).strip("/") not in NO_NAMES:
            return rest if here.path not in (there.path, f"{there.path}/") else ""
    return ""


def find_beside(link: Any) -> str:
    """The text that stands beside a link: the rest of its row, or of its line."""
    row = next((each for each in link.iterancestors("tr", "li")), None)
    if row is not None:
        own = "".join(islice(link.itertext(), MOST_PARTS))
        return " ".join(" ".join(islice(row.itertext(), MOST_PARTS)).replace(own, " ", 1).split())[:LONGEST_ROW]
    tail = (link.tail or "").split("\n")[0]
    before = link.getprevious()
    if not tail.strip() and before is not None:  # IIS writes date and size before the name
        tail = (before.tail or "").rpartition("\n")[2]
    return " ".join(tail.split())[:LONGEST_ROW]


def find_date(text: str) -> dt.date | None:
    found = DATE.search(text)
    if found is None:
        return None
    year, month, day = (next(filter(None, (found[name] for name in names)), "") for names in
                        (("y", "y2", "y3"), ("m", "m2", "m3"), ("d", "d2", "d3")))  # fmt: skip
    try:
        return dt.date(int(year), MONTHS.get(month.lower()) or int(month), int(day))
    except ValueError:
        return None


def find_size(text: str) -> int | None:
    found = SIZE.search(TIME.sub(" ", DATE.sub(" ", text)))
    if found is None:
        return None
    return int(float(found[1].replace(",", ".")) * UNITS[(found[2] or "").lower()])


def describe_files(files: Iterable[Entry]) -> str:
    """How much it is and how new, as the index says; the same words for the same folder."""
    sizes = [each.size for each in files if each.size is not None]
    newest = max((each.date for each in files if each.date), default=None)
    parts = [show_size(sum(sizes))] if sizes else []
    return ", ".join([*parts, *([f"newest {newest}"] if newest else [])])


def count_words(pictures: int, archives: int) -> str:
    parts = ((pictures, "picture"), (archives, "archive"))
    return ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in parts if count)


def show_size(size: int) -> str:
    number, unit = float(size), "bytes"
    for larger in ("KB", "MB", "GB", "TB"):
        if number < 1000:
            break
        number, unit = number / 1000, larger
    return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"


def leads_round(url: str) -> bool:
    names = Counter(filter(None, urlsplit(url).path.split("/")))
    return any(count > MOST_REPEATS for count in names.values())
