"""Prices in one currency: in come an amount and the operator's dated rates, out comes what it is worth, and since when.

The rates are the operator's (`[money]` in the settings); none ship with the program and none are guessed.
"""

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

CURRENCY = re.compile(r"[A-Z]{3,5}")  # ISO 4217, or a coin's such as USDT
RATE = re.compile(r"(?P<day>\d{4}-\d\d-\d\d) (?P<currency>[A-Z]{3,5}) (?P<worth>\d{1,12}(?:\.\d{1,12})?)")
HIGHEST = Decimal(10) ** 12
STEP = Decimal("0.000001")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """What one unit of a currency is worth in the currency of the settings, from a day on."""

    day: dt.date
    currency: str
    worth: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class Worth:
    """An amount in another currency, and the day of the rate; no day where it was in that currency already."""

    amount: Decimal
    currency: str
    day: dt.date | None


def parse_rate(text: str) -> Rate:
    """`2026-11-02 USD 0.92`. Raises ValueError."""
    match = RATE.fullmatch(text)
    if match is None or not Decimal(match["worth"]):
        raise ValueError(f'{text!r} is no rate, such as "2026-11-02 USD 0.92"')
    return Rate(day=dt.date.fromisoformat(match["day"]), currency=match["currency"], worth=Decimal(match["worth"]))


def convert(amount: Decimal | None, currency: str | None, to: str, rates: Sequence[Rate], on: dt.date) -> Worth | None:
    """An amount as it was worth on a day, by the newest rate of that day or before, to a millionth; None where
    anything of it is not known."""
    if amount is None or not to or not currency or not (amount.is_finite() and 0 < amount <= HIGHEST):
        return None
    if currency == to:
        return Worth(amount=amount, currency=to, day=None)
    known = [rate for rate in rates if rate.currency == currency and rate.day <= on]
    if not known:
        return None
    rate = max(known, key=lambda each: each.day)
    with localcontext() as context:
        context.prec = 50
        return Worth(amount=(amount * rate.worth).quantize(STEP, ROUND_HALF_EVEN), currency=to, day=rate.day)


def show_amount(amount: Decimal) -> str:
    """An amount for people to read, without the zeros at its end: 0.0024, 1200."""
    return format(amount.normalize(), "f")
