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
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urljoin

from crawler.archives import FetchedArchive
from crawler.capture import WarcFile, seal_body
from crawler.cards import Card, Rendering
from crawler.pages import ParsedPage, canonical_url, is_too_complex, open_page, read_page
from crawler.verdicts import WALLS, Known, Verdict, is_html, is_page, judge_page, measure_text
from vault.blobs import BlobWriter, sync_folders, unlink_blob
from vault.egress import REFUSAL_TEXT, HostRule, parse_rule, parse_target
from vault.errors import BlobError, EgressRefused
from vault.gate import HashGate, hash_md5, record_hit
from vault.keys import Keys
from vault.ledger import Kind
from vault.log import get_logger
from vault.records import Capture, Listing, Page, PageKind, Source
from vault.settings import Settings
from vault.steps import Asker, Step
from vault.store import Connection, RowRefused
from vault.store.blobs import keep_blob
from vault.store.ledger import write_entry
from vault.store.listings import save_listing, touch_listings
from vault.store.pages import (
    Fetch,
    NewPage,
    add_pages,
    find_kept_size,
    leads_back,
    link_pages,
    list_linking,
    move_links,
    reopen_page,
    save_capture,
    save_fetch,
)
from vault.store.samples import NewSample, save_samples
from vault.store.work import PAGES, fail_row, finish_rows, put_back_row

MOST_HOPS = 5
GATHER = 16  # results, at most
GATHER_SECONDS = 0.1
RETRY_STATUS = {408, 425, 429, 500, 502, 503, 504}
SLOW_DOWN = {429, 503}  # the site asks for a rest
LONGEST_HOLD = 60.0  # seconds that the whole crawl rests at once; a page that asks for longer waits by itself
UPSTREAM_SECONDS = 5.0  # how long a crawl waits for the card's proxy; then it ends and its pages wait
LONGEST_WAIT = 6 * 3600.0
NOT_MODIFIED = 304
NOT_A_SAMPLE = ("not_a_sample", "a page, perhaps a login, where a picture or an archive should be", True)
GONE = ("http_404", "http_410", Verdict.GONE.value)
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
    listed: tuple[str, str] | None = None  # MD5, SHA-256


