"""Charts as coordinates: in comes a timeline, out come points that a template draws as SVG. Pure."""

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from vault.store.datasets import Happening

WIDTH, HEIGHT, EDGE = 640, 160, 12
OFFERS = ("new", "changed", "back")  # happenings at which a price is asked


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    x: int
    y: int
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PriceChart:
    """Prices in one currency over time; `left_out` counts those in others."""

    currency: str
    lowest: Decimal
    highest: Decimal
    first: dt.datetime
    last: dt.datetime
    points: tuple[Point, ...]
    left_out: int


def draw_prices(timeline: Sequence[Happening]) -> PriceChart | None:
    """The prices asked, in the currency asked most often; None if there are not two to compare."""
    asked = [(each, each.price) for each in timeline if each.kind in OFFERS and each.price is not None]
    if not asked:
        return None
    currency, count = Counter(each.currency or "" for each, _ in asked).most_common(1)[0]
    shown = [(each, price) for each, price in asked if (each.currency or "") == currency]
    if count < 2:
        return None
    first, last = shown[0][0].at, shown[-1][0].at
    span = (last - first).total_seconds() or 1.0
    highest = max(price for _, price in shown)
    points = tuple(
        Point(
            x=EDGE + round((WIDTH - 2 * EDGE) * (each.at - first).total_seconds() / span),
            y=HEIGHT - EDGE - round((HEIGHT - 2 * EDGE) * (price / highest if highest else Decimal(0))),
            text=f"{each.at.astimezone(dt.UTC):%Y-%m-%d}: {price} {currency}, listing {each.listing_id}",
        )
        for each, price in shown
    )
    lowest = min(price for _, price in shown)
    return PriceChart(currency=currency, lowest=lowest, highest=highest, first=first, last=last, points=points,
                      left_out=len(asked) - count)  # fmt: skip
