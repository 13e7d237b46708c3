"""The JSON behind a single-page shop, read by JMESPath expressions of the card.

Relative addresses are relative to the answer's own. What is no JSON is read as HTML, only to see whether it is a wall.
"""

import datetime as dt
import json
import math
import re
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urljoin

from crawler.cards import Card, Read
from crawler.kinds.reading import NOTHING, Reading
from crawler.listing import make_listing
from crawler.pages import (
    LONGEST_URL,
    MOST_LINKS,
    MOST_LISTINGS,
    ParsedPage,
    decode_body,
    join_urls,
    open_tree,
)
from crawler.query import Queries, QueryTooLong
from crawler.verdicts import measure_text
from vault.records import Listing

MOST_BYTES = 8 << 20  # of one answer; as objects in memory it is some twenty times as much
MOST_SHOWN = 100_000  # letters of the text by which an emptied answer is told from a changed one
LONGEST_NUMBER = 18  # digits; a longer one stays the text it is
TRUTHS = {True: "true", False: "false"}
# where answers that fail say so
SAYS = ("error", "errors", "error_description", "message", "msg", "detail", "details", "reason", "title", "status",
        "code", "error_code")  # fmt: skip
COUNTED = re.compile(r"\{\+(\d+)\}")


def parse_items(body: bytes, url: str, content_type: str, card: Card, seen: dt.date | None) -> Reading:
    if len(body) > MOST_BYTES:
        return Reading(parsed=replace(NOTHING, cut=True), text="")
    text = decode_body(body, content_type or "application/json; charset=utf-8").removeprefix("\ufeff")
    try:
        answer = json.loads(text, parse_int=read_int, parse_float=read_float, parse_constant=lambda _name: None)
    except (ValueError, RecursionError) as exc:
        problem = f"no JSON: {type(exc).__name__}: {exc}"
        tree = open_tree(body, url, content_type)
        if tree is None:
            return Reading(parsed=NOTHING, text="", problem=problem[:200])
        return Reading(parsed=NOTHING, text=measure_text(tree.root), root=tree.root, problem=problem[:200])
    places: tuple[Any, ...] = ()
    try:
        parsed, places = read_items(answer, url, card, seen)
    except QueryTooLong:
        parsed = replace(NOTHING, cut=True)
    return Reading(parsed=parsed, text=text[:MOST_SHOWN], said=find_said(answer), places=places)


def read_items(answer: Any, url: str, card: Card, seen: dt.date | None) -> tuple[ParsedPage, tuple[Any, ...]]:
    """What an answer says, and the item that shows each listing. Raises QueryTooLong."""
    read, queries = card.read, Queries()
    found = queries.find(read.listing, answer)
    items = found if isinstance(found, list) else [found] if found else []
    listings: dict[str, Listing] = {}
    places: list[Any] = []
    for item in items[:MOST_LISTINGS]:
        listing = read_item(item, url, read, card.budget.images_per_listing, seen, queries)
        if listing.title:
            address = listing.url if listing.url not in listings else f"{listing.url}#{len(listings)}"
            listings[address] = replace(listing, url=address)
            places.append(item)
    followed = [
        each for expression in read.follow for each in list_texts(queries.find(expression, answer))[:MOST_LINKS]
    ]
    links = join_urls([*followed, *find_next(answer, url, read, queries)], url)
    parsed = ParsedPage(listings=tuple(listings.values()), links=tuple(links), cut=len(items) > MOST_LISTINGS)
    return parsed, tuple(places)


def read_item(item: Any, url: str, read: Read, most_images: int, seen: dt.date | None, queries: Queries) -> Listing:
    """Raises QueryTooLong."""

    def find(expression: str) -> Any:
        return queries.find(expression, item) if expression else None

    images = list_texts(find(read.image))[: 2 * most_images]
    if read.image_url:
        images = [read.image_url.replace("{}", quote(image, safe="/")) for image in images]
    own = join_urls(list_texts(find(read.link))[:1], url)
    return make_listing(
        url=own[0] if own else url,
        title=show(find(read.title)),
        seller=show(find(read.seller)),
        description=show(find(read.description)),
        price_text=show(find(read.price)),
        count_text=show(find(read.count)),
        images=tuple(join_urls(images, url)[:most_images]),
        archives=tuple(join_urls(list_texts(find(read.archive))[:MOST_LINKS], url)),
        date_text=show(find(read.date)),
        passwords=(*read.passwords, *list_texts(find(read.password))) if read.archive else None,
        sold=bool(find(read.sold)) if read.sold else None,
        seen=seen,
    )


def find_next(answer: Any, url: str, read: Read, queries: Queries) -> list[str]:
    """The address of the next page: as `next` gives it, or in the form of `page_url`. Raises QueryTooLong."""
    found = queries.find(read.next, answer) if read.next else None
    if found is None or found is False or found == "" or found == [] or found == {}:
        return []
    counted = COUNTED.search(read.page_url)
    if counted is not None:
        return [read.page_url.replace(counted[0], str(count_on(url, read.page_url, counted)))]
    tokens = list_texts(found)[:1]
    if not read.page_url:
        return tokens
    return [read.page_url.replace("{}", quote(token, safe="")) for token in tokens]


def count_on(url: str, template: str, counted: "re.Match[str]") -> int:
    """The number that this page's address has where the template counts, and the template's step: an address without
    one is page 1, or offset 0 where the steps are larger."""
    step = int(counted[1])
    before, _, after = urljoin(url, template.replace(counted[0], "\0")).partition("\0")
    own = re.fullmatch(rf"{re.escape(before)}(\d{{1,12}}){re.escape(after)}", url[:LONGEST_URL])
    if own is None:  # the same parameters in another order
        name = re.search(r"[?&]([^=&?]+=)\Z", before)
        own = re.search(rf"[?&]{re.escape(name[1])}(\d{{1,12}})(?:&|\Z)", url[:LONGEST_URL]) if name else None
    return (int(own[1]) if own else int(step == 1)) + step


def show(value: Any) -> str:
    """A value as text: numbers and truths as they are written, of a list every plain value; an object is none."""
    if isinstance(value, list):
        return " ".join(filter(None, (show_plain(each) for each in value[:100])))
    return show_plain(value)


def show_plain(value: Any) -> str:
    if isinstance(value, bool):
        return TRUTHS[value]
    if isinstance(value, str):
        return value.replace("\0", "").encode(errors="replace").decode()  # half of a surrogate pair is no text
    return f"{value:.15g}" if isinstance(value, float) else str(value) if isinstance(value, int) else ""


def list_texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [text for text in map(show_plain, values) if text]


def read_int(digits: str) -> int | str:
    return int(digits) if len(digits) <= LONGEST_NUMBER else digits


def read_float(digits: str) -> float | str:
    number = float(digits)
    return number if math.isfinite(number) and len(digits) <= LONGEST_NUMBER else digits


def find_said(answer: Any) -> str:
    """What an answer says of itself in the fields in which failures are told, one object down at most."""
    if not isinstance(answer, dict):
        return ""
    told = []
    for name in SAYS:
        value = answer.get(name)
        inner = [value.get(each) for each in SAYS] if isinstance(value, dict) else [value]
        told += [show(each) for each in inner]
    return " ".join(filter(None, told))[:1000]
