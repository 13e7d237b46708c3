"""One crawl of one source: what is in flight, whose turn is next, when it is over. Scrapy's parts ask here."""

import asyncio
import datetime as dt
import time
from typing import TYPE_CHECKING, Any

from crawler.answers import Fetched
from crawler.cards import Card, Rendering, accept_header
from crawler.cookies import Jar
from crawler.pipeline import GUARD_GONE, Keeper, needs_browser
from crawler.progress import Progress
from crawler.proxy import GuardProcess
from vault.errors import LeaseLost, Unavailable
from vault.log import get_logger
from vault.records import Page, PageKind, Source
from vault.store import Connection, DatabaseGone
from vault.store.pages import count_open, has_open, list_claimed_pages
from vault.store.sources import is_paused
from vault.store.work import PAGES, claim_rows, extend_lease

if TYPE_CHECKING:
    from crawler.spider import MarketSpider
    from crawler.watch import Watch

MOST_HELD = 64 << 20  # bytes of answers that are still to be kept; then no more are asked for
RENEW_SECONDS = 10.0
FLUSH_SECONDS = 1.0  # between looks at the leases while a flush runs
LOOK_SECONDS = 0.5  # between looks at the browser's memory

log = get_logger(__name__)


class Crawl:
    spider: "MarketSpider"

    def __init__(
        self,
        conn: Connection,
        card: Card,
        source: Source,
        keeper: Keeper,
        guard: GuardProcess,
        progress: Progress,
        jar: Jar | None = None,
    ) -> None:
        """`conn`: for claims and leases alone, see `connect`; results are kept over the keeper's own."""
        self._progress = progress
        self._conn, self.card, self._source, self.keeper, self.guard = conn, card, source, keeper, guard
        self.jar = jar
        self.watch = make_watch(card)
        self._claimed: list[Page] = []
        self._in_flight: dict[int, int] = {}  # page_id -> token, from the claim until its results are rows
        self._dry = False  # nothing was there to claim, and nothing has been kept since
        self.due = asyncio.Event()  # a tick is wanted at once
        self._renewed = self._looked = time.monotonic()
        self.lost: Exception | None = None  # the database went away
        self.broken: Exception | None = None  # an error nobody foresaw

    def next_page(self) -> Page | None:
        """The next page to fetch. What is fetched and not kept yet counts as in flight, so that a kill has at most as
        many fetched again as are fetched at once."""
        room = self.card.pace.concurrency - len(self._in_flight)
        if self.stopping or time.monotonic() < self.keeper.hold_until or self.keeper.held > MOST_HELD:
            return None
        try:
            if not self._claimed:
                if room < 1 or self._dry:
                    return None
                claim = claim_rows(self._conn, PAGES, room, source_id=self._source.source_id)
                self._dry = claim is None
                if claim is None:
                    return None
                self._claimed = list_claimed_pages(self._conn, claim.ids)
                self._in_flight.update({page.page_id: page.token for page in self._claimed})
        except (*DatabaseGone, Unavailable) as exc:
            self.lost = exc
            return None
        return self._claimed.pop(0)

    def add(self, fetched: Fetched) -> None:
        """An answer: kept with the next tick, which comes at once where half of what is in flight has its answer."""
        self.keeper.add(fetched)
        out = len(self._in_flight) - len(self._claimed)
        if self.keeper.waiting >= min(out, self.card.pace.concurrency // 2 or 1) or self.keeper.held > MOST_HELD:
            self.due.set()

    def has_more(self) -> bool:
        """Is anything claimed, in flight, or still to be claimed?"""
        if self.stopping:
            return False
        if self._in_flight:
            return True
        try:
            return has_open(self._conn, self._source.source_id)
        except DatabaseGone as exc:
            self.lost = exc
            return False

    @property
    def stopping(self) -> bool:
        return self.lost is not None or self.broken is not None or bool(self.keeper.stopped)

    @property
    def waiting(self) -> int:
        return len(self._in_flight)

    async def tick(self) -> bool:
        """Ten times a second, or as soon as one is due: keep what was gathered (beside the loop, which goes on fetching
        while disk and database write), renew leases, note refusals. True if there may be new pages."""
        kept, due = False, self.due.is_set()
        self.due.clear()
        if dt.datetime.now(dt.UTC).date() > self.card.why.valid_until:
            self.keeper.stopped = "card_expired"
        self._look_at_guard()
        if self.card.rendering is Rendering.BROWSER and time.monotonic() - self._looked > LOOK_SECONDS:
            from crawler.browser import end_swollen

            self._looked = time.monotonic()
            if ended := end_swollen():
                log.warning("browser processes held too much memory and were ended", count=ended)
        self._note_left()
        try:
            kept = await self._keep() if due or self.keeper.is_due() else False
            if refusals := self.guard.take_refusals():
                await asyncio.to_thread(self.keeper.record_refusals, refusals)
            self._dry = self._dry and due
            self._progress.tick(self.keeper.counts, lambda: count_open(self._conn, self._source.source_id))
            if time.monotonic() - self._renewed > RENEW_SECONDS:
                if is_paused(self._conn, self._source.source_id):
                    self.keeper.stopped = self.keeper.stopped or "paused"
                self._renew()
        except DatabaseGone as exc:
            self.lost = exc
        held = time.monotonic() < self.keeper.hold_until
        return kept or (not held and (bool(self._claimed) or not self._in_flight))

    async def _keep(self) -> bool:
        """Pages that are slow to read must not cost the others their leases. A page that failed may have been claimed
        again before its neighbours were kept: then it is still in flight."""
        flushing = asyncio.ensure_future(asyncio.to_thread(self.keeper.flush))
        while not (await asyncio.wait([flushing], timeout=FLUSH_SECONDS))[0]:
            if time.monotonic() - self._renewed > RENEW_SECONDS:
                try:
                    self._renew(flushing=True)
                except DatabaseGone as exc:
                    self.lost = exc
        try:
            done = await flushing
        except (OSError, Unavailable) as exc:  # a disk or a folder that is away says nothing of any page
            self.lost = exc
            return False
        for page in done:
            if self._in_flight.get(page.page_id) == page.token:
                del self._in_flight[page.page_id]
        self._dry = self._dry and not done
        return bool(done)

    def _renew(self, *, flushing: bool = False) -> None:
        """The leases of what is in flight. Raises LeaseLost, but for what a flush has just finished."""
        for token in set(self._in_flight.values()):
            ids = [page_id for page_id, held in self._in_flight.items() if held == token]
            try:
                extend_lease(self._conn, PAGES, ids, token)
            except LeaseLost:
                if not flushing:
                    raise
        self._renewed = time.monotonic()

    async def close(self) -> None:
        """The last gathered results."""
        if self.broken is not None:
            return
        self._note_left()
        self._look_at_guard()
        try:
            await self._keep()
            self.keeper.record_refusals(self.guard.take_refusals())
        except DatabaseGone as exc:
            self.lost = exc

    def _look_at_guard(self) -> None:
        """Before results are kept: what failed without it waits, as what is left does."""
        if not self.guard.alive:
            self.keeper.stopped = GUARD_GONE

    def _note_left(self) -> None:
        """Count what the browser was not let ask for."""
        if self.watch is not None:
            self.keeper.counts.left_alone.note(self.watch.take())

    def headers(self, page: Page) -> dict[str, str]:
        """What a request says beside the usual: the form that the card's pages have, and the conditions that spare one
        which has not changed (RFC 9110, section 13.1); no conditions where it is read again."""
        if page.kind is not PageKind.PAGE:
            return {}
        found: dict[str, str | None] = {"Accept": accept_header(self.card)}
        if page.sha256 is not None and not self.keeper.read_again:
            found |= {"If-None-Match": page.etag, "If-Modified-Since": page.modified}
        return {name: value for name, value in found.items() if value}

    def browser_meta(self, page: Page) -> dict[str, Any]:
        """What scrapy-playwright needs to render this page, nothing for the others."""
        if not needs_browser(self.card, page):
            return {}
        from crawler.browser import page_meta

        return page_meta(self.card, page.attempts, self.jar)


def make_watch(card: Card) -> "Watch | None":
    """Who stops the browser's requests that act; None for a card without a browser."""
    if card.rendering is not Rendering.BROWSER:
        return None
    from crawler.watch import Watch

    return Watch(card.find_act)
