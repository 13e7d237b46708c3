"""Running a crawl: in come settings and a card's path, out comes an exit code. One process a crawl."""

import datetime as dt
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from scrapy.crawler import AsyncCrawlerProcess

from crawler.approval import Approved, make_policy, open_card
from crawler.capture import WarcFile
from crawler.cards import LOCAL, Card, Login, Rendering, hash_card, list_places
from crawler.cookies import Jar, choose_cookies, list_rules, read_cookies
from crawler.crawl import Crawl
from crawler.health import CycleFacts, Health, SourceHealth, judge_source
from crawler.pipeline import Keeper
from crawler.progress import Progress
from crawler.proxy import GuardProcess, add_own
from crawler.reader import Reader
from crawler.spider import MarketSpider, spider_settings
from vault.egress import REFUSAL_TEXT
from vault.errors import CardError
from vault.gate import load_gate
from vault.keys import Keys, load_keys
from vault.ledger import Kind
from vault.letters import count_of
from vault.log import get_logger
from vault.records import Source, Visibility
from vault.settings import Settings
from vault.steps import Asker
from vault.store import Connection, connect
from vault.store.approvers import list_approvers
from vault.store.datasets import lock_datasets
from vault.store.deployment import require_own
from vault.store.ledger import write_entry
from vault.store.listings import settle_cycle
from vault.store.logins import get_login
from vault.store.pages import count_missed, count_open, count_pages, lock_source, open_cycle
from vault.store.sources import (
    SourceCard,
    count_endings,
    count_listings,
    get_source,
    mark_crawled,
    save_health,
    save_source,
)
from vault.store.times import check_clocks
from vault.store.visibility import reveal_source
from vault.terminal import Screen

# 75: EX_TEMPFAIL, sysexits.h: run it again
DONE, PAGES_LEFT, PAGES_MISSED, TRUNCATED, LOST_DATABASE = 0, 3, 4, 5, 75

log = get_logger(__name__)


def run_crawl(
    settings: Settings,
    card_path: Path,
    lab: tuple[str, ...],
    show: Callable[[str], None],
    *,
    due_only: bool = False,
    quiet: bool = False,
) -> int:
    """Crawl one source until nothing is left; with `due_only` only what is due. Raises CardError, ServerError,
    KeyFileError, SettingError."""
    keys = load_keys(settings.key_file)
    conn = connect(settings, patience=20.0)
    approved = open_approved(conn, keys, card_path)
    card = approved.card
    if card.kind in LOCAL:
        raise CardError(
            "card_kind", f"{card.name}: kind {card.kind} is not crawled", mend="./facewarden ingest PATH --card CARD"
        )
    source, changed = take_source(conn, approved, alone=bool(lab))
    show(describe_visibility(source, approved))
    jar = open_session(conn, keys, card)
    if lab:
        log.warning("loopback is open for this crawl", pairs=list(lab))
        show(f"lab: loopback open for {', '.join(lab)}")
    with (
        GuardProcess(add_own(make_policy(approved, lab), settings)) as guard,
        WarcFile(settings.home / "warc", card.name) as warc,
        Reader(card) as reader,
        Progress(Screen(stderr=True), quiet=quiet) as progress,
    ):
        keeper = make_keeper(conn, settings, keys, card, source, warc, reader, read_again=changed)
        open_cycle(conn, source.source_id, due_only=due_only)
        keeper.add_start_pages()
        with connect(settings, durable=False) as claims:
            crawl = Crawl(claims, card, source, keeper, guard, progress, jar)
            run_scrapy(settings, card, crawl)
    if crawl.broken is not None:
        raise crawl.broken
    if crawl.lost is not None:
        log.warning("what is needed to keep pages is away; the crawl will go on where it was", why=str(crawl.lost))
        return LOST_DATABASE
    return close_crawl(conn, card, source.source_id, keeper, show)


def open_approved(conn: Connection, keys: Keys, path: Path, place: str = "crawl") -> Approved:
    """The card, or its refusal as a ledger row. Raises CardError; DeploymentError, in a demo of other cards;
    Unavailable: clock_differs, clock_jumped, since a card has a last day."""
    check_clocks(conn)
    try:
        return open_card(list_approvers(conn, keys), path, dt.datetime.now(dt.UTC))
    except CardError as exc:
        write_entry(conn, Kind.REFUSAL, about=f"card:{path.name}", code=exc.stable_code, place=place, by="crawl")
        if exc.stable_code in ("card_unsigned", "card_untrusted"):
            require_own(conn)
        raise


def take_source(conn: Connection, approved: Approved, *, alone: bool) -> tuple[Source, bool]:
    """The card's source, held by this connection until it closes, open to operators as its signatures say; and has its
    card changed? `alone`: one operator alone chooses what is read now. Raises CardError: card_paused, card_busy."""
    card = approved.card
    digest = hash_card(approved.text)
    with conn.transaction():
        before = get_source(conn, card.name)
        if before is not None and before.state == "paused":
            mend = f'if it may go on: ./facewarden source resume {card.name} --why "..."'
            raise CardError("card_paused", f"{card.name} is paused: {before.reason}", mend=mend)
        signers = tuple(each.public_key for each in approved.signers)
        new = SourceCard(name=card.name, text=approved.text, sha256=digest, policy=card.keep.policy,
                         days=card.keep.days, signers=signers, alone=alone, places=list_places(card))  # fmt: skip
        source = save_source(conn, new)
        if not lock_source(conn, source.source_id):
            raise CardError(
                "card_busy",
                f"{card.name} is being crawled already, or taken in",
                mend="wait for that crawl or ingest to end",
            )
        if before is not None and before.visibility is not source.visibility:
            names = ", ".join(each.name for each in approved.signers)
            write_entry(conn, Kind.APPROVAL, about=f"source:{card.name}", act=source.visibility.value,
                        signed_by=names, by="crawl")  # fmt: skip
            if source.visibility is Visibility.OPEN:
                lock_datasets(conn, change=True)  # whoever decides about its faces has ended, or sees that it is open
                reveal_source(conn, source.source_id)
    return source, before is not None and before.card_sha256 != digest


