"""Scrapy's scheduler over rows: in come claims on the `page` table, out come requests. Nothing is kept in memory but
what is in flight, so a kill loses nothing and a frontier of any length costs no memory."""

from typing import Any, Self

from scrapy import Request, Spider
from scrapy.core.scheduler import BaseScheduler
from scrapy.crawler import Crawler

from crawler.crawl import Crawl


class Frontier(BaseScheduler):
    """Hands out pages in the order they were found."""

    crawl: Crawl

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        return cls()

    def open(self, spider: Spider) -> None:
        self.crawl = spider.crawl  # type: ignore[attr-defined]

    def has_pending_requests(self) -> bool:
        return self.crawl.has_more()

    def enqueue_request(self, request: Request) -> bool:
        """Links and retries are rows; nothing else may bring a request in."""
        return False

    def next_request(self) -> Request | None:
        page = self.crawl.next_page()
        if page is None:
            return None
        meta: dict[str, Any] = {"page": page, "handle_httpstatus_all": True, **self.crawl.browser_meta(page)}
        spider = self.crawl.spider
        return Request(
            page.url,
            headers=self.crawl.headers(page),
            callback=spider.parse,
            errback=spider.failed,
            meta=meta,
            dont_filter=True,
        )
