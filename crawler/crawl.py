"""One crawl of one source: what is in flight, whose turn is next, when it is over. Scrapy's parts ask here."""

import datetime as dt
import time
from typing import TYPE_CHECKING, Any

from crawler.cards import Card, Rendering
from crawler.cookies import Jar
from crawler.pipeline import Keeper, needs_browser
from crawler.proxy import GuardProcess
from vault.log import get_logger
from vault.records import Page, PageKind, Source
from vault.store import Connection, DatabaseGone
from vault.store.pages import count_open, list_claimed_pages
from vault.store.work import PAGES, claim_rows, extend_lease

if TYPE_CHECKING:
    from crawler.spider import MarketSpider

RENEW_SECONDS = 10.0
LOOK_SECONDS = 0.5  # between looks at the browser's memory

log = get_logger(__name__)


class Crawl:
    spider: "MarketSpider"

    def __init__(
        self, conn: Connection, card: Card, source: Source, keeper: Keeper, guard: GuardProcess, jar: Jar | None = None
    ) -> None:
        self._conn, self.card, self._source, self.keeper, self.guard = conn, card, source, keeper, guard
        self.jar = jar
        self._claimed: list[Page] = []
        self._in_flight: dict[int, int] = {}  # page_id -> token
        self._renewed = self._looked = time.monotonic()
        self.lost: Exception | None = None  # the database went away
        self.broken: Exception | None = None  # an error nobody foresaw
        keeper.on_done = self._done

    def next_page(self) -> Page | None:
        """The next page to fetch; claimed as many at a time as are fetched at once. No more than those are asked for
        and not yet kept: so many a kill may fetch again."""
        asked = len(self._in_flight) - len(self._claimed)
        if self.stopping or time.monotonic() < self.keeper.hold_until or asked >= self.card.pace.concurrency:
            return None
        try:
            if not self._claimed:
                claim = claim_rows(self._conn, PAGES, self.card.pace.concurrency, source_id=self._source.source_id)
                if claim is None:
                    return None
                self._claimed = list_claimed_pages(self._conn, claim.ids)
                self._in_flight.update({page.page_id: page.token for page in self._claimed})
        except DatabaseGone as exc:
            self.lost = exc
            return None
        return self._claimed.pop(0)

    def has_more(self) -> bool:
        """Is anything claimed, in flight, or still to be claimed?"""
        if self.stopping:
            return False
        if self._in_flight:
            return True
        try:
            return count_open(self._conn, self._source.source_id) > 0
        except DatabaseGone as exc:
            self.lost = exc
            return False

    @property
    def stopping(self) -> bool:
        return self.lost is not None or self.broken is not None or bool(self.keeper.stopped)

    @property
    def waiting(self) -> int:
        return len(self._in_flight)

    def tick(self) -> bool:
        """Ten times a second: keep what was gathered, renew leases, note refusals. True if there may be new pages."""
        kept = False
        if dt.datetime.now(dt.UTC).date() > self.card.why.valid_until:
            self.keeper.stopped = "card_expired"
        if not self.guard.alive:
            self.keeper.stopped = "guard_gone"  # without it nothing is reached; what is left waits
        if self.card.rendering is Rendering.BROWSER and time.monotonic() - self._looked > LOOK_SECONDS:
            from crawler.browser import end_swollen

            self._looked = time.monotonic()
            if ended := end_swollen():
                log.warning("browser processes held too much memory and were ended", count=ended)
        try:
            kept = self.keeper.flush_if_due()
            self.keeper.record_refusals(self.guard.take_refusals())
            if self._in_flight and time.monotonic() - self._renewed > RENEW_SECONDS:
                for token in set(self._in_flight.values()):
                    ids = [page_id for page_id, held in self._in_flight.items() if held == token]
                    extend_lease(self._conn, PAGES, ids, token)
                self._renewed = time.monotonic()
        except DatabaseGone as exc:
            self.lost = exc
        held = time.monotonic() < self.keeper.hold_until
        return kept or (not held and (bool(self._claimed) or not self._in_flight))

    def close(self) -> None:
        """The last gathered results."""
        if self.broken is not None:
            return
        try:
            self.keeper.flush()
            self.keeper.record_refusals(self.guard.take_refusals())
        except DatabaseGone as exc:
            self.lost = exc

    def conditions(self, page: Page) -> dict[str, str]:
        """Headers that spare a page which has not changed (RFC 9110, section 13.1); none where it is read again."""
        if page.sha256 is None or page.kind is not PageKind.PAGE or self.keeper.read_again:
            return {}
        found = {"If-None-Match": page.etag, "If-Modified-Since": page.modified}
        return {name: value for name, value in found.items() if value}

    def browser_meta(self, page: Page) -> dict[str, Any]:
        """What scrapy-playwright needs to render this page, nothing for the others."""
        if not needs_browser(self.card, page):
            return {}
        from crawler.browser import page_meta

        return page_meta(self.card, self.jar)

    def _done(self, page: Page) -> None:
        self._in_flight.pop(page.page_id, None)
