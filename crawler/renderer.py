"""Rendering with a deadline of our own: in comes a request, out comes the page, or the browser that would not give it
is ended with all its processes.

A tab that gave its page is blanked, which ends whatever the page still runs, and shows the next one: a new tab for each
costs more than a screenshot. A tab that failed is closed.
"""

import asyncio
import contextlib
from typing import Any

import psutil
from playwright.async_api import Error as BrowserError
from scrapy import Request, Spider
from scrapy.crawler import Crawler
from scrapy.http import Response
from scrapy_playwright.handler import ScrapyPlaywrightDownloadHandler

from crawler.answers import DownloadStarted
from crawler.watch import Watch
from vault.log import get_logger

TABS = 2  # at once; a second one draws while the first one loads
MOST_PAGES = 50  # of one tab, for what a site's scripts leave behind in it
BLANK_MS = 2_000
CLOSE_SECONDS = 3.0
NOT_SHOWN = ("Download is starting", "net::ERR_ABORTED", "net::ERR_INVALID_RESPONSE")

log = get_logger(__name__)


class Renderer(ScrapyPlaywrightDownloadHandler):  # type: ignore[misc]
    """scrapy-playwright's handler waits without end for a page that spins, and for a browser that hangs."""

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        self._seconds = crawler.settings.getfloat("RENDER_SECONDS")
        assert crawler.spider is not None
        self._watch: Watch = crawler.spider.crawl.watch  # type: ignore[attr-defined]
        self._turns = asyncio.Semaphore(TABS)
        self._free: list[tuple[Any, int]] = []  # blank tabs, and how many pages each has shown

    async def _create_page(self, request: Request, spider: Spider) -> Any:
        """A new tab, in a browser whose requests are watched. Raises playwright's Error."""
        page = await super()._create_page(request, spider)
        try:
            await self._watch.begin(page)
        except BaseException:
            await close_page(page)
            raise
        return page

    async def download_request(self, request: Request) -> Response:
        response: Response
        if not request.meta.get("playwright"):
            response = await super().download_request(request)
            return response
        async with self._turns:
            return await self._render(request)

    async def _get_response_and_download(self, request: Request, page: Any, spider: Any) -> tuple[Any, None]:
        """scrapy-playwright's own takes a page for failed that a script starts a download from. Raises DownloadStarted,
        where there is no page but a download, or an answer that a browser shows nothing of."""
        try:
            response, download = await super()._get_response_and_download(request, page, spider)
        except BrowserError as exc:
            if any(name in exc.message for name in NOT_SHOWN):
                raise DownloadStarted("a download") from exc
            raise
        if response is None and download is not None:
            raise DownloadStarted("a download")
        return response, None

    async def _render(self, request: Request) -> Response:
        tab, shown = self._free.pop() if self._free else (None, 0)
        request.meta.update(playwright_include_page=True, playwright_page=tab)  # so that it is we who close it
        response: Response | None = None
        try:
            async with asyncio.timeout(self._seconds) as deadline:
                with self._watch.expecting(request.url):
                    response = await super().download_request(request)
                return response
        finally:
            page = request.meta.pop("playwright_page", None)
            if page is not tab:
                shown = 0
            if response is not None and shown + 1 < MOST_PAGES and await blank_page(page, request):
                self._free.append((page, shown + 1))
            elif not await close_page(page) or (deadline.expired() and page is None):
                log.warning("the browser does not obey and is ended", count=end_browsers())


async def blank_page(page: Any, request: Request) -> bool:
    """Leave the page that a tab shows, and what was listened to for it. True when nothing of it is left."""
    if page is None or page.is_closed():
        return False
    with contextlib.suppress(Exception):  # a page that will not be left: its tab is closed instead
        for event, listener in request.meta["playwright_page_event_handlers"].items():
            page.remove_listener(event, listener)
        await page.goto("about:blank", timeout=BLANK_MS)
        await page.evaluate("name = ''")  # of the window: it outlives its page
        return bool(page.url == "about:blank")
    return False


async def close_page(page: Any) -> bool:
    """True when it is closed, or there was none."""
    if page is None or page.is_closed():
        return True
    with contextlib.suppress(TimeoutError, Exception):
        await asyncio.wait_for(page.close(), CLOSE_SECONDS)
    return bool(page.is_closed())


def end_browsers() -> int:
    """Kill every browser below us with its process tree; the next page starts another. Returns how many processes."""
    ended = 0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any(part.startswith("--user-data-dir=") for part in process.cmdline()):
                process.kill()
                ended += 1
    return ended
