"""robots.txt (RFC 9309): in comes what a host answered, out comes what may be fetched from it.

A host that has none forbids nothing; one that is at fault has not said what it allows, so nothing of it is fetched
until it says it.
"""

import asyncio
from typing import Self
from urllib.parse import urljoin, urlsplit

from protego import Protego
from scrapy import Request
from scrapy.crawler import Crawler
from scrapy.exceptions import IgnoreRequest, NotConfigured
from scrapy.http import Response
from scrapy.http.request import NO_CALLBACK

from crawler.answers import FINAL_REFUSALS, MOST_HOPS, REDIRECT_STATUS, REFUSED_HEADER
from vault.egress import REFUSAL_TEXT

FIRST = 1000  # its priority: before the pages that wait for it
MOST_BYTES = 512 << 10  # that are read (section 2.5: at least 500 KiB)
ASK_AGAIN_SECONDS = 1.0  # pages that fail together ask once


class RobotsUnread(Exception):
    """What a host allows cannot be known. `code`, `text`, `final`: what that is for the page that asked."""

    def __init__(self, code: str, text: str, final: bool) -> None:
        super().__init__(text)
        self.code, self.text, self.final = code, text, final


def find_robots(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/robots.txt"


def read_robots(status: int, body: bytes, refusal: str = "") -> Protego:
    """The rules of a host. `refusal`: the guard's code, where it answered instead. Raises RobotsUnread."""
    if refusal in REFUSAL_TEXT:
        raise RobotsUnread(refusal, REFUSAL_TEXT[refusal], refusal in FINAL_REFUSALS)
    if status >= 500:  # section 2.3.1.4
        raise RobotsUnread("robots_unreachable", f"robots.txt answers with {status}: what may be fetched?", False)
    return Protego.parse(body[:MOST_BYTES].decode("utf-8", "replace") if status == 200 else "")


class RobotsMiddleware:
    """In the place of Scrapy's own, which takes an error for a permission and follows no redirect. What keeps
    robots.txt from being fetched (a timeout, a name unknown) is what keeps the page from it."""

    def __init__(self, crawler: Crawler) -> None:
        if not crawler.settings.getbool("ROBOTSTXT_OBEY"):
            raise NotConfigured
        self._crawler = crawler
        self._agent: str = crawler.settings["USER_AGENT"]
        self._rules: dict[str, asyncio.Task[Protego]] = {}  # by the address of the robots.txt

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        return cls(crawler)

    async def process_request(self, request: Request) -> None:
        if request.meta.get("page") is None:
            return  # robots.txt itself
        url = find_robots(request.url)
        if url not in self._rules:
            self._rules[url] = asyncio.ensure_future(self._fetch(url))
        rules = await asyncio.shield(self._rules[url])
        if not rules.can_fetch(request.url, self._agent):
            raise IgnoreRequest("Forbidden by robots.txt")

    async def _fetch(self, url: str) -> Protego:
        key = url
        try:
            for _ in range(MOST_HOPS + 1):
                answer = await self._download(url)
                if answer.status not in REDIRECT_STATUS:
                    refusal = (answer.headers.get(REFUSED_HEADER) or b"").decode("latin-1")
                    return read_robots(answer.status, answer.body, refusal if answer.status == 403 else "")
                url = urljoin(url, (answer.headers.get("Location") or b"").decode("latin-1"))
            return read_robots(404, b"")  # section 2.3.1.2: as if there were none
        except Exception:
            asyncio.get_running_loop().call_later(ASK_AGAIN_SECONDS, self._rules.pop, key, None)
            raise

    async def _download(self, url: str) -> Response:
        assert self._crawler.engine is not None
        return await self._crawler.engine.download_async(Request(url, priority=FIRST, callback=NO_CALLBACK))
