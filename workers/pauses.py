"""Steps that pause: what they need is away (a folder, a disk, a key, the database), which says nothing of any row.

A paused step is tried again after a while that grows; `status` shows since when and why. It goes on by itself.
"""

import socket
import time
from dataclasses import dataclass

from vault.steps import Step

SHORTEST, LONGEST = 1.0, 15.0  # seconds between tries


@dataclass(frozen=True, kw_only=True, slots=True)
class Paused:
    until: float  # time.monotonic()
    wait: float


class Pauses:
    """Of one process on `host`."""

    def __init__(self) -> None:
        self.host = socket.gethostname()
        self._paused: dict[Step, Paused] = {}
        self._worked: set[Step] = set()

    def is_paused(self, step: Step) -> bool:
        paused = self._paused.get(step)
        return paused is not None and time.monotonic() < paused.until

    def pause(self, step: Step) -> float:
        """For how many seconds: twice as long as the time before."""
        before = self._paused.get(step)
        wait = SHORTEST if before is None else min(LONGEST, 2 * before.wait)
        self._paused[step] = Paused(until=time.monotonic() + wait, wait=wait)
        return wait

    def resume(self, step: Step) -> bool:
        """The step has worked. True if it had paused, or may have done so before this process began."""
        first = step not in self._worked
        self._worked.add(step)
        return self._paused.pop(step, None) is not None or first
