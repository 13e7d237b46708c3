"""Shops, forums, galleries and rendered pages: HTML, read by the card's selectors."""

import datetime as dt
from dataclasses import replace

from crawler.cards import Card
from crawler.kinds.reading import NOTHING, Reading
from crawler.pages import is_too_complex, open_page, read_page
from crawler.verdicts import measure_text


def parse_markup(body: bytes, url: str, content_type: str, card: Card, seen: dt.date | None) -> Reading:
    if is_too_complex(body):
        return Reading(parsed=replace(NOTHING, cut=True), text="", problem="more tags than are read")
    root, base = open_page(body, url, content_type)
    return Reading(parsed=read_page(root, base, url, card, seen=seen), text=measure_text(root), root=root)
