"""Names to addresses within a deadline: in comes a host, out come its addresses or a typed refusal.

`getaddrinfo` cannot be ended, only left behind. So each name is looked up in a thread of its own, one at a time a name,
and names whose service does not answer keep nobody waiting but those who ask for them.
"""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Sequence

from vault.errors import EgressRefused

NAME_SECONDS = 15.0  # that a name may take
SLOW_SECONDS = 30.0  # for which a name that took longer is not asked for again
MOST_LOOKUPS = 256  # at once, those left behind among them
MOST_OF_ZONE = 8  # at once of names with the same end, once they are as many seconds late as ...
LATE_SECONDS = 2.0

LookUp = Callable[[str], Sequence[str]]


def look_up(host: str) -> list[str]:
    """Every address that the system's resolver knows, in its order. Raises OSError, UnicodeError."""
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]


class Names:
    """The lookups of one guard. Lives in one event loop."""

    def __init__(self, look_up: LookUp = look_up, seconds: float = NAME_SECONDS) -> None:
        self._look_up, self._seconds = look_up, seconds
        self._running: dict[str, tuple[float, asyncio.Future[list[str]]]] = {}  # since when, by name
        self._slow: dict[str, float] = {}  # until when such a name is refused at once

    async def resolve(self, host: str) -> list[str]:
        """Every address of the host, each once. Raises EgressRefused: name_unknown, also for one that takes too
        long."""
        now = time.monotonic()
        if now < self._slow.get(host, 0.0):
            raise EgressRefused("name_unknown", f"{host}: its name service did not answer a moment ago")
        future = self._running[host][1] if host in self._running else self._start(host, now)
        try:
            async with asyncio.timeout(self._seconds):
                return list(dict.fromkeys(await asyncio.shield(future)))
        except TimeoutError as exc:
            self._slow = {name: until for name, until in self._slow.items() if until > now}
            self._slow[host] = time.monotonic() + SLOW_SECONDS
            raise EgressRefused("name_unknown", f"{host}: no answer within {self._seconds:g} s") from exc
        except (OSError, UnicodeError) as exc:
            raise EgressRefused("name_unknown", host) from exc

    def _start(self, host: str, now: float) -> "asyncio.Future[list[str]]":
        """Raises EgressRefused, where too many lookups are left behind already."""
        late = [name for name, (since, _) in self._running.items() if now - since > LATE_SECONDS]
        if len(self._running) >= MOST_LOOKUPS or sum(end_of(name) == end_of(host) for name in late) >= MOST_OF_ZONE:
            raise EgressRefused("name_unknown", f"{host}: too many lookups get no answer")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[str]] = loop.create_future()
        self._running[host] = now, future
        threading.Thread(target=self._work, args=(loop, host, future), daemon=True).start()
        return future

    def _work(self, loop: asyncio.AbstractEventLoop, host: str, future: "asyncio.Future[list[str]]") -> None:
        found: list[str] | Exception
        try:
            found = list(self._look_up(host))
        except Exception as exc:  # the edge of this thread: whoever waits is told
            found = exc
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(self._settle, host, future, found)

    def _settle(self, host: str, future: "asyncio.Future[list[str]]", found: list[str] | Exception) -> None:
        del self._running[host]
        self._slow.pop(host, None)
        if isinstance(found, Exception):
            future.set_exception(found)
            future.exception()  # nobody may wait for it any more, which is no error of ours
        else:
            future.set_result(found)


def end_of(host: str) -> tuple[str, ...]:
    """What names of one zone have in common: the last two labels."""
    return tuple(host.split(".")[-2:])
