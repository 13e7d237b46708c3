"""Shops, forums, galleries and rendered pages: HTML, read by the card's selectors."""

import datetime as dt

from crawler.cards import Card
from crawler.kinds.reading import TOO_COMPLEX, Reading
from crawler.pages import open_tree, read_places
from crawler.verdicts import measure_text


def parse_markup(body: bytes, url: str, content_type: str, card: Card, seen: dt.date | None) -> Reading:
    tree = open_tree(body, url, content_type)
    if tree is None:
        return TOO_COMPLEX
    parsed, places = read_places(tree, url, card, seen)
    return Reading(parsed=parsed, text=measure_text(tree.root), root=tree.root, places=places)
