"""What comes together and is kept together: one answer of a batch must not change what becomes of another."""

import asyncio
import datetime as dt
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from crawler.answers import Fetched
from crawler.capture import WarcFile
from crawler.cards import hash_card, parse_card
from crawler.crawl import RENEW_SECONDS, Crawl
from crawler.pipeline import Counts, Keeper
from crawler.progress import Progress
from crawler.reader import Reader
from tests.approvers import TWO
from tests.crawler.test_crawl import CARD
from tests.crawler.test_pause import Guard
from tests.samples import count, make_listing
from vault.gate import HashGate
from vault.keys import Keys
from vault.records import Page, PageKind, Policy
from vault.settings import Settings
from vault.steps import Asker
from vault.store import Connection, connect
from vault.store.listings import settle_cycle
from vault.store.pages import add_pages, count_pages, list_claimed_pages
from vault.store.sources import SourceCard, get_source, save_source
from vault.store.work import PAGES, claim_rows, fail_row
from vault.terminal import Screen

HOST = "http://127.0.0.1:8601"


@dataclass(frozen=True)
class Desk:
    """A keeper of real rows, and a site whose answers are whatever is handed to it."""

    conn: Connection
    keeper: Keeper
    source_id: int

    def open(self, *paths: str) -> None:
        """These pages are to be fetched, again if they were."""
        new = [self.keeper._new_page(HOST + path, PageKind.PAGE, 0) for path in paths]
        add_pages(self.conn, self.source_id, new)
        self.conn.execute("update page set state = 'ready', attempts = 0, error_code = null, not_before = null")

    def answer(self, answers: dict[str, tuple[int, dict[str, str], str]]) -> None:
        """One batch: each page with its answer, in this order."""
        claim = claim_rows(self.conn, PAGES, 100, source_id=self.source_id)
        assert claim is not None
        pages = {page.url.removeprefix(HOST): page for page in list_claimed_pages(self.conn, claim.ids)}
        for path, (status, headers, text) in answers.items():
            headers = {"content-type": "text/html", **headers}
            self.keeper.add(
                Fetched(page=pages[path], status=status, headers=tuple(headers.items()), body=text.encode())
            )
        self.keeper.flush()

    def states(self) -> dict[str, str]:
        rows = self.conn.execute("select url, state || coalesce(':' || error_code, '') from page").fetchall()
        return {url.removeprefix(HOST): state for url, state in rows}


@pytest.fixture
def desk(settings: Settings, keys: Keys, conn: Connection, tmp_path: Path) -> Iterator[Desk]:
    text = CARD.format(top="", read="", pages=20, port=8601)
    card = parse_card(text, "card", dt.date(2026, 1, 1))
    source = save_source(
        conn, SourceCard(name=card.name, text=text, sha256=hash_card(text), policy=Policy.EPHEMERAL, signers=TWO)
    )
    conn.execute("update source set cycle_at = now()")
    with WarcFile(tmp_path / "warc", card.name) as warc, Reader(card) as reader:
        keeper = Keeper(
            conn, settings, keys, HashGate(digests=frozenset()), Asker(settings), card=card, source=source, warc=warc,
            reader=reader, known_pages=0, read_again=False,
        )  # fmt: skip
        yield Desk(conn, keeper, source.source_id)


def html(text: str) -> tuple[int, dict[str, str], str]:
    return 200, {}, f"<html><body>{text}</body></html>"


def to(path: str) -> tuple[int, dict[str, str], str]:
    return 302, {"location": HOST + path}, ""


def test_pages_of_one_batch_that_redirect_to_each_other_are_a_loop(desk: Desk) -> None:
    desk.open("/a", "/b", "/c")
    desk.answer({"/a": to("/b"), "/b": to("/c"), "/c": to("/a")})
    assert desk.states() == {"/a": "done", "/b": "done", "/c": "quarantined:redirect_loop"}


ITEM = html("<article><h1>b</h1></article>")


@pytest.mark.parametrize("second", [{"/b": to("/a"), "/a": ITEM}, {"/b": to("/a")}], ids=["one batch", "later"])
def test_a_redirect_that_turned_round_is_no_loop(desk: Desk, second: dict[str, Any]) -> None:
    desk.open("/a", "/b")
    desk.answer({"/a": to("/b"), "/b": ITEM})
    desk.open()
    desk.conn.execute("update source set cycle_at = now()")
    desk.answer(second)
    if len(second) == 1:  # the other is still to come
        assert desk.states()["/b"] == "done"
    else:
        assert desk.states() == {"/a": "done", "/b": "done"}


def test_a_batch_that_is_refused_for_one_page_counts_the_links_of_the_others_once(desk: Desk) -> None:
    desk.open("/a", "/b")
    links = "".join(f'<a class="item" href="/p/{number}">x</a>' for number in range(8))
    more = "".join(f'<a class="item" href="/q/{number}">x</a>' for number in range(8))
    spoiled = (200, {"etag": "\0"}, f"<article><h1>x</h1></article>{links}")
    desk.answer({"/a": html(links), "/b": spoiled})
    assert desk.states()["/b"] == "quarantined:store_refused"
    assert desk.keeper._page_count == count_pages(desk.conn, desk.source_id) - 2
    desk.conn.execute("update page set state = 'done' where url like '%%/p/%%' and url not like '%%/p/1'")
    desk.answer({"/p/1": html(more)})
    assert (count_pages(desk.conn, desk.source_id), desk.keeper.counts.cut) == (18, 0)


