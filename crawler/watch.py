"""What a browser may ask for while it renders: in comes each of its requests before it is sent, out come those that are
not sent, since a crawl only reads.

Playwright's `route()` is not asked about redirects, workers and new windows. A session of the DevTools protocol
(https://chromedevtools.github.io/devtools-protocol/tot/Fetch/) for the whole browser is.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any, Protocol
from weakref import WeakSet

from playwright.async_api import Error as BrowserError

from crawler.acts import ActKind, LeftAlone
from crawler.pages import canonical_url
from vault.urls import show_url

READING = frozenset(("GET", "HEAD", "OPTIONS"))  # RFC 9110, section 9.2.1
AHEAD = frozenset(("Ping", "Prefetch", "CSPViolationReport"))  # of the protocol's kinds: what no reader has asked for
MOST_KEPT = 1000  # navigations of which it is known where they began


class FindAct(Protocol):
    def __call__(self, url: str, /, *, chosen: bool = False) -> LeftAlone | None: ...


class Watch:
    """Stops the requests of browsers that would act. `find_act`: as the card says it. Lives in one event loop."""

    def __init__(self, find_act: FindAct) -> None:
        self._find_act = find_act
        self._browsers: WeakSet[Any] = WeakSet()
        self._beginning = asyncio.Lock()
        self._expected: Counter[str] = Counter()  # where tabs are sent by us
        self._begun: dict[str, str] = {}  # of a navigation: where it began, by its id
        self._frames: dict[str, str] = {}  # frames of tabs: where each was sent by us
        self._stopped: dict[str, LeftAlone] = {}  # where a page led, by where its tab was sent
        self._left: list[LeftAlone] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def begin(self, page: Any) -> None:
        """Watch the browser of this page from now on, if it is not watched yet. Raises playwright's Error; then nothing
        may be rendered."""
        async with self._beginning:
            browser = page.context.browser
            if browser in self._browsers:
                return
            session = await browser.new_browser_cdp_session()
            session.on("Fetch.requestPaused", lambda event: self._start(session, event))
            await session.send("Fetch.enable", {"patterns": [{"urlPattern": "*"}]})
            self._browsers.add(browser)

    @contextlib.contextmanager
    def expecting(self, url: str) -> Iterator[None]:
        """While a tab is sent to this address: if it leads to what acts, it fails. Where a page's scripts would go by
        themselves they do not go, and the page stays; one that goes before it is complete never will be."""
        key = canonical_url(url)
        self._stopped.pop(key, None)
        self._expected[key] += 1
        try:
            yield
        finally:
            self._expected[key] -= 1
            self._expected += Counter()  # without those that are zero

    def take(self) -> list[LeftAlone]:
        """What was stopped since the last call."""
        left, self._left = self._left, []
        return left

    def take_stopped(self, url: str) -> LeftAlone | None:
        """Where a page led that could not be shown, because that would have acted."""
        return self._stopped.pop(canonical_url(url), None)

    def _start(self, session: Any, event: dict[str, Any]) -> None:
        task = asyncio.ensure_future(self._answer(session, event))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, session: Any, event: dict[str, Any]) -> None:
        key, sent = self._follow(event)
        act = self.judge(event)
        with contextlib.suppress(BrowserError):  # the page or the browser has ended meanwhile
            if act is None:
                await session.send("Fetch.continueRequest", {"requestId": event["requestId"]})
                return
            self._left.append(act)
            if key:
                self._stopped[key] = act
            reason = "BlockedByClient" if sent or event["resourceType"] != "Document" else "Aborted"
            await session.send("Fetch.failRequest", {"requestId": event["requestId"], "errorReason": reason})

    def _follow(self, event: dict[str, Any]) -> tuple[str, bool]:
        """Where the tab of a navigation was sent by us, and whether this is on the way there; "" for other requests
        and for frames inside a page."""
        navigation, frame = event.get("networkId", ""), event.get("frameId", "")
        if event["resourceType"] != "Document" or not navigation:
            return "", False
        begun = self._begun.setdefault(navigation, canonical_url(event["request"]["url"]))
        sent = self._expected[begun] > 0
        if sent:
            self._frames[frame] = begun
        for table in (self._begun, self._frames, self._stopped):
            if len(table) > MOST_KEPT:
                table.pop(next(iter(table)))
        return self._frames.get(frame, ""), sent

    def judge(self, event: dict[str, Any]) -> LeftAlone | None:
        """Why a request is stopped, None for one that goes on. A page's own scripts may send a token to read with it;
        where a window goes, none may."""
        url, method, kind = event["request"]["url"], event["request"]["method"], event["resourceType"]
        if not url.startswith(("http://", "https://")):
            return None
        word = method.lower() if method not in READING else kind.lower() if kind in AHEAD else ""
        if word:
            return LeftAlone(kind=ActKind.ACTION, word=word, shown=show_url(url))
        return self._find_act(url, chosen=kind != "Document")
