"""Looking at a few pages without keeping anything: for proposing a card, and for trying one.

In come addresses, out come pages; every request goes through a guard of its own, one after the other, at most a
handful. Nothing is written but what the caller writes into the ledger.
"""

import asyncio
import contextlib
import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import urljoin, urlsplit

import httpx2
from protego import Protego

from crawler.acts import Tally, find_act
from crawler.answers import MOST_HOPS, REFUSED_HEADER, name_act
from crawler.browser import RENDER_MS, context_options, launch_options, wait_for_content
from crawler.cards import Card, Rendering, Robots
from crawler.cookies import Jar
from crawler.pages import ParsedPage, canonical_url
from crawler.proxy import GuardProcess, add_own
from crawler.reader import Reader, Request, Unread
from crawler.robots import USER_AGENT, RobotsUnread, find_robots, read_robots
from crawler.spider import PAGE_BYTES
from crawler.verdicts import Known
from crawler.watch import FindAct, Watch
from vault.egress import REFUSAL_TEXT, Policy
from vault.errors import CardError
from vault.settings import Settings

MOST_PAGES = 10
SECONDS = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """A page as it was, or why there is none (`problem`)."""

    url: str
    status: int = 0
    content_type: str = ""
    body: bytes = b""
    problem: str = ""


class Looker:
    """Fetches single pages through the guard. Raises CardError: look_refused, for an address that is none."""

    def __init__(
        self,
        guard: GuardProcess,
        settings: Settings,
        rendering: Rendering,
        wait_for: str = "",
        accept: str = "",
        jar: Jar | None = None,
        find_act: FindAct = find_act,
    ) -> None:
        self.left_alone = Tally()
        self._find_act = find_act
        self._guard, self._settings, self._rendering, self._wait_for = guard, settings, rendering, wait_for
        self._jar = jar
        self._client = httpx2.Client(
            proxy=guard.address_with_password, trust_env=False, timeout=SECONDS, verify=False,
            headers={"User-Agent": USER_AGENT, **({"Accept": accept} if accept else {})},
        )  # fmt: skip
        self._robots: dict[str, Protego] = {}

    def close(self) -> None:
        self._client.close()

    def fetch_page(self, url: str, *, obey_robots: bool) -> Look:
        if obey_robots and (problem := self._ask_robots(url)):
            return Look(url=url, problem=problem)
        if self._rendering is Rendering.BROWSER:
            return asyncio.run(self._render(url))
        return self._fetch(url)

    def _fetch(self, url: str) -> Look:
        for _ in range(MOST_HOPS + 1):
            try:
                cookies = self._jar.header(url) if self._jar else ""
                with self._client.stream("GET", url, headers={"Cookie": cookies} if cookies else {}) as answer:
                    if self._jar:
                        self._jar.take(url, answer.headers.get_list("set-cookie"))
                    code = answer.headers.get(REFUSED_HEADER, "")
                    if answer.status_code == 403 and code in REFUSAL_TEXT:
                        return Look(url=url, status=403, problem=code)
                    if answer.is_redirect:
                        url = urljoin(url, answer.headers.get("location", ""))
                        if (act := self._find_act(url)) is not None:
                            self.left_alone.note([act])
                            return Look(url=act.shown, status=answer.status_code, problem=name_act(act)[0])
                        continue
                    body = bytearray()
                    for piece in answer.iter_bytes():
                        body += piece
                        if len(body) > PAGE_BYTES:
                            return Look(url=url, status=answer.status_code, problem="body_too_large")
            except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as exc:
                return Look(url=url, problem=f"fetch_failed ({type(exc).__name__})")
            problem = "" if answer.status_code == 200 else f"http_{answer.status_code}"
            return Look(
                url=url, status=answer.status_code, content_type=answer.headers.get("content-type", ""),
                body=bytes(body),
                problem=problem,
            )  # fmt: skip
        return Look(url=url, problem="too_many_redirects")

    async def _render(self, url: str) -> Look:
        from playwright.async_api import Error, async_playwright

        watch = Watch(self._find_act)
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(**launch_options(self._settings, self._guard))
            try:
                page = await browser.new_page(**context_options(self._jar))
                await watch.begin(page)
                with watch.expecting(url):
                    answer = await page.goto(url, timeout=RENDER_MS)
                await wait_for_content(page, self._wait_for)
                status = answer.status if answer else 0
                return Look(
                    url=page.url, status=status, content_type="text/html; charset=utf-8",
                    body=(await page.content()).encode(), problem="" if status == 200 else f"http_{status}",
                )  # fmt: skip
            except Error as exc:
                act = watch.take_stopped(url)
                problem = name_act(act)[0] if act else f"failed_browser ({type(exc).__name__})"
                return Look(url=url, problem=problem)
            finally:
                self.left_alone.note(watch.take())
                await browser.close()

    def _ask_robots(self, url: str) -> str:
        """Nothing, where robots.txt allows it; else what stands in the way."""
        place = find_robots(url)
        if place not in self._robots:
            found = self._fetch(place)
            if not found.status and found.problem != "too_many_redirects":
                return found.problem  # which would be the page's too
            try:
                self._robots[place] = read_robots(found.status, found.body, found.problem)
            except RobotsUnread as exc:
                return exc.code
        return "" if self._robots[place].can_fetch(url, USER_AGENT) else "robots_refused"


@contextlib.contextmanager
def open_looker(
    settings: Settings,
    policy: Policy,
    rendering: Rendering = Rendering.HTML,
    wait_for: str = "",
    accept: str = "",
    jar: Jar | None = None,
    find_act: FindAct = find_act,
) -> Iterator[Looker]:
    with GuardProcess(add_own(policy, settings)) as guard:
        looker = Looker(guard, settings, rendering, wait_for, accept, jar, find_act)
        try:
            yield looker
        finally:
            looker.close()


def host_policy(url: str, lab: tuple[str, ...]) -> Policy:
    """What may be reached while somebody looks at one address: its host. Raises CardError: look_refused."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise CardError("look_refused", f"{url!r} is no web address", mend="give one with http:// or https://")
    return Policy(hosts=(parts.netloc.rpartition("@")[2],), lab=lab, most_bytes=4 * PAGE_BYTES)


def try_card(looker: Looker, card: Card) -> Iterator[tuple[Look, ParsedPage | None]]:
    """Up to ten pages of a card in the order a crawl finds them: what came back, and what the card reads there."""
    waiting = list(card.where.start)
    known = {canonical_url(url) for url in waiting}
    with Reader(card) as reader:
        for _ in range(MOST_PAGES):
            if not waiting:
                return
            look = looker.fetch_page(waiting.pop(0), obey_robots=card.why.robots is Robots.OBEY)
            if look.problem:
                yield look, None
                continue
            said = reader.read(look.body, make_request(look)).said
            problem = f"{said.code} ({said.text})" if isinstance(said, Unread) else said.problem
            if isinstance(said, Unread) or problem:
                yield replace(look, problem=problem), None
                continue
            looker.left_alone.note(said.parsed.left_alone)
            for url in said.parsed.links:
                if canonical_url(url) not in known:
                    known.add(canonical_url(url))
                    waiting.append(url)
            yield look, said.parsed


def make_request(look: Look) -> Request:
    return Request(
        url=look.url, media_type=look.content_type, known=Known(), seen=dt.datetime.now(dt.UTC).date()
    )  # fmt: skip
