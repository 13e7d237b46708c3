"""What was fetched becomes rows: in come responses, out go captures, listings, samples, links, the next state.

Results are gathered for a moment and kept together: evidence is written and synced first (WARC records, encrypted
blobs), then one transaction holds everything that follows from it, so a page is done exactly when its evidence and its
links are rows. A kill at any moment loses nothing and fetches at most what was in flight again.
"""

import datetime as dt
import email.utils
import hashlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urljoin

from crawler.archives import FetchedArchive
from crawler.capture import Answer, WarcFile, make_head, seal_body
from crawler.cards import LOCAL, Card, CardKind, Rendering
from crawler.kinds import parse_answer
from crawler.kinds.reading import INGEST
from crawler.pages import ParsedPage, canonical_url, is_too_complex
from crawler.verdicts import WALLS, Known, Verdict, is_html, is_page, judge_page
from vault.blobs import BlobWriter, sync_blobs, unlink_blob
from vault.egress import REFUSAL_TEXT, HostRule, parse_rule, parse_target
from vault.errors import BlobError, EgressRefused
from vault.gate import HashGate, hash_md5, record_hit
from vault.keys import Keys
from vault.ledger import Kind
from vault.log import get_logger
from vault.records import BlobCapture, Capture, Listing, Page, PageKind, Source
from vault.settings import Settings
from vault.steps import Asker, Step
from vault.store import Connection, RowRefused
from vault.store.blob_captures import save_blob_captures
from vault.store.blobs import keep_blobs
from vault.store.ledger import write_entries, write_entry
from vault.store.listings import Shown, save_listings, touch_listings
from vault.store.pages import (
    Fetch,
    NewPage,
    add_pages,
    count_images,
    find_kept_size,
    leads_back,
    link_pages,
    list_known_keys,
    move_links,
    reopen_page,
    save_captures,
    save_fetches,
)
from vault.store.samples import NewSample, save_page_samples, save_samples, unlock_again
from vault.store.work import PAGES, fail_row, finish_rows, put_back_row

MOST_HOPS = 5
GATHER_SECONDS = 0.1
RETRY_STATUS = {408, 425, 429, 500, 502, 503, 504}
SLOW_DOWN = {429, 503}  # the site asks for a rest
LONGEST_HOLD = 60.0  # seconds that the whole crawl rests at once; a page that asks for longer waits by itself
UPSTREAM_SECONDS = 5.0  # how long a crawl waits for the card's proxy; then it ends and its pages wait
SCREENSHOT_DAYS = 1  # at least; for a person to see what a wall looked like, and for matching to be over
LONGEST_WAIT = 6 * 3600.0
NOT_MODIFIED = 304
NOT_A_SAMPLE = ("not_a_sample", "a page, perhaps a login, where a picture or an archive should be", True)
# asked for again, even if it comes back as it was
GONE = ("http_404", "http_410", Verdict.GONE.value, "file_gone", "file_refused", "file_unreadable")
BARREN_PAGES = 30  # pages of one pattern in a row that lead to nothing new: a calendar, an endless list
REDIRECT_STATUS = {301, 302, 303, 307, 308}
REFUSED_HEADER = "x-facewarden-refused"
FINAL_REFUSALS = REFUSAL_TEXT.keys() - {"upstream_unavailable", "unreachable", "name_unknown"}

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """One answer. `failure`: (code, text, final) where there was none."""

    page: Page
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    rendered: bool = False
    archive: FetchedArchive | None = None
    answer: Answer | None = None  # behind a rendered page
    screenshot: bytes = b""
    failure: tuple[str, str, bool] | None = None

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name), "")


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """An answer with its evidence written, and what follows from it: a failure, a redirect, nothing new, a page that
    was read, or a blob. A failure may have a capture too: a wall is evidence."""

    fetched: Fetched
    failure: tuple[str, str, bool] | None = None
    redirect: str | None = None
    unchanged: bool = False
    capture: Capture | None = None
    parsed: ParsedPage | None = None
    verdict: Verdict = Verdict.CONTENT
    text_size: int = 0
    blob: BlobWriter | None = None
    drawn_from: Capture | None = None
    screenshot: BlobWriter | None = None
    listed: tuple[str, str] | None = None  # MD5, SHA-256

    @property
    def writers(self) -> list[BlobWriter]:
        return [writer for writer in (self.blob, self.screenshot) if writer is not None]