def describe_visibility(source: Source, approved: Approved) -> str:
    """Who signed the card, and who is told of what is found, in a line."""
    names = " and ".join(each.name for each in approved.signers)
    told = {
        Visibility.OPEN: "what is found is shown to operators",
        Visibility.LABELLED: "operators see each alert under a label, until a second approver signs",
        Visibility.PRIVATE: "what is found is told to its person only, until a second approver signs",
    }[source.visibility]
    if source.visibility is not Visibility.OPEN and len(approved.signers) > 1:
        told = "what is found stays closed: it was read before under a card that names other places than this one"
    return f"approved by {names}: {told}"


def make_keeper(
    conn: Connection,
    settings: Settings,
    keys: Keys,
    card: Card,
    source: Source,
    warc: WarcFile,
    reader: Reader,
    *,
    read_again: bool,
) -> Keeper:
    """Raises SettingError, for a hash list that cannot be read."""
    return Keeper(
        conn,
        settings,
        keys,
        load_gate(settings),
        Asker(settings),
        card=card,
        source=source,
        warc=warc,
        reader=reader,
        known_pages=count_pages(conn, source.source_id),
        read_again=read_again,
    )


def open_session(conn: Connection, keys: Keys, card: Card) -> Jar | None:
    """The session that a card allows, None where it allows none. Raises CardError: session_missing, for one that was
    never imported or has ended: without it every page would be a login; and KeyFileError."""
    if card.why.login is not Login.SESSION:
        return None
    sealed = get_login(conn, keys, card.name)
    rules = list_rules(card.where)
    chosen = choose_cookies(read_cookies(sealed or b"[]"), rules, dt.datetime.now(dt.UTC).timestamp())
    if not chosen.cookies:
        what = "its session has ended" if sealed else "no session was imported"
        raise CardError(
            "session_missing", f"{card.name}: {what}", mend="log in, then: ./facewarden source session CARD COOKIES"
        )
    return Jar(chosen.cookies, rules)


def run_scrapy(settings: Settings, card: Card, crawl: Crawl) -> None:
    options: dict[str, Any] = {**spider_settings(card), "DOWNLOAD_TIMEOUT": settings.crawl.page_seconds}
    if card.rendering is Rendering.BROWSER:
        from crawler.browser import browser_settings

        extra = browser_settings(settings, crawl.guard)
        handlers = {**options["DOWNLOAD_HANDLERS"], **extra.pop("DOWNLOAD_HANDLERS")}
        options |= {**extra, "DOWNLOAD_HANDLERS": handlers}
    process = AsyncCrawlerProcess(options, install_root_handler=False)
    logging.getLogger("scrapy").setLevel(logging.WARNING)  # it would log every address
    # and this a traceback for what is an answer of the site, which the row keeps
    logging.getLogger("scrapy-playwright").setLevel(logging.CRITICAL)
    process.crawl(MarketSpider, crawl=crawl)
    process.start()


def close_crawl(conn: Connection, card: Card, source_id: int, keeper: Keeper, show: Callable[[str], None]) -> int:
    """What a crawl leaves: its figures, the lives of listings when the cycle is over, and how the source is."""
    counts, left = keeper.counts, count_open(conn, source_id)
    show(
        f"pages {counts.pages} ({counts.unchanged} unchanged), listings {counts.listings}, samples {counts.samples}, "
        f"failed {counts.failures}, {counts.bytes / 1e6:.1f} MB, left {left}"
    )
    if counts.cut:
        links = count_of(counts.cut, "link")
        show(f"left out: {links}, for which the card's budget has no room (budget.pages, budget.depth)")
    for line in counts.left_alone.show():
        show(line)
    if keeper.stopped:
        show(f"stopped: {keeper.stopped}")
    if not left:
        settle_cycle(conn, source_id)
    facts = replace(read_facts(conn, source_id), left_alone=counts.left_alone.counts.total())
    verdict = judge_source(facts, list_fields(card), card.expect.listings)
    if keeper.stopped == "upstream_unavailable":
        verdict = SourceHealth(health=Health.DEAD, reason=f"{keeper.stopped}: {REFUSAL_TEXT[keeper.stopped]}")
    save_health(conn, source_id, verdict.health.value, verdict.reason, verdict.page_id)
    show(f"source: {verdict.health.value}{f' ({verdict.reason})' if verdict.reason else ''}")
    if left:
        return PAGES_LEFT
    mark_crawled(conn, source_id)
    if missed := count_missed(conn, source_id):
        show(f"missed: {count_of(missed, 'address', 'addresses')} that could not be had in five tries")
        return PAGES_MISSED
    return DONE


def read_facts(conn: Connection, source_id: int) -> CycleFacts:
    endings, listings = count_endings(conn, source_id), count_listings(conn, source_id)
    return CycleFacts(
        ended={ending: count for ending, count, _ in endings["all"]},
        starts={ending: count for ending, count, _ in endings["start"]},
        example={ending: example for ending, _, example in endings["all"]},
        listings=listings["seen"],
        before=listings["before"],
        missing={name: listings[name] for name in ("seller", "price", "description", "image")},
    )


def list_fields(card: Card) -> tuple[str, ...]:
    """The fields that the card says how to read."""
    return tuple(name for name in ("seller", "price", "description", "image") if getattr(card.read, name))
