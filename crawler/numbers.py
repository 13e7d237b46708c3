"""Numbers as sellers write them: in comes a text, out comes a count of faces or a price; None where it is not certain.

A number counts as a claim only beside a word for faces, photos or people, or a measure word; nothing is guessed.
"""

import re
from decimal import Decimal, InvalidOperation

from price_parser import Price

COUNT = re.compile(
    r"""(?P<number>\d{1,3}(?:[,\s\u00a0.]\d{3})+|\d+(?:[.,]\d+)?)\s*
        (?P<scale>万|千|百万|w|k|m|тыс\.?|mil|lakh)?\s*\+?\s*
        (?:[a-z]+\s+)?
        (?P<unit>张|人|份|套|个|фото|лиц|faces?|photos?|pics?|pictures?|selfies?|people|persons?|sets?|id|caras|fotos)""",
    re.IGNORECASE | re.VERBOSE,
)
SCALES = {"万": 10_000, "w": 10_000, "千": 1000, "k": 1000, "тыс": 1000, "mil": 1000, "m": 10**6, "百万": 10**6,
          "lakh": 100_000}  # fmt: skip
LARGEST_COUNT = 10**11
CURRENCIES = {"USDT": "USDT", "元": "CNY", "¥": "CNY", "￥": "CNY", "RMB": "CNY", "CNY": "CNY", "块": "CNY",
              "US$": "USD", "$": "USD", "USD": "USD", "€": "EUR", "EUR": "EUR", "₽": "RUB", "RUB": "RUB", "₹": "INR",
              "INR": "INR", "£": "GBP", "GBP": "GBP"}  # fmt: skip
MARK = "|".join(re.escape(mark) for mark in CURRENCIES)
PRICE = re.compile(rf"(?:{MARK})\s*\d[\d.,]*|\d[\d.,]*\s*(?:{MARK})(?!\s*\d)", re.IGNORECASE)
NO_PRICE = re.compile(r"-\s*\d|\d\s*e\s*[+-]?\d", re.IGNORECASE)  # negative, or written with an exponent
HIGHEST_PRICE = Decimal(10) ** 12


def parse_count(text: str) -> int | None:
    """How many faces, photos or people a text claims; None if it says none, or several different numbers."""
    found = {value for match in COUNT.finditer(text) if (value := read_number(match)) is not None}
    return found.pop() if len(found) == 1 else None


def read_number(match: re.Match[str]) -> int | None:
    digits, scale = match["number"], (match["scale"] or "").lower().rstrip(".")
    grouped = re.fullmatch(r"\d{1,3}(?:[,\s\u00a0.]\d{3})+", digits)
    if grouped and not scale:
        digits = re.sub(r"[,\s\u00a0.]", "", digits)
    try:
        value = Decimal(digits.replace(",", ".")) * SCALES.get(scale, 1)
    except InvalidOperation:
        return None
    return int(value) if value == value.to_integral_value() and 0 < value <= LARGEST_COUNT else None


def find_price(text: str) -> str:
    """The part of a text that is a price with its currency; nothing if there is none, or more than one."""
    found = {match[0].strip(" .,") for match in PRICE.finditer(text)}
    return found.pop() if len(found) == 1 else ""


def parse_price(text: str) -> tuple[Decimal | None, str | None]:
    """(amount, ISO 4217 currency) of a price; None where the text does not say."""
    amount = Price.fromstring(text).amount if re.search(r"\d", text) else None  # "free sample" is no price of 0
    if amount is None or NO_PRICE.search(text) or not 0 <= amount <= HIGHEST_PRICE:
        amount = None
    currency = next((code for mark, code in CURRENCIES.items() if mark in text.upper()), None)
    return amount, currency
