"""How many rows a claim takes: as many as this machine works off in some seconds, by its own measurement.

A claim that takes minutes holds its rows from others and loses much work with its holder; so a machine that is eight
times slower takes an eighth. What was tried before may take a quarter of the time while there is fresh work.
"""

import time

from vault.store.work import Claim

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
