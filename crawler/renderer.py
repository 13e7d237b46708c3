"""Rendering with a deadline of our own: in comes a request, out comes the page, or the browser that would not give it
is ended with all its processes."""

import asyncio
import contextlib
from typing import Any

import psutil
from scrapy import Request
from scrapy.crawler import Crawler
from scrapy.http import Response
from scrapy_playwright.handler import ScrapyPlaywrightDownloadHandler

from vault.log import get_logger

CLOSE_SECONDS = 3.0

log = get_logger(__name__)


class Renderer(ScrapyPlaywrightDownloadHandler):  # type: ignore[misc]
    """scrapy-playwright's handler waits without end for a page that spins, and for a browser that hangs."""

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        self._seconds = crawler.settings.getfloat("RENDER_SECONDS")

    async def download_request(self, request: Request) -> Response:
        response: Response
        if not request.meta.get("playwright"):
            response = await super().download_request(request)
            return response
        request.meta["playwright_include_page"] = True  # so that it is we who close it
        try:
            async with asyncio.timeout(self._seconds) as deadline:
                response = await super().download_request(request)
                return response
        finally:
            page = request.meta.pop("playwright_page", None)
            if not await close_page(page) or (deadline.expired() and page is None):
                log.warning("the browser does not obey and is ended", count=end_browsers())


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
