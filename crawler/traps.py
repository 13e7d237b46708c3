"""Patterns of addresses that lead on and on and to nothing: calendars, endless lists, session traps."""

import re

from vault.log import get_logger

BARREN_PAGES = 30  # pages of one pattern in a row that lead to nothing new

log = get_logger(__name__)


class Barren:
    """Counts the pages of each pattern in a row that led to nothing new."""

    def __init__(self) -> None:
        self._runs: dict[str, int] = {}

    def note(self, url: str, fruitful: bool) -> None:
        pattern = make_pattern(url)
        self._runs[pattern] = 0 if fruitful else self._runs.get(pattern, 0) + 1
        if self._runs[pattern] == BARREN_PAGES:
            log.warning("a pattern of pages leads to nothing; no more of them are added in this crawl")

    def is_trap(self, url: str) -> bool:
        return self._runs.get(make_pattern(url), 0) >= BARREN_PAGES


def make_pattern(url: str) -> str:
    """An address with every run of digits as one 0."""
    return re.sub(r"\d+", "0", url)
