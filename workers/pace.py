"""How many rows a claim takes: as many as this machine works off in some seconds, by its own measurement.

A claim that takes minutes holds its rows from others and loses much work with its holder; so a machine that is eight
times slower takes an eighth. What was tried before may take a quarter of the time while there is fresh work. Sources
share the time, not the rows: one whose pictures are dear has few of them in a claim, and whoever had least comes first.
"""

import math
import time
from dataclasses import dataclass

from vault.store.work import Claim, Share

CLAIM_SECONDS = 5.0  # that a claim should take
FIRST = 32  # rows of the first claim, when nothing is known
SMOOTHING = 0.5  # weight of the newest measurement
TRIED_SHARE = 3.0  # seconds for fresh rows for each second that rows tried before took


class Pace:
    """Of one process and one table."""

    def __init__(self) -> None:
        self._row_seconds: float | None = None
        self._largest = FIRST
        self._tried_at = 0.0  # time.monotonic() from which a row that was tried before may come first

    def limit(self, most: int) -> int:
        if self._row_seconds is None:
            return min(most, self._largest)
        wanted = int(CLAIM_SECONDS / self._row_seconds) if self._row_seconds > 0 else most
        return max(1, min(most, self._largest, wanted))

    def may_retry(self) -> bool:
        return time.monotonic() >= self._tried_at

    def note(self, claim: Claim, seconds: float) -> None:
        """A claim was worked off in this time."""
        if claim.tried:
            self._tried_at = time.monotonic() + TRIED_SHARE * seconds
            return
        measured = seconds / len(claim.ids)
        known = self._row_seconds
        self._row_seconds = measured if known is None else SMOOTHING * measured + (1 - SMOOTHING) * known
        self._largest = max(self._largest, 2 * len(claim.ids))


SHARE_SECONDS = 2.0  # that the rows of one source should take in a claim
MEMORY_SECONDS = 120.0  # of work, after which what a source had is as good as forgotten
FORGOTTEN = 0.001  # seconds


@dataclass(slots=True)
class Cost:
    """Of the rows of one source: seconds each, and seconds that they had lately."""

    row: float
    spent: float


class Shares:
    """What the sources' rows cost in one process, for one table."""

    def __init__(self) -> None:
        self._costs: dict[int, Cost] = {}

    def note(self, key: int, rows: int, seconds: float) -> None:
        """So many rows of a source took so long."""
        fading = math.exp(-seconds / MEMORY_SECONDS)
        for cost in self._costs.values():
            cost.spent *= fading
        measured = seconds / rows
        known = self._costs.setdefault(key, Cost(row=measured, spent=0.0))
        known.row = SMOOTHING * measured + (1 - SMOOTHING) * known.row
        known.spent += seconds
        self._costs = {key: cost for key, cost in self._costs.items() if cost.spent > FORGOTTEN}

    def list(self, most: int) -> list[Share]:
        """For a claim of up to `most` rows."""
        return [
            Share(key=key, most=max(1, min(most, int(SHARE_SECONDS / max(cost.row, 1e-6)))), spent=cost.spent)
            for key, cost in self._costs.items()
        ]
