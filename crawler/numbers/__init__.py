"""Numbers as sellers write them: in comes a text, out come claims of faces and people, and prices; None in doubt.

Nothing here raises for what a text contains, and every value keeps the piece of the text it came from.
"""

from crawler.numbers.counts import Claim, Counted, Totals, parse_count, read_claims, sum_up
from crawler.numbers.numerals import Bound
from crawler.numbers.prices import find_money, find_price, parse_price, price_of_one, read_prices
from crawler.numbers.text import LETTER, flatten

__all__ = [
    "LETTER",
    "Bound",
    "Claim",
    "Counted",
    "Totals",
    "find_money",
    "find_price",
    "flatten",
    "parse_count",
    "parse_price",
    "price_of_one",
    "read_claims",
    "read_prices",
    "sum_up",
]
