"""Shops, forums, galleries and rendered pages: HTML, read by the card's selectors."""

import datetime as dt

from crawler.cards import Card
from crawler.kinds.reading import Reading
from crawler.pages import open_page, read_page
from crawler.verdicts import measure_text


def parse_markup(body: bytes, url: str, content_type: str, card: Card, seen: dt.date | None) -> Reading:
    root, base = open_page(body, url, content_type)
    return Reading(parsed=read_page(root, base, url, card, seen=seen), text=measure_text(root), root=root)