@dataclass(kw_only=True, slots=True)
class Counts:
    """What a crawl has done so far."""

    pages: int = 0
    unchanged: int = 0
    listings: int = 0
    samples: int = 0
    failures: int = 0
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
        self._rules: tuple[HostRule, ...] = tuple(map(parse_rule, card.where.hosts))
        self._sample_rules = (*self._rules, *map(parse_rule, card.where.image_hosts))
        self._page_count = known_pages
        self.read_again = read_again  # the card has changed, so unchanged pages are parsed again
        self._waiting: list[Fetched] = []
        self._known: list[BlobWriter] = []  # blobs whose content is kept already
        self._since = 0.0
        self.counts = Counts()
        self.on_done: Callable[[Page], None] = lambda page: None
        self.on_full: Callable[[], None] = lambda: None
        self._gather = min(GATHER, card.pace.concurrency)
        self.stopped = ""  # why the crawl has to stop, once it has
        self.hold_until = 0.0  # time.monotonic() before which the site wants to be left alone
        self._barren = Barren()
        self._upstream_gone = 0.0  # since when the card's proxy does not answer, in time.monotonic()

    @property
    def blob_folder(self) -> Path:
        return self._blobs

    def add_start_pages(self) -> None:
        """The card's start URLs, for a source that has no pages yet or a card that has new ones."""
        pages = [self._new_page(url, PageKind.PAGE, 0) for url in self._card.where.start]
        _, added = add_pages(self._conn, self._source.source_id, pages)
        self._page_count += added

    def add(self, fetched: Fetched) -> None:
        """Kept with the next flush, which the crawl asks for: there an error of disk or database ends the crawl."""
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting.append(fetched)
        if len(self._waiting) >= self._gather:
            self.on_full()

    def flush_if_due(self) -> bool:
        """True if anything was written."""
        if not self._waiting or (len(self._waiting) < self._gather and time.monotonic() - self._since < GATHER_SECONDS):
            return False
        self.flush()
        return True

    def flush(self) -> None:
        """Write what has been gathered. Raises DatabaseGone when the database is gone; then the rows keep
        their leases and everything is fetched again by the next crawl."""
        gathered, self._waiting = self._waiting, []
        if not gathered:
            return
        prepared = [self._prepare_safely(each) for each in gathered]
        self._warc.sync()
        writers = [each.blob for each in prepared if each.blob is not None]
        if writers:
            sync_folders(self._blobs, [writer.key_id for writer in writers])
        try:
            with self._conn.transaction():
                # blobs first and in the order of their digests, as everybody takes them, so that nobody deadlocks
                for writer in sorted(writers, key=lambda each: each.sha256):
                    self._keep_blob(writer)
                for each in prepared:
                    self._save(each)
        except RowRefused as exc:
            log.warning("a batch was refused; keeping its pages one by one", error=type(exc).__name__)
            self._known.clear()
            for each in prepared:
                self._save_alone(each)
        for writer in self._known:
            unlink_blob(self._blobs, writer.key_id)
        self._known.clear()
        for each in prepared:
            self._count(each)
            self.on_done(each.fetched.page)
        self._asker.ask(Step.EMBED_SAMPLES)
        if any(each.fetched.archive for each in prepared):
            self._asker.ask(Step.OPEN_ARCHIVES)

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
        if (listed := self._find_listed(body)) is not None:
            return Prepared(fetched=fetched, listed=listed)
        if is_too_complex(body):
            failure = (Verdict.CUT.value, "more tags than are read", True)
            return Prepared(fetched=fetched, failure=failure, capture=self._capture(fetched))
        root, base = open_page(body, page.url, media_type)
        parsed, text = read_page(root, base, page.url, self._card), measure_text(root)
        known = Known(listings=page.listing_count, links=page.link_count, text=page.text_size)
        verdict = judge_page(root, text, parsed, known)
        capture = self._capture(fetched)
        if verdict in WALLS or verdict is Verdict.GONE:
            failure = (verdict.value, "what came instead of the page", True)
            return Prepared(fetched=fetched, failure=failure, capture=capture, verdict=verdict)
        return Prepared(fetched=fetched, capture=capture, parsed=parsed, verdict=verdict, text_size=len(text))

    def _find_listed(self, body: bytes) -> tuple[str, str] | None:
        """MD5 and SHA-256 of what may not be kept."""
        return (hash_md5(body), hashlib.sha256(body).hexdigest()) if self._gate.is_listed(body) else None

    def _capture(self, fetched: Fetched) -> Capture:
        """The answer as a record of the WARC file, before anything follows from it."""
        page, body = fetched.page, fetched.body
        media_type = fetched.header("content-type") or "text/html"
        if fetched.rendered:
            return self._warc.write_resource(page.page_id, page.url, body, "text/html; charset=utf-8")
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
        return Prepared(fetched=fetched, blob=seal_body(self._blobs, fetched.body))

    # -- then rows ----------------------------------------------------------------------------------------------------

    def _save_alone(self, each: Prepared) -> None:
        page = each.fetched.page
        try:
            with self._conn.transaction():
                if each.blob is not None:
                    self._keep_blob(each.blob)
                self._save(each)
        except RowRefused as exc:
            fail_row(self._conn, PAGES, page.page_id, page.token, "store_refused", type(exc).__name__, final=True)
            if each.blob is not None:
                self._known.append(each.blob)

    def _keep_blob(self, writer: BlobWriter) -> None:
        if not keep_blob(self._conn, self._keys, writer.sha256, writer.size, writer.key_id, writer.data_key):
            self._known.append(writer)

    def _save(self, each: Prepared) -> None:
        """The rows that follow from one answer, whose blob is a row already."""
        page, fetched = each.fetched.page, each.fetched
        if each.listed is not None:
            record_hit(self._conn, self._settings, *each.listed, page.url, self._source.source_id)
            self.stopped = "hash_listed"
        if fetched.failure is None and (each.failure is None or each.failure[0] != "upstream_unavailable"):
            self._upstream_gone = 0.0
        if each.failure is not None or each.listed is not None:
            self._save_failure(each)
            return
        fetch = Fetch(status=fetched.status, verdict=each.verdict.value)
        if each.redirect is not None:
            target_id = self._save_redirect(page, each.redirect)
            if target_id is not None and leads_back(self._conn, page.page_id, target_id, MOST_HOPS):
                loop = ("redirect_loop", "it redirects to itself in the end", True)
                self._save_failure(replace(each, failure=loop))
                return
            fetch = replace(fetch, moved_to=target_id)
        elif each.unchanged:
            touch_listings(self._conn, page.page_id)
        elif each.capture is not None and each.parsed is not None:
            sizes = (each.text_size, len(each.parsed.links), len(each.parsed.listings))
            fetch = replace(
                fetch,
                sha256=each.capture.sha256,
                etag=fetched.header("etag") or None,
                modified=fetched.header("last-modified") or None,
                sizes=sizes if each.verdict in (Verdict.CONTENT, Verdict.CUT) else None,
                changed=page.sha256 is not None,
            )
            self._save_page(page, each.capture, each.parsed)
        elif each.blob is not None:
            fetch = replace(fetch, sha256=each.blob.sha256)
            self._save_sample(page, each.blob)
        save_fetch(self._conn, page.page_id, fetch, self._card.pace.every_hours)
        finish_rows(self._conn, PAGES, [page.page_id], page.token)

    def _save_failure(self, each: Prepared) -> None:
        """Why a page was not read; with the wall itself as a capture, where there was one."""
        page, fetched = each.fetched.page, each.fetched
        code, text, final = each.failure or ("hash_listed", "", True)
        if code == "upstream_unavailable":
            self._wait_for_upstream(page, code, text)
            return
        if each.capture is not None:
            self._save_capture(page, each.capture)
        verdict = each.verdict.value if each.verdict in WALLS else ""
        fetch = Fetch(status=fetched.status, verdict=verdict, gone=code in GONE)
        save_fetch(self._conn, page.page_id, fetch, self._card.pace.every_hours)
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
        self._page_count += added
        if new.url_key in ids:
            move_links(self._conn, page.page_id, ids[new.url_key])
        return ids.get(new.url_key)

    def _save_capture(self, page: Page, capture: Capture) -> int:
        capture_id = save_capture(self._conn, capture)
        url_digest = hashlib.sha256(page.url.encode()).hexdigest()
        write_entry(self._conn, Kind.CAPTURE, about=capture.sha256, url_sha256=url_digest)
        return capture_id

    def _save_page(self, page: Page, capture: Capture, parsed: ParsedPage) -> None:
        capture_id = self._save_capture(page, capture)
        new = self._add_links(page, parsed.links)
        self._barren.note(page.url, bool(new or parsed.listings))
        for listing in parsed.listings:
            listing_id = save_listing(self._conn, self._source.source_id, page.page_id, listing, capture_id)
            self._save_offers(page, listing_id, listing)

    def _add_links(self, page: Page, urls: tuple[str, ...]) -> int:
        """Links to other pages of the source, as far as depth, budget and traps allow. Returns how many were new and
        of another pattern than the page itself: what a calendar links to next month is no find."""
        if page.depth >= self._card.budget.depth:
            return 0
        links = [self._new_page(url, PageKind.PAGE, page.depth + 1) for url in urls]
        links = [link for link in links if self.allows(link.url, PageKind.PAGE) and not self._barren.is_trap(link.url)]
        own = make_pattern(page.url)
        found = 0
        for same in (False, True):
            room = max(0, self._card.budget.pages - self._page_count)
            part = [link for link in links if (make_pattern(link.url) == own) is same][:room]
            _, added = add_pages(self._conn, self._source.source_id, part)
            self._page_count += added
            found += 0 if same else added
        return found

    def _save_offers(self, page: Page, listing_id: int, listing: Listing) -> None:
        """The pictures and archives of a listing: to be fetched, or samples at once where they were fetched before."""
        offers = [(url, PageKind.IMAGE) for url in listing.images] + [(u, PageKind.ARCHIVE) for u in listing.archives]
        wanted = [self._new_page(url, kind, page.depth + 1) for url, kind in offers if self.allows(url, kind)]
        ids, _ = add_pages(self._conn, self._source.source_id, wanted)
        for page_id, kind, sha256 in link_pages(self._conn, listing_id, list(ids.values())):
            size = find_kept_size(self._conn, sha256)
            if size is None:
                reopen_page(self._conn, page_id)
            else:
                sample = NewSample(kind=PageKind(kind), sha256=sha256, size=size)
                save_samples(self._conn, listing_id, page_id, [sample])

    def _save_sample(self, page: Page, blob: BlobWriter) -> None:
        url_digest = hashlib.sha256(page.url.encode()).hexdigest()
        write_entry(self._conn, Kind.CAPTURE, about=blob.sha256, url_sha256=url_digest)
        sample = NewSample(kind=page.kind, sha256=blob.sha256, size=blob.size)
        for listing_id in list_linking(self._conn, page.page_id):
            save_samples(self._conn, listing_id, page.page_id, [sample])

    # -- small things -------------------------------------------------------------------------------------------------

    def _new_page(self, url: str, kind: PageKind, depth: int) -> NewPage:
        key = hashlib.sha256(canonical_url(url).encode()).hexdigest()
        return NewPage(url=url, url_key=key, kind=kind, depth=depth)

    def allows(self, url: str, kind: PageKind) -> bool:
        """Does the card name the host of this address? (The guard asks again, with the address it resolves to.)"""
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
            counts.listings += len(each.parsed.listings) if each.parsed else 0
        else:
            counts.samples += 1


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
