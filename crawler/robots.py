"""robots.txt (RFC 9309): in comes what a host answered, out comes what may be fetched from it.

A host that has none forbids nothing; one that is at fault has not said what it allows, so nothing of it is fetched
until it says it.
"""

import asyncio
import re
from typing import Self
from urllib.parse import urljoin, urlsplit

from protego import Protego
from scrapy import Request
from scrapy.crawler import Crawler
from scrapy.exceptions import IgnoreRequest, NotConfigured
from scrapy.http import Response
from scrapy.http.request import NO_CALLBACK

from crawler.acts import find_act
from crawler.answers import FINAL_REFUSALS, MOST_HOPS, REDIRECT_STATUS, REFUSED_HEADER
from vault.egress import REFUSAL_TEXT

USER_AGENT = "Mozilla/5.0 (compatible; Facewarden/0.1)"
AGENT_LINE = re.compile(r"\s*user[- ]?agent(?:\s*:|\s+)(?P<name>[^#]*)", re.IGNORECASE)
NOBODY = "User-agent: -"
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
    return Protego.parse(pick_group(body[:MOST_BYTES].decode("utf-8", "replace")) if status == 200 else "")


def pick_group(text: str) -> str:
    """The file with the group that is for us under `*` and all others under a name that nobody has: Protego keeps each
    rule once for each of its agents, and 15,000 agents with 15,000 rules take gigabytes."""
    lines = text.splitlines()
    agents = [read_agent(line) for line in lines]
    ours = max(filter(None, agents), key=measure_match, default="*")
    ours = ours if measure_match(ours) else "*"
    return "\n".join(
        line if not agent else "User-agent: *" if agent == ours else NOBODY
        for agent, line in zip(agents, lines, strict=True)
    )


def read_agent(line: str) -> str:
    """Whom a line speaks to, without wildcards; nothing where it is no such line."""
    found = AGENT_LINE.match(line)
    name = found["name"].strip().lower() if found else ""
    return name.replace("*", "") or name[:1]


def measure_match(agent: str) -> int:
    """How much of our own name an agent of a robots.txt is, as Protego measures it; 0 where it is somebody else's."""
    if agent == "*":
        return 1
    name = USER_AGENT.lower()
    at = name.find(agent)
    while at > 0 and (name[at - 1].isalnum() or name[at - 1] in "-_"):
        at = name.find(agent, at + 1)
    return len(agent) if at >= 0 else 0


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
                if find_act(url) is not None:
                    break
            return read_robots(404, b"")  # section 2.3.1.2: as if there were none
        except Exception:
            asyncio.get_running_loop().call_later(ASK_AGAIN_SECONDS, self._rules.pop, key, None)
            raise

    async def _download(self, url: str) -> Response:
        assert self._crawler.engine is not None
        return await self._crawler.engine.download_async(Request(url, priority=FIRST, callback=NO_CALLBACK))
