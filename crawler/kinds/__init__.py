"""How each kind of source is read, as pure functions: in come bytes, address, content type and card, out comes a
`Reading`. One file a kind; a new kind is a file here and its line in READERS."""

import datetime as dt
from collections.abc import Callable
from dataclasses import replace

from crawler.acts import LeftAlone
from crawler.cards import LOCAL, Card, CardKind
from crawler.kinds.export import parse_export
from crawler.kinds.folder import parse_folder
from crawler.kinds.json_api import parse_items
from crawler.kinds.markup import parse_markup
from crawler.kinds.open_directory import parse_index
from crawler.kinds.reading import Reading
from crawler.pages import ParsedPage

__all__ = ["Reading", "parse_answer"]

Reader = Callable[[bytes, str, str, Card, dt.date | None], Reading]

READERS: dict[CardKind, Reader] = {
    CardKind.SHOP: parse_markup,
    CardKind.FORUM: parse_markup,
    CardKind.GALLERY: parse_markup,
    CardKind.SPA: parse_markup,
    CardKind.JSONAPI: parse_items,
    CardKind.OPENDIR: parse_index,
    CardKind.FOLDER: parse_folder,
    CardKind.EXPORT: parse_export,
}


def parse_answer(body: bytes, url: str, content_type: str, card: Card, *, seen: dt.date | None = None) -> Reading:
    """What a page of a source says, read as its card's kind is, without links that act. `seen`: the day of the page,
    from which "3 days ago" is counted. Never raises for what the page contains."""
    reading = READERS[card.kind](body, url, content_type, card, seen)
    return reading if card.kind in LOCAL else replace(reading, parsed=leave_acts(reading.parsed, card))


def leave_acts(parsed: ParsedPage, card: Card) -> ParsedPage:
    """The page without links, pictures and archives that would act (crawler/acts.py); they are named beside it."""
    left: dict[LeftAlone, None] = {}

    def keep(urls: tuple[str, ...], *, chosen: bool) -> tuple[str, ...]:
        found = {url: card.find_act(url, chosen=chosen) for url in urls}
        left.update(dict.fromkeys(filter(None, found.values())))
        return tuple(url for url in urls if found[url] is None)

    links = keep(parsed.links, chosen=False)
    listings = tuple(
        replace(each, images=keep(each.images, chosen=True), archives=keep(each.archives, chosen=True))
        for each in parsed.listings
    )
    return replace(parsed, links=links, listings=listings, left_alone=tuple(left)) if left else parsed
