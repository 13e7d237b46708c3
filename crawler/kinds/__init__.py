"""How each kind of source is read, as pure functions: in come bytes, address, content type and card, out comes a
`Reading`. One file a kind; a new kind is a file here and its line in READERS."""

import datetime as dt
from collections.abc import Callable

from crawler.cards import Card, CardKind
from crawler.kinds.export import parse_export
from crawler.kinds.folder import parse_folder
from crawler.kinds.json_api import parse_items
from crawler.kinds.markup import parse_markup
from crawler.kinds.open_directory import parse_index
from crawler.kinds.reading import Reading

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
    """What a page of a source says, read as its card's kind is. `seen`: the day of the page, from which "3 days ago" is
    counted. Never raises for what the page contains."""
    return READERS[card.kind](body, url, content_type, card, seen)
