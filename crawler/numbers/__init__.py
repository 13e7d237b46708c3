"""Numbers as sellers write them: in comes a text, out come claims of faces and people, and prices; None in doubt.

Nothing here raises for what a text contains, and every value keeps the piece of the text it came from.
"""

from crawler.numbers.counts import Counted, parse_count, read_claims
from crawler.numbers.numerals import Bound
from crawler.numbers.prices import Rates, find_price, parse_price, read_prices, unit_price
from crawler.numbers.text import LETTER, flatten

__all__ = [
    "LETTER",
    "Bound",
    "Counted",
    "Rates",
    "find_price",
    "flatten",
    "parse_count",
    "parse_price",
    "read_claims",
    "read_prices",
    "unit_price",
]