# -- beside the loop ---------------------------------------------------------------------------------------------------


@dataclass
class Slow:
    """A keeper whose flush is what the test says."""

    flush: Callable[[], list[Page]] = list
    counts: Counts = field(default_factory=Counts)
    hold_until: float = 0.0
    stopped: str = ""
    held: int = 0


def start_crawl(desk: Desk, settings: Settings, keeper: Slow) -> Crawl:
    source = get_source(desk.conn, "test-market")
    assert source is not None
    fake: Any = keeper
    guard: Any = Guard()
    progress = Progress(Screen(file=io.StringIO()), quiet=True)
    return Crawl(connect(settings), desk.keeper._card, source, fake, guard, progress)


def test_leases_are_renewed_while_slow_pages_are_read(desk: Desk, settings: Settings) -> None:
    desk.open("/a", "/b")
    keeper = Slow()
    crawl = start_crawl(desk, settings, keeper)
    assert crawl.next_page() and crawl.next_page()
    desk.conn.execute("update page set lease_until = now() - interval '1 second'")
    crawl._renewed -= RENEW_SECONDS + 1
    seen: list[bool] = []

    def flush() -> list[Page]:
        desk.conn.execute("update page set state = 'done' where url like '%%/a'")  # kept, and not said yet
        deadline = time.monotonic() + 3
        while not seen and time.monotonic() < deadline:
            time.sleep(0.05)
            if count(desk.conn, "select count(*) from page where state = 'running' and lease_until > now()"):
                seen.append(True)
        return []

    keeper.flush = flush
    asyncio.run(crawl._keep())
    assert seen, "a page that is in flight can be claimed by the crawl that holds it"


def test_a_page_that_is_claimed_again_while_its_failure_is_kept_stays_in_flight(desk: Desk, settings: Settings) -> None:
    desk.open("/a")
    keeper = Slow()
    crawl = start_crawl(desk, settings, keeper)
    first = crawl.next_page()
    assert first is not None
    again: list[Page | None] = []

    def flush() -> list[Page]:
        fail_row(desk.conn, PAGES, first.page_id, first.token, "fetch_failed", "", final=False)
        desk.conn.execute("update page set not_before = null")
        again.append(crawl.next_page())
        return [first]

    keeper.flush = flush
    asyncio.run(crawl._keep())
    assert again[0] is not None
    assert crawl._in_flight == {first.page_id: again[0].token}


# -- rows that others hold, and many of them --------------------------------------------------------------------------


def test_ten_thousand_listings_that_move_at_once_are_settled_in_seconds(desk: Desk) -> None:
    listing_id = make_listing(desk.conn, "moving")
    conn = desk.conn
    (source_id,) = conn.execute("select source_id from listing").fetchone() or (0,)
    conn.execute("update source set cycle_at = now() - interval '1 hour'")
    conn.execute("update page set fetched_at = now()")
    conn.execute(
        """with sets as (insert into dataset (created_at) select now() from generate_series(1, 9000) as g
                         returning dataset_id),
           own as (select dataset_id, row_number() over () as n from sets)
           insert into listing (source_id, dataset_id, page_id, url, first_seen, last_seen)
           select source_id, own.dataset_id, page_id, 'u' || n,
                  now() - case when n <= 4500 then interval '1 day' else interval '0' end,
                  now() - case when n <= 4500 then interval '1 day' else interval '0' end
           from own, listing where listing.listing_id = %(id)s""",
        {"id": listing_id},
    )
    conn.execute(
        """insert into listing_version (listing_id, version, capture_id, title, seller, description, price_text,
                                        claimed_text, invalid_fields, seen_at)
           select listing_id, 1, (select min(capture_id) from capture),
                  case when n <= 4400 or n between 4501 and 8900 then 'all the same' else 'lot ' || n % 4500 end,
                  '', '', '', '', '{}', now()
           from (select listing_id, substr(url, 2)::int as n from listing where url like 'u%') as made"""
    )
    began = time.monotonic()
    settle_cycle(conn, source_id)
    assert time.monotonic() - began < 20
    assert count(conn, "select count(*) from listing where state = 'moved'") == 100


def test_more_listings_than_one_statement_bears_are_kept_in_order(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vault.store.listings.MOST_AT_ONCE", 2)
    desk.open("/a")
    desk.answer({"/a": html("".join(f"<article><h1>lot {number}</h1></article>" for number in range(5)))})
    rows = desk.conn.execute("select title from listing_version order by listing_id").fetchall()
    assert rows == [(f"lot {number}",) for number in range(5)]


def test_a_page_is_read_again_while_a_step_writes_samples_of_its_listing(desk: Desk, settings: Settings) -> None:
    """A step's new sample refers to the listing, which is no reason to wait for each other."""
    desk.open("/a")
    desk.answer({"/a": ITEM})
    desk.open()
    with connect(settings) as other, other.transaction():
        other.execute("select 1 from listing for key share")
        desk.conn.execute("set lock_timeout = '2s'")
        desk.answer({"/a": html("<article><h1>c</h1></article>")})
    assert count(desk.conn, "select count(*) from listing_version") == 2
