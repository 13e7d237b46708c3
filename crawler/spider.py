"""The one spider, and the middleware through which everything leaves: Scrapy's side of a crawl."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any, Self, TypeVar

import httpx2
from scrapy import Request, Spider, signals
from scrapy.crawler import Crawler
from scrapy.exceptions import DownloadTimeoutError, IgnoreRequest
from scrapy.http import Response
from scrapy.resolver import CachingThreadedResolver
from twisted.internet import defer, error
from twisted.internet.abstract import isIPAddress
from twisted.python.failure import Failure

from crawler.acts import LeftAlone
from crawler.answers import DOWNLOAD, FINAL_REFUSALS, DownloadStarted, Fetched, name_act
from crawler.archives import fetch_archive
from crawler.capture import Answer
from crawler.cards import Card, Robots
from crawler.crawl import Crawl
from crawler.robots import USER_AGENT, RobotsUnread
from vault.egress import REFUSAL_TEXT
from vault.errors import InputRefused
from vault.log import clean_text, get_logger
from vault.records import PageKind
from vault.urls import hide_urls

TICK_SECONDS = 0.1
PAGE_BYTES = 32 << 20  # of a page or an image, after decompression
TUNNEL_REFUSED = re.compile(r"CONNECT tunnel.*'status': 403, 'reason': b?'([a-z_]+)'")  # of an https address
UNNAMED = ("fetch_timeout", "fetch_failed")  # what is left when nothing else says why
TIMEOUTS = (TimeoutError, error.TimeoutError, defer.TimeoutError, DownloadTimeoutError, httpx2.TimeoutException)

T = TypeVar("T")

log = get_logger(__name__)


class ActRefused(Exception):
    """A row of the frontier whose address acts: it is not asked for."""

    def __init__(self, act: LeftAlone) -> None:
        super().__init__(act.word)
        self.act = act


class MarketSpider(Spider):
    """Yields nothing: answers go to the keeper, links become rows."""

    name = "facewarden"

    def __init__(self, crawl: Crawl, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.crawl = crawl
        crawl.spider = self
        self._ticking: asyncio.Task[None] | None = None
        self._ending = False

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Self:
        spider = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider.begin, signals.spider_opened)
        crawler.signals.connect(spider.end, signals.spider_closed)
        return spider

    async def start(self) -> AsyncIterator[Any]:
        """Nothing: the frontier is rows, and the start URLs are among them."""
        nothing: tuple[Request, ...] = ()
        for request in nothing:
            yield request

    def begin(self) -> None:
        self._ticking = asyncio.ensure_future(self._tick())

    async def end(self) -> None:
        self._ending = True
        self.crawl.due.set()
        if self._ticking:
            await self._ticking
        await self.crawl.close()

    async def _tick(self) -> None:
        while not self._ending:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self.crawl.due.wait()
            try:
                wake = await self.crawl.tick()
            except Exception as exc:  # the edge of this task: without it the crawl would wait for ever
                self.crawl.broken, wake = exc, True
            if wake:
                self._wake_engine()

    def _wake_engine(self) -> None:
        """Have the engine ask the frontier now; by itself it would look again only every five seconds. Scrapy has no
        public call for it: its own parts use this one."""
        slot = self.crawler.engine._slot if self.crawler.engine else None
        if slot is not None:
            slot.nextcall.schedule()

    def parse(self, response: Response) -> None:
        rendered = bool(response.meta.get("playwright"))
        if rendered and response.status == 200 and not self.crawl.keeper.allows(response.url, PageKind.PAGE):
            elsewhere = ("redirect_refused", "a script led the browser to where the card does not go", True)
            self.crawl.add(Fetched(page=response.meta["page"], failure=elsewhere))
            return
        headers = tuple(
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, values in response.headers.items()
            for value in values
        )
        self.crawl.add(
            Fetched(
                page=response.meta["page"],
                status=response.status,
                headers=headers,
                body=response.body,
                rendered=rendered,
                archive=response.meta.get("archive"),
                answer=find_result(response.meta, Answer),
                screenshot=find_result(response.meta, bytes) or b"",
            )
        )

    def failed(self, failure: Failure) -> None:
        page = failure.request.meta["page"]  # type: ignore[attr-defined]
        code, text, final = name_failure(failure.value or Exception())
        if isinstance(failure.value, DownloadStarted):
            code, text, final = DOWNLOAD, "a browser would save it", False
        elif code in UNNAMED and page.kind is PageKind.PAGE and failure.request.meta.get("playwright"):  # type: ignore[attr-defined]
            code = "failed_browser"
        watch = self.crawl.watch
        if watch is not None and (act := watch.take_stopped(failure.request.url)) is not None:  # type: ignore[attr-defined]
            code, text, final = name_act(act)
        log.info("a fetch failed", code=code, detail=text)
        self.crawl.add(Fetched(page=page, failure=(code, text, final)))


def find_result(meta: dict[str, Any], kind: type[T]) -> T | None:
    """What a page method of a rendered page brought (see crawler/browser.py), by its type."""
    results = (method.result for method in meta.get("playwright_page_methods") or ())
    return next((result for result in results if isinstance(result, kind)), None)


def name_failure(problem: BaseException) -> tuple[str, str, bool]:
    """(code, text, final) of whatever stopped a fetch."""
    text = clean_text(hide_urls(str(problem)) or type(problem).__name__)
    if isinstance(problem, InputRefused):
        return problem.stable_code, problem.message, True
    if isinstance(problem, ActRefused):
        return name_act(problem.act)
    if isinstance(problem, RobotsUnread):
        return problem.code, problem.text, problem.final
    if "maxsize" in text.lower() or "cancelled" in type(problem).__name__.lower():
        return "body_too_large", text, True
    if isinstance(problem, IgnoreRequest):
        return ("robots_refused" if "robots.txt" in text else "request_ignored"), text, True
    if isinstance(problem, TIMEOUTS):
        return "fetch_timeout", text, False
    if (refused := TUNNEL_REFUSED.search(text)) and refused[1] in REFUSAL_TEXT:
        return refused[1], REFUSAL_TEXT[refused[1]], refused[1] in FINAL_REFUSALS
    return "fetch_failed", f"{type(problem).__name__}: {text}"[:300], False


class GuardMiddleware:
    """The last one before the downloader: every request goes to the guard, or nowhere."""

    def __init__(self, crawl: Crawl) -> None:
        self._crawl = crawl

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        assert crawler.spider is not None
        return cls(crawler.spider.crawl)  # type: ignore[attr-defined]

    async def process_request(self, request: Request) -> Response | None:
        guard, jar = self._crawl.guard, self._crawl.jar
        request.meta["proxy"] = guard.address
        request.headers["Proxy-Authorization"] = guard.authorization
        page = request.meta.get("page")
        if page is None:  # robots.txt: for everybody
            return None
        if (act := self._crawl.keeper.find_act(request.url, page.kind)) is not None:  # a row of an older version
            raise ActRefused(act)
        cookies = jar.header(request.url) if jar and not request.meta.get("playwright") else ""
        if cookies:
            request.headers["Cookie"] = cookies
        if page.kind is not PageKind.ARCHIVE:
            return None
        fetched = await fetch_archive(
            request.url,
            guard.address_with_password,
            {"User-Agent": USER_AGENT, **({"Cookie": cookies} if cookies else {})},
            self._crawl.keeper.blob_folder,
            self._crawl.card.budget.archive_bytes,
        )
        request.meta["archive"] = fetched
        return Response(request.url, status=fetched.status, headers=fetched.headers, request=request)

    async def process_response(self, request: Request, response: Response) -> Response:
        """What the site sets within a session counts for the rest of this crawl."""
        jar, page = self._crawl.jar, request.meta.get("page")
        if jar and page is not None and page.kind is not PageKind.ARCHIVE and not request.meta.get("playwright"):
            jar.take(request.url, [value.decode("latin-1") for value in response.headers.getlist("Set-Cookie")])
        return response


class NoNames(CachingThreadedResolver):
    """Scrapy never resolves a name: the guard does. So a request that missed the guard goes nowhere."""

    def getHostByName(self, name: str, timeout: Any = ()) -> "defer.Deferred[str]":  # noqa: N802  Twisted's name
        if isIPAddress(name):  # the guard's own
            return defer.succeed(name)
        return defer.fail(error.DNSLookupError(f"only the guard resolves names: {name}"))


def spider_settings(card: Card) -> dict[str, Any]:
    """Scrapy's settings for a crawl of this card, without a browser."""
    return {
        "SCHEDULER": "crawler.frontier.Frontier",
        "TWISTED_DNS_RESOLVER": "crawler.spider.NoNames",
        "DOWNLOADER_MIDDLEWARES": {
            "scrapy.downloadermiddlewares.robotstxt.RobotsTxtMiddleware": None,
            "crawler.robots.RobotsMiddleware": 100,
            "crawler.spider.GuardMiddleware": 990,
        },
        "DOWNLOAD_HANDLERS": {"file": None, "ftp": None, "data": None, "s3": None},
        "DOWNLOAD_MAXSIZE": PAGE_BYTES,
        "DOWNLOAD_WARNSIZE": 0,
        "DOWNLOAD_DELAY": card.pace.delay,
        "CONCURRENT_REQUESTS": card.pace.concurrency,
        "CONCURRENT_REQUESTS_PER_DOMAIN": card.pace.concurrency,
        "CONCURRENT_ITEMS": 1,  # the spider yields none; Scrapy would start a hundred tasks an answer to look for some
        "CLOSESPIDER_TIMEOUT": card.budget.seconds,
        "ROBOTSTXT_OBEY": card.why.robots is Robots.OBEY,
        "USER_AGENT": USER_AGENT,
        "RETRY_ENABLED": False,
        "REDIRECT_ENABLED": False,
        "METAREFRESH_ENABLED": False,
        "COOKIES_ENABLED": False,
        "HTTPPROXY_ENABLED": False,
        "REFERER_ENABLED": False,
        "HTTPERROR_ALLOW_ALL": True,
        # of Scrapy's extensions only these two: the others open a port (RemoteControl runs code sent to it), write
        # files, or keep state that rows keep better
        "EXTENSIONS_BASE": {"scrapy.extensions.corestats.CoreStats": 0, "scrapy.extensions.closespider.CloseSpider": 0},
        "LOG_LEVEL": "WARNING",
        "STATS_DUMP": False,
        "TWISTED_REACTOR": "twisted.internet.asyncioreactor.AsyncioSelectorReactor",
    }
