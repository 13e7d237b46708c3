"""What a crawl has done so far, for whoever watches: one line that is renewed on a terminal, a plain line now and then
elsewhere, nothing for `--quiet`."""

import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.live import Live

from crawler.pipeline import Counts
from vault.terminal import Screen

TERMINAL_SECONDS, PLAIN_SECONDS = 1.0, 10.0
QUEUE_SECONDS = 5.0  # between counts of the queue, which takes a while when it is long
RATE_SECONDS = 10.0  # that the rate is an average of


class Progress:
    """Use as a context manager; `tick` as often as you like."""

    def __init__(self, console: Screen, *, quiet: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._quiet, self._clock = console, quiet, clock
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._every = TERMINAL_SECONDS if self._live else PLAIN_SECONDS
        self._shown = self._counted = clock()
        self._answers = deque([(self._shown, 0)])
        self._queue = 0

    def __enter__(self) -> Self:
        if self._live and not self._quiet:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if self._live and not self._quiet:
            self._live.stop()

    def tick(self, counts: Counts, count_queue: Callable[[], int]) -> None:
        """Show a line if it is time."""
        now = self._clock()
        if self._quiet or now - self._shown < self._every:
            return
        if now - self._counted >= QUEUE_SECONDS or not self._queue:
            self._queue, self._counted = count_queue(), now
        self._shown = now
        self._answers.append((now, counts.pages + counts.samples + counts.failures))
        while len(self._answers) > 2 and now - self._answers[1][0] >= RATE_SECONDS:
            self._answers.popleft()
        (began, before), (_, after) = self._answers[0], self._answers[-1]
        line = write_line(counts, self._queue, (after - before) / max(now - began, 0.001))
        if self._live:
            self._live.update(line, refresh=True)
        else:
            self._console.print(line)


def write_line(counts: Counts, queue: int, rate: float) -> str:
    failed = f", failed {counts.failures:,}" if counts.failures else ""
    return (
        f"pages {counts.pages:,}, listings {counts.listings:,}, samples {counts.samples:,}{failed}, "
        f"{counts.bytes / 1e6:.1f} MB, queue {queue:,}, {rate:.1f} a second"
    )
