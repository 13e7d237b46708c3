"""A source that is paused while it is crawled, by a person or by a step that saw what may not be kept, is let go."""

import asyncio
import datetime as dt
import io
from dataclasses import dataclass, field
from typing import Any

import pytest

from crawler.cards import hash_card, parse_card
from crawler.crawl import RENEW_SECONDS, Crawl
from crawler.pipeline import Counts
from crawler.progress import Progress
from tests.approvers import TWO
from tests.crawler.test_crawl import CARD
from vault.records import Policy
from vault.store import Connection
from vault.store.sources import SourceCard, pause_source, save_source
from vault.terminal import Screen


@dataclass
class Keeper:
    counts: Counts = field(default_factory=Counts)
    hold_until: float = 0.0
    stopped: str = ""

    def is_due(self) -> bool:
        return False

    def record_refusals(self, refusals: list[tuple[str, str]]) -> None:
        assert refusals == []


class Guard:
    alive = True

    def take_refusals(self) -> list[tuple[str, str]]:
        return []


@pytest.mark.parametrize("paused", [True, False])
def test_a_source_that_is_paused_is_left_alone_within_ten_seconds(conn: Connection, paused: bool) -> None:
    text = CARD.format(top="", read="", pages=10, port=8601)
    card = parse_card(text, "card", dt.date(2026, 1, 1))
    source = save_source(
        conn, SourceCard(name=card.name, text=text, sha256=hash_card(text), policy=Policy.EPHEMERAL, signers=TWO)
    )
    keeper: Any = Keeper()
    guard: Any = Guard()
    with Progress(Screen(file=io.StringIO()), quiet=True) as progress:
        crawl = Crawl(conn, card, source, keeper, guard, progress)
        if paused:
            pause_source(conn, source.source_id, "a person said so")
        asyncio.run(crawl.tick())
        assert not crawl.stopping, "the database is not asked at every tick"
        crawl._renewed -= RENEW_SECONDS + 1
        asyncio.run(crawl.tick())
    assert crawl.stopping is paused
    assert keeper.stopped == ("paused" if paused else "")