@dataclass(kw_only=True, slots=True)
class Counts:
    """What a crawl has done so far."""

    pages: int = 0
    unchanged: int = 0
    listings: int = 0
    samples: int = 0
    failures: int = 0
    cut: int = 0  # links to new pages that the card's budget has no room for
    bytes: int = 0
    refused: dict[str, int] = field(default_factory=dict)


class Keeper:
    """Keeps the results of one crawl."""

    def __init__(
        self,
        conn: Connection,
        settings: Settings,
        keys: Keys,
        gate: HashGate,
        asker: Asker,
        *,
        card: Card,
        source: Source,
        warc: WarcFile,
        known_pages: int,
        read_again: bool,
    ) -> None:
        self._conn, self._settings, self._keys, self._gate, self._asker = conn, settings, keys, gate, asker
        self._card, self._source, self._warc = card, source, warc
        self._blobs = settings.home / "blobs"
        self._local = card.kind in LOCAL
        self._rules: tuple[HostRule, ...] = tuple(map(parse_rule, card.where.hosts))
        self._sample_rules = (*self._rules, *map(parse_rule, card.where.image_hosts))
        self._page_count = known_pages
        self.read_again = read_again  # the card has changed, so unchanged pages are parsed again
        self._waiting: list[Fetched] = []
        self._known: list[BlobWriter] = []  # blobs whose content is kept already
        self._since = 0.0
        self.counts = Counts()
        self.stopped = ""  # why the crawl has to stop, once it has
        self.hold_until = 0.0  # time.monotonic() before which the site wants to be left alone
        self._barren = Barren()
        self._noted: list[tuple[str, bool]] = []  # for it, once it is written: a page's address, and was it fruitful?
        self._new_samples = False  # since the step was asked for
        self._flushing: list[Fetched] = []
        self._upstream_gone = 0.0  # since when the card's proxy does not answer, in time.monotonic()

    @property
    def blob_folder(self) -> Path:
        return self._blobs

    def add_start_pages(self) -> None:
        """The card's start URLs, for a source that has no pages yet or a card that has new ones."""
        pages = [self._new_page(url, PageKind.PAGE, 0) for url in self._card.where.start]
        _, added = add_pages(self._conn, self._source.source_id, pages)
        self._page_count += len(added)

    def add(self, fetched: Fetched) -> None:
        """Kept with the next flush, which the crawl asks for: there an error of disk or database ends the crawl."""
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting.append(fetched)

    @property
    def waiting(self) -> int:
        """Answers that are still to be kept."""
        return len(self._waiting)

    @property
    def held(self) -> int:
        """Bytes of the answers that are not kept yet."""
        return sum(len(each.body) for each in (*self._waiting, *self._flushing))

    def is_due(self) -> bool:
        """Has anything waited long enough?"""
        return bool(self._waiting) and time.monotonic() - self._since > GATHER_SECONDS

    def flush(self) -> list[Page]:
        """Write what has been gathered; returns its pages. Raises DatabaseGone when the database is gone; then the rows
        keep their leases and everything is fetched again by the next crawl. More may be added meanwhile."""
        self._flushing, self._waiting = self._waiting, []
        try:
            return self._keep_all(self._flushing) if self._flushing else []
        finally:
            self._flushing = []

    def _keep_all(self, gathered: Sequence[Fetched]) -> list[Page]:
        prepared = [self._prepare_safely(each) for each in gathered]
        self._warc.sync()
        writers = [writer for each in prepared for writer in each.writers]
        if writers:
            sync_blobs(self._blobs, [writer.key_id for writer in writers])
        try:
            self._save_together(prepared)
        except RowRefused as exc:
            log.warning("a batch was refused; keeping its pages one by one", error=type(exc).__name__)
            for each in prepared:
                self._save_alone(each)
        for writer in self._known:
            unlink_blob(self._blobs, writer.key_id)
        self._known.clear()
        for each in prepared:
            self._count(each)
        if self._new_samples:
            self._asker.ask(Step.EMBED_SAMPLES)
            self._new_samples = False
        if any(each.fetched.archive for each in prepared):
            self._asker.ask(Step.OPEN_ARCHIVES)
        return [each.fetched.page for each in prepared]

    def record_refusals(self, refusals: list[tuple[str, str]]) -> None:
        """What the guard refused goes into the ledger."""
        for code, place in refusals:
            self.counts.refused[code] = self.counts.refused.get(code, 0) + 1
            write_entry(self._conn, Kind.REFUSAL, about=f"source:{self._source.name}", code=code, place=place)

    # -- evidence first ---------------------------------------------------------------------------------------------

    def _prepare_safely(self, fetched: Fetched) -> Prepared:
        """What a page contains may break libraries in ways nobody foresaw; it must never cost its neighbours."""
        try:
            return self._prepare(fetched)
        except (OSError, BlobError):
            raise  # the disk, not the page
        except Exception as exc:
            log.exception("a page could not be read", page_id=fetched.page.page_id)
            return Prepared(fetched=fetched, failure=("page_unreadable", type(exc).__name__, True))

    def _prepare(self, fetched: Fetched) -> Prepared:
        if fetched.failure is not None:
            return Prepared(fetched=fetched, failure=fetched.failure)
        code = fetched.header(REFUSED_HEADER)
        if fetched.status == 403 and code in REFUSAL_TEXT and fetched.page.url.startswith("http://"):
            return Prepared(fetched=fetched, failure=(code, REFUSAL_TEXT[code], code in FINAL_REFUSALS))
        if fetched.status in REDIRECT_STATUS:
            return self._prepare_redirect(fetched)
        if fetched.status == NOT_MODIFIED and fetched.page.sha256:
            return Prepared(fetched=fetched, unchanged=True)
        if fetched.status != 200:
            final = fetched.status not in RETRY_STATUS
            failure = (f"http_{fetched.status}", "the server's answer", final)
            if not final or not fetched.page.listing_count or not is_page(fetched.body, fetched.header("content-type")):
                return Prepared(fetched=fetched, failure=failure)
            if (listed := self._find_listed(fetched.body)) is not None:
                return Prepared(fetched=fetched, listed=listed)
            return Prepared(fetched=fetched, failure=failure, capture=self._capture(fetched))
        if fetched.page.kind is PageKind.PAGE:
            return self._prepare_page(fetched)
        return self._prepare_sample(fetched)

    def _prepare_redirect(self, fetched: Fetched) -> Prepared:
        try:
            target = urljoin(fetched.page.url, fetched.header("location"))
        except ValueError:
            return Prepared(fetched=fetched, failure=("redirect_refused", "its target is no address", True))
        if fetched.page.hops >= MOST_HOPS:
            return Prepared(fetched=fetched, failure=("too_many_redirects", target, True))
        if not self.allows(target, fetched.page.kind):
            return Prepared(fetched=fetched, failure=("redirect_refused", target, True))
        if canonical_url(target) == canonical_url(fetched.page.url):
            return Prepared(fetched=fetched, failure=("redirect_loop", "it redirects to itself", True))
        return Prepared(fetched=fetched, redirect=target)

    def _prepare_page(self, fetched: Fetched) -> Prepared:
        page, body = fetched.page, fetched.body
        if page.sha256 == hashlib.sha256(body).hexdigest() and not self.read_again:
            return Prepared(fetched=fetched, unchanged=True)
        media_type = fetched.header("content-type") or "text/html"
        if not is_page(body, media_type):
            return Prepared(fetched=fetched, failure=("not_a_page", "a picture or a file where a page should be", True))
        bodies = (body, fetched.answer.body) if fetched.answer else (body,)
        if (listed := next(filter(None, map(self._find_listed, bodies)), None)) is not None:
            return Prepared(fetched=fetched, listed=listed)
        if self._card.kind is not CardKind.JSONAPI and is_too_complex(body):
            failure = (Verdict.CUT.value, "more tags than are read", True)
            return Prepared(fetched=fetched, failure=failure, capture=self._capture(fetched))
        reading = parse_answer(body, page.url, media_type, self._card, seen=dt.datetime.now(dt.UTC).date())
        parsed, text = reading.parsed, reading.text
        known = Known(listings=page.listing_count, links=page.link_count, text=page.text_size)
        verdict = judge_page(reading.root, text, parsed, known, reading.said)
        drawn_from = self._capture_answer(fetched)
        capture, shot = self._capture(fetched), self._seal_screenshot(fetched)
        prepared = Prepared(fetched=fetched, capture=capture, drawn_from=drawn_from, screenshot=shot, verdict=verdict)
        if verdict in WALLS or verdict is Verdict.GONE:
            failure = (verdict.value, "what came instead of the page", True)
            return replace(prepared, failure=failure)
        if reading.problem:
            failure = ("page_unreadable", reading.problem, True)
            return replace(prepared, failure=failure, verdict=Verdict.CONTENT)
        return replace(prepared, parsed=parsed, text_size=len(text))

    def _capture_answer(self, fetched: Fetched) -> Capture | None:
        page, answer = fetched.page, fetched.answer
        if answer is None:
            return None
        return self._warc.write_response(
            page.page_id, answer.url, answer.status, list(answer.headers), answer.body, answer.media_type, answer.at
        )

    def _seal_screenshot(self, fetched: Fetched) -> BlobWriter | None:
        if not fetched.screenshot or self._gate.is_listed(fetched.screenshot):
            return None
        return seal_body(self._blobs, fetched.screenshot)

    def _find_listed(self, body: bytes) -> tuple[str, str] | None:
        """MD5 and SHA-256 of what may not be kept."""
        return (hash_md5(body), hashlib.sha256(body).hexdigest()) if self._gate.is_listed(body) else None

    def _capture(self, fetched: Fetched) -> Capture:
        """The answer as a record of the WARC file, before anything follows from it."""
        page, body = fetched.page, fetched.body
        media_type = fetched.header("content-type") or "text/html"
        if fetched.rendered or self._local:
            media_type = "text/html; charset=utf-8" if fetched.rendered else media_type
            return self._warc.write_resource(page.page_id, page.url, body, media_type)
        return self._warc.write_response(
            page.page_id, page.url, fetched.status, list(fetched.headers), body, media_type
        )

    def _prepare_sample(self, fetched: Fetched) -> Prepared:
        if fetched.archive is not None and fetched.archive.blob is not None:
            blob = fetched.archive.blob
            if is_html(fetched.archive.head):
                unlink_blob(self._blobs, blob.key_id)
                return Prepared(fetched=fetched, failure=NOT_A_SAMPLE)
            if self._gate.has_digest(fetched.archive.md5, blob.sha256):
                unlink_blob(self._blobs, blob.key_id)
                return Prepared(fetched=fetched, listed=(fetched.archive.md5, blob.sha256))
            return Prepared(fetched=fetched, blob=blob)
        if not fetched.body:
            return Prepared(fetched=fetched, failure=("body_empty", "nothing was sent", True))
        if is_html(fetched.body):
            return Prepared(fetched=fetched, failure=NOT_A_SAMPLE)
        if (listed := self._find_listed(fetched.body)) is not None:
            return Prepared(fetched=fetched, listed=listed)
        with BlobWriter(self._blobs) as blob:
            blob.write(fetched.body)
            blob.seal(sync=False)
        return Prepared(fetched=fetched, blob=blob)

    # -- then rows ----------------------------------------------------------------------------------------------------

    def _save_together(self, batch: Sequence[Prepared]) -> None:
        """One transaction. Raises RowRefused: then nothing is written, and nothing counts that was counted on the
        way."""
        before = self._page_count, self.counts.cut, len(self._known)
        self._noted.clear()
        try:
            with self._conn.transaction():
                self._keep_blobs([writer for each in batch for writer in each.writers])
                self._save(batch)
        except RowRefused:
            self._page_count, self.counts.cut, known = before
            del self._known[known:]
            raise
        for url, fruitful in self._noted:
            self._barren.note(url, fruitful)

    def _save_alone(self, each: Prepared) -> None:
        page = each.fetched.page
        try:
            self._save_together([each])
        except RowRefused as exc:
            fail_row(self._conn, PAGES, page.page_id, page.token, "store_refused", type(exc).__name__, final=True)
            self._known += each.writers

    def _keep_blobs(self, writers: list[BlobWriter]) -> None:
        """Blobs come first, and all at once: everybody takes them in the order of their digests."""
        rows = [(writer.sha256, writer.size, writer.key_id, writer.data_key) for writer in writers]
        kept = keep_blobs(self._conn, self._keys, rows)
        self._known += [writer for writer in writers if writer.key_id not in kept]

    def _save(self, batch: Sequence[Prepared]) -> None:
        """The rows that follow from answers, whose blobs are rows already. What many answers have in common is one
        statement for all of them; a redirect alone is written by itself, so that the next one sees where it leads."""
        read = [each for each in batch if each.parsed is not None]
        fetches = self._save_pages(read) + self._save_samples([each for each in batch if each.blob is not None])
        kept = {fetch.page_id for fetch in fetches}
        self._save_fetches(fetches)
        unchanged: list[Fetch] = []
        for each in batch:
            if each.fetched.failure is None and (each.failure or ("",))[0] != "upstream_unavailable":
                self._upstream_gone = 0.0
            if each.listed is not None:
                url = each.fetched.page.url
                record_hit(self._conn, self._settings, *each.listed, url, self._source.source_id)
                self.stopped = "hash_listed"
            if each.parsed is None and each.blob is None and (fetch := self._save_other(each)) is not None:
                kept.add(fetch.page_id)
                if each.redirect is None:
                    unchanged.append(fetch)
                else:
                    self._save_fetches([fetch])
        self._save_fetches(unchanged)
        tokens: dict[int, list[int]] = {}
        for each in batch:
            if each.fetched.page.page_id in kept:
                tokens.setdefault(each.fetched.page.token, []).append(each.fetched.page.page_id)
        for token, page_ids in tokens.items():
            finish_rows(self._conn, PAGES, page_ids, token)

    def _save_fetches(self, fetches: Sequence[Fetch]) -> None:
        if fetches:
            save_fetches(self._conn, fetches, self._card.pace.every_hours)

    def _save_other(self, each: Prepared) -> Fetch | None:
        """What is neither a page that was read nor a sample. None where it failed: then the failure is a row."""
        page, status = each.fetched.page, each.fetched.status
        if each.failure is not None or each.listed is not None:
            self._save_failure(each)
            return None
        if each.redirect is not None:
            target_id = self._save_redirect(page, each.redirect)
            if target_id is not None and leads_back(self._conn, page.page_id, target_id, MOST_HOPS):
                loop = ("redirect_loop", "it redirects to itself in the end", True)
                self._save_failure(replace(each, failure=loop))
                return None
            return Fetch(page_id=page.page_id, status=status, moved_to=target_id)
        touch_listings(self._conn, page.page_id)
        return Fetch(page_id=page.page_id, status=status)

    def _save_failure(self, each: Prepared) -> None:
        """Why a page was not read; with the wall itself as a capture, where there was one."""
        page, fetched = each.fetched.page, each.fetched
        code, text, final = each.failure or ("hash_listed", "", True)
        if code == "upstream_unavailable":
            self._wait_for_upstream(page, code, text)
            return
        if each.capture is not None:
            self._save_captures([each])
        verdict = each.verdict.value if each.verdict in WALLS else ""
        fetch = Fetch(page_id=page.page_id, status=fetched.status, verdict=verdict, gone=code in GONE)
        self._save_fetches([fetch])
        wait = read_retry_after(fetched.header("retry-after")) if fetched.status in RETRY_STATUS else 0.0
        fail_row(self._conn, PAGES, page.page_id, page.token, code, text, final=final, wait=wait)
        if fetched.status in SLOW_DOWN and not final:
            self.hold_until = max(self.hold_until, time.monotonic() + min(max(wait, 1.0), LONGEST_HOLD))

    def _wait_for_upstream(self, page: Page, code: str, text: str) -> None:
        """The card's proxy is down, which is no fault of the page: it waits, and after a while so does the crawl."""
        now = time.monotonic()
        self._upstream_gone = self._upstream_gone or now
        put_back_row(self._conn, PAGES, page.page_id, page.token, code, text)
        self.hold_until = max(self.hold_until, now + 1.0)
        if now - self._upstream_gone >= UPSTREAM_SECONDS:
            self.stopped = code

    def _save_redirect(self, page: Page, target: str) -> int | None:
        new = replace(self._new_page(target, page.kind, page.depth), hops=page.hops + 1)
        ids, added = add_pages(self._conn, self._source.source_id, [new])
        self._page_count += len(added) if page.kind is PageKind.PAGE else 0
        if new.url_key in ids:
            move_links(self._conn, page.page_id, ids[new.url_key])
        return ids.get(new.url_key)

    def _save_captures(self, kept: Sequence[Prepared]) -> dict[int, int]:
        """The records of pages, of the answers that a browser drew them from, and their screenshots; each with its
        receipt in the ledger. Returns page_id -> capture_id."""
        answers = [each.drawn_from for each in kept if each.drawn_from is not None]
        drawn_from = save_captures(self._conn, answers) if answers else {}
        captures = [each.capture for each in kept if each.capture is not None]
        ids = save_captures(
            self._conn, [replace(capture, drawn_from=drawn_from.get(capture.page_id)) for capture in captures]
        )
        days = dt.timedelta(days=max(SCREENSHOT_DAYS, self._card.keep.days))
        shots = [
            BlobCapture(
                page_id=capture.page_id, sha256=shot.sha256, captured_at=capture.captured_at,
                shows=ids[capture.page_id], keep_until=capture.captured_at + days,
            )
            for capture, shot in ((each.capture, each.screenshot) for each in kept)
            if capture is not None and shot is not None
        ]  # fmt: skip
        save_blob_captures(self._conn, shots)
        write_entries(self._conn, Kind.CAPTURE, [fact for each in kept for fact in list_receipts(each)])
        return ids

    def _save_pages(self, read: Sequence[Prepared]) -> list[Fetch]:
        """Pages that were read: evidence, links, listings with what they offer."""
        found = [
            (each.fetched.page, each.capture, each.parsed, each)
            for each in read
            if each.capture is not None and each.parsed is not None
        ]
        if not found:
            return []
        captures = self._save_captures([each for _, _, _, each in found])
        self._add_links([(page, parsed) for page, _, parsed, _ in found])
        offered = [(page, listing) for page, _, parsed, _ in found for listing in parsed.listings]
        shown = [
            Shown(page_id=page.page_id, capture_id=captures[page.page_id], listing=listing) for page, listing in offered
        ]
        listing_ids = save_listings(self._conn, self._source.source_id, shown)
        for (page, listing), listing_id in zip(offered, listing_ids, strict=True):
            self._save_offers(page, listing_id, listing)
        return [
            Fetch(
                page_id=page.page_id,
                status=each.fetched.status,
                verdict=each.verdict.value,
                sha256=capture.sha256,
                etag=each.fetched.header("etag") or None,
                modified=each.fetched.header("last-modified") or None,
                sizes=(each.text_size, len(parsed.links), len(parsed.listings))
                if each.verdict in (Verdict.CONTENT, Verdict.CUT)
                else None,
                changed=page.sha256 is not None,
            )
            for page, capture, parsed, each in found
        ]

    def _add_links(self, read: Sequence[tuple[Page, ParsedPage]]) -> None:
        """Links to other pages of the source, as far as depth, budget and traps allow. A page is fruitful that shows
        listings, or leads to new pages of another pattern than itself: what a calendar links to next month is no
        find."""
        links: dict[str, tuple[NewPage, Page]] = {}
        too_deep: set[str] = set()
        for page, parsed in read:
            for url in parsed.links:
                if self.allows(url, PageKind.PAGE) and not self._barren.is_trap(url):
                    new = self._new_page(url, PageKind.PAGE, page.depth + 1)
                    if new.depth > self._card.budget.depth:
                        too_deep.add(new.url_key)
                    else:
                        links.setdefault(new.url_key, (new, page))
        room = max(0, self._card.budget.pages - self._page_count)
        if too_deep or len(links) > room:
            known = list_known_keys(self._conn, self._source.source_id, [*links, *too_deep])
            links = {key: link for key, link in links.items() if key not in known}
            self.counts.cut += len(too_deep - known - links.keys()) + max(0, len(links) - room)
        # what is fetched first fills the frontier: the next page of a list; but it may not spend what is left to spend
        wanted = sorted(
            links.values(),
            key=lambda link: (make_pattern(link[0].url) == make_pattern(link[1].url)) is (len(links) > room),
        )
        _, added = add_pages(self._conn, self._source.source_id, [new for new, _ in wanted[:room]])
        self._page_count += len(added)
        found = {
            page.page_id
            for new, page in wanted
            if new.url_key in added and make_pattern(new.url) != make_pattern(page.url)
        }
        for page, parsed in read:
            self._noted.append((page.url, bool(parsed.listings) or page.page_id in found))

    def _save_offers(self, page: Page, listing_id: int, listing: Listing) -> None:
        """The pictures and archives of a listing: to be fetched, or samples at once where they were fetched before."""
        images = listing.images
        if listing.later:  # the budget is of the listing, however many pages it has
            room = self._card.budget.images_per_listing - count_images(self._conn, listing_id)
            images = images[: max(0, room)]
        offers = [(url, PageKind.IMAGE) for url in images]
        offers += [(url, PageKind.ARCHIVE) for url in listing.archives]
        wanted = [self._new_page(url, kind, page.depth + 1) for url, kind in offers if self.allows(url, kind)]
        if not wanted:
            return
        ids, _ = add_pages(self._conn, self._source.source_id, wanted)
        for page_id, kind, sha256 in link_pages(self._conn, listing_id, list(ids.values())):
            size = find_kept_size(self._conn, sha256)
            if size is None:
                reopen_page(self._conn, page_id)
            else:
                sample = NewSample(kind=PageKind(kind), sha256=sha256, size=size)
                save_samples(self._conn, listing_id, page_id, [sample])
                self._new_samples = True

    def _save_samples(self, arrived: Sequence[Prepared]) -> list[Fetch]:
        """The rows that follow from pictures and archives, whose blobs are rows already: a few statements for all."""
        found = [(each.fetched, each.fetched.page, each.blob) for each in arrived if each.blob is not None]
        if not found:
            return []
        facts: list[dict[str, str | int]] = [
            {"about": blob.sha256, "url_sha256": hash_url(page.url)} for _, page, blob in found
        ]
        write_entries(self._conn, Kind.CAPTURE, facts)
        if not self._local:  # what no server has sent has no head
            now = dt.datetime.now(dt.UTC)
            heads = [
                BlobCapture(
                    page_id=page.page_id, sha256=blob.sha256, captured_at=now,
                    head=make_head(fetched.status, list(fetched.headers)),
                )
                for fetched, page, blob in found
            ]  # fmt: skip
            save_blob_captures(self._conn, heads)
        save_page_samples(self._conn, [(page.page_id, page.kind, blob.sha256, blob.size) for _, page, blob in found])
        self._new_samples = True
        for _, page, blob in found:
            if page.kind is PageKind.ARCHIVE:
                unlock_again(self._conn, page.page_id, blob.sha256)
        return [
            Fetch(
                page_id=page.page_id,
                status=fetched.status,
                sha256=blob.sha256,
                etag=fetched.header("etag") or None,
            )
            for fetched, page, blob in found
        ]

    # -- small things -------------------------------------------------------------------------------------------------

    def _new_page(self, url: str, kind: PageKind, depth: int) -> NewPage:
        key = hashlib.sha256((url if self._local else canonical_url(url)).encode()).hexdigest()
        return NewPage(url=url, url_key=key, kind=kind, depth=depth)

    def allows(self, url: str, kind: PageKind) -> bool:
        """Does the card name the host of this address? (The guard asks again, with the address it resolves to.) Of what
        was handed in nothing leads to a host."""
        if self._local:
            return url.startswith(INGEST)
        try:
            target, _ = parse_target(url)
        except EgressRefused:
            return False
        rules = self._rules if kind is PageKind.PAGE else self._sample_rules
        return any(rule.covers(target.host) and target.port in rule.ports for rule in rules)

    def _count(self, each: Prepared) -> None:
        counts = self.counts
        counts.bytes += len(each.fetched.body) or (each.blob.size if each.blob else 0)
        if each.failure is not None or each.listed is not None:
            counts.failures += 1
        elif each.fetched.page.kind is PageKind.PAGE:
            counts.pages += 1
            counts.unchanged += each.unchanged
            counts.listings += sum(not listing.later for listing in each.parsed.listings) if each.parsed else 0
        else:
            counts.samples += 1


