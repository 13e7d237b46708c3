from crawler.cards import Card
from crawler.kinds.reading import NOTHING, Reading


def parse_folder(body: bytes, url: str, content_type: str, card: Card) -> Reading:
    return Reading(parsed=NOTHING, text="", problem="not built yet")
