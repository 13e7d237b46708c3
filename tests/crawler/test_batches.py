"""What comes together and is kept together: one answer of a batch must not change what becomes of another."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from crawler.capture import WarcFile
from crawler.cards import hash_card, parse_card
from crawler.pipeline import Fetched, Keeper
from tests.crawler.test_crawl import CARD
from vault.gate import HashGate
from vault.keys import Keys
from vault.records import PageKind, Policy
from vault.settings import Settings
from vault.steps import Asker
from vault.store import Connection
from vault.store.pages import add_pages, count_pages, list_claimed_pages
from vault.store.sources import save_source
from vault.store.work import PAGES, claim_rows

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
    source = save_source(conn, card.name, text, hash_card(text), Policy.EPHEMERAL, 0)
    conn.execute("update source set cycle_at = now()")
    with WarcFile(tmp_path / "warc", card.name) as warc:
        keeper = Keeper(
            conn, settings, keys, HashGate(digests=frozenset()), Asker(settings), card=card, source=source, warc=warc, known_pages=0,
            read_again=False,
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