def hash_url(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()


def list_receipts(each: Prepared) -> list[dict[str, str | int]]:
    """What the ledger is told of a page: the digest of everything that was received or drawn."""
    digests = [part.sha256 for part in (each.drawn_from, each.capture, each.screenshot) if part is not None]
    return [{"about": sha256, "url_sha256": hash_url(each.fetched.page.url)} for sha256 in digests]


def needs_browser(card: Card, page: Page) -> bool:
    return card.rendering is Rendering.BROWSER and page.kind is PageKind.PAGE


def read_retry_after(value: str) -> float:
    """Seconds that a Retry-After header asks for (RFC 9110, section 10.2.3), at most six hours; 0 if it says none."""
    if value.strip().isdigit():
        return min(float(value), LONGEST_WAIT)
    try:
        when = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return 0.0
    if when.tzinfo is None:
        when = when.replace(tzinfo=dt.UTC)
    return min(max(0.0, (when - dt.datetime.now(dt.UTC)).total_seconds()), LONGEST_WAIT)


class Barren:
    """Notices patterns of addresses that lead on and on and to nothing: calendars, endless lists, session traps."""

    def __init__(self) -> None:
        self._runs: dict[str, int] = {}

    def note(self, url: str, fruitful: bool) -> None:
        pattern = make_pattern(url)
        self._runs[pattern] = 0 if fruitful else self._runs.get(pattern, 0) + 1
        if self._runs[pattern] == BARREN_PAGES:
            log.warning("a pattern of pages leads to nothing; no more of them are added in this crawl")

    def is_trap(self, url: str) -> bool:
        return self._runs.get(make_pattern(url), 0) >= BARREN_PAGES


def make_pattern(url: str) -> str:
    """An address with every run of digits as one 0."""
    return re.sub(r"\d+", "0", url)
