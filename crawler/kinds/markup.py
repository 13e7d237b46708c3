"""Shops, forums, galleries and rendered pages: HTML, read by the card's selectors."""

from crawler.cards import Card
from crawler.kinds.reading import Reading
from crawler.pages import open_page, read_page
from crawler.verdicts import measure_text


def parse_markup(body: bytes, url: str, content_type: str, card: Card) -> Reading:
    root, base = open_page(body, url, content_type)
    return Reading(parsed=read_page(root, base, url, card), text=measure_text(root), root=root)
