"""What was fetched becomes rows: in come responses, out go captures, listings, samples, links, the next state.

Results are gathered for a moment and kept together: evidence is written and synced first (WARC records, encrypted
blobs), then one transaction holds everything that follows from it, so a page is done exactly when its evidence and its
links are rows. A kill at any moment loses nothing and fetches at most what was in flight again.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urljoin

from crawler.archives import FetchedArchive
from crawler.capture import WarcFile, seal_body
from crawler.cards import Card, Rendering
from crawler.pages import ParsedPage, canonical_url, parse_page
from vault.blobs import BlobWriter, sync_folders, unlink_blob
from vault.egress import REFUSAL_TEXT, HostRule, parse_rule, parse_target
from vault.errors import EgressRefused
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
    NewPage,
    add_pages,
    find_kept_size,
    link_pages,
    list_linking,
    move_links,
    reopen_page,
    save_capture,
    save_fetch,
)
from vault.store.samples import NewSample, save_samples
from vault.store.work import PAGES, fail_row, finish_rows

MOST_HOPS = 5
GATHER = 16  # results
GATHER_SECONDS = 0.1
RETRY_STATUS = {408, 425, 429, 500, 502, 503, 504}
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
    """An answer with its evidence written: exactly one of the last six says what follows from it."""

    fetched: Fetched
    failure: tuple[str, str, bool] | None = None
    redirect: str | None = None
    unchanged: bool = False
    capture: Capture | None = None
    parsed: ParsedPage | None = None
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
        self._read_again = read_again  # the card has changed, so unchanged pages are parsed again
        self._waiting: list[Fetched] = []
        self._known: list[BlobWriter] = []  # blobs whose content is kept already
        self._since = 0.0
        self.counts = Counts()
        self.on_done: Callable[[Page], None] = lambda page: None
        self.stopped = ""  # why the crawl has to stop, once it has

    @property
    def blob_folder(self) -> Path:
        return self._blobs

    def add_start_pages(self) -> None:
        """The card's start URLs, for a source that has no pages yet or a card that has new ones."""
        pages = [self._new_page(url, PageKind.PAGE, 0) for url in self._card.where.start]
        _, added = add_pages(self._conn, self._source.source_id, pages)
        self._page_count += added

    def add(self, fetched: Fetched) -> None:
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting.append(fetched)
        if len(self._waiting) >= GATHER:
            self.flush()

    def flush_if_due(self) -> bool:
        """True if anything was written."""
        if not self._waiting or time.monotonic() - self._since < GATHER_SECONDS:
            return False
        self.flush()
        return True

    def flush(self) -> None:
        """Write what has been gathered. Raises DatabaseGone when the database is gone; then the rows keep
        their leases and everything is fetched again by the next crawl."""
        gathered, self._waiting = self._waiting, []
        if not gathered:
            return
        prepared = [self._prepare(each) for each in gathered]
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

    def _prepare(self, fetched: Fetched) -> Prepared:
        if fetched.failure is not None:
            return Prepared(fetched=fetched, failure=fetched.failure)
        code = fetched.header(REFUSED_HEADER)
        if fetched.status == 403 and code:
            return Prepared(fetched=fetched, failure=(code, REFUSAL_TEXT.get(code, ""), code in FINAL_REFUSALS))
        if fetched.status in REDIRECT_STATUS:
            return self._prepare_redirect(fetched)
        if fetched.status != 200:
            failure = (f"http_{fetched.status}", "the server's answer", fetched.status not in RETRY_STATUS)
            return Prepared(fetched=fetched, failure=failure)
        if fetched.page.kind is PageKind.PAGE:
            return self._prepare_page(fetched)
        return self._prepare_sample(fetched)

    def _prepare_redirect(self, fetched: Fetched) -> Prepared:
        target = urljoin(fetched.page.url, fetched.header("location"))
        if fetched.page.hops >= MOST_HOPS:
            return Prepared(fetched=fetched, failure=("too_many_redirects", target, True))
        if not self._allows(target, fetched.page.kind):
            return Prepared(fetched=fetched, failure=("redirect_refused", target, True))
        if canonical_url(target) == canonical_url(fetched.page.url):
            return Prepared(fetched=fetched, failure=("redirect_loop", "it redirects to itself", True))
        return Prepared(fetched=fetched, redirect=target)

    def _prepare_page(self, fetched: Fetched) -> Prepared:
        page, body = fetched.page, fetched.body
        if page.sha256 == hashlib.sha256(body).hexdigest() and not self._read_again:
            return Prepared(fetched=fetched, unchanged=True)
        media_type = fetched.header("content-type") or "text/html"
        if fetched.rendered:
            capture = self._warc.write_resource(page.page_id, page.url, body, "text/html; charset=utf-8")
        else:
            headers = list(fetched.headers)
            capture = self._warc.write_response(page.page_id, page.url, fetched.status, headers, body, media_type)
        return Prepared(fetched=fetched, capture=capture, parsed=parse_page(body, page.url, media_type, self._card))

    def _prepare_sample(self, fetched: Fetched) -> Prepared:
        if fetched.archive is not None and fetched.archive.blob is not None:
            blob = fetched.archive.blob
            if self._gate.has_digest(fetched.archive.md5, blob.sha256):
                unlink_blob(self._blobs, blob.key_id)
                return Prepared(fetched=fetched, listed=(fetched.archive.md5, blob.sha256))
            return Prepared(fetched=fetched, blob=blob)
        if not fetched.body:
            return Prepared(fetched=fetched, failure=("body_empty", "nothing was sent", True))
        if self._gate.is_listed(fetched.body):
            digests = hash_md5(fetched.body), hashlib.sha256(fetched.body).hexdigest()
            return Prepared(fetched=fetched, listed=digests)
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
        if each.failure is not None or each.listed is not None:
            code, text, final = each.failure or ("hash_listed", "", True)
            save_fetch(self._conn, page.page_id, fetched.status, None)
            fail_row(self._conn, PAGES, page.page_id, page.token, code, text, final=final)
            return
        digest: str | None = None
        if each.redirect is not None:
            self._save_redirect(page, each.redirect)
        elif each.unchanged:
            touch_listings(self._conn, page.page_id)
        elif each.capture is not None and each.parsed is not None:
            digest = each.capture.sha256
            self._save_page(page, each.capture, each.parsed)
        elif each.blob is not None:
            digest = each.blob.sha256
            self._save_sample(page, each.blob)
        save_fetch(self._conn, page.page_id, fetched.status, digest)
        finish_rows(self._conn, PAGES, [page.page_id], page.token)

    def _save_redirect(self, page: Page, target: str) -> None:
        new = replace(self._new_page(target, page.kind, page.depth), hops=page.hops + 1)
        ids, added = add_pages(self._conn, self._source.source_id, [new])
        self._page_count += added
        if new.url_key in ids:
            move_links(self._conn, page.page_id, ids[new.url_key])

    def _save_page(self, page: Page, capture: Capture, parsed: ParsedPage) -> None:
        capture_id = save_capture(self._conn, capture)
        url_digest = hashlib.sha256(page.url.encode()).hexdigest()
        write_entry(self._conn, Kind.CAPTURE, about=capture.sha256, url_sha256=url_digest)
        links = [
            self._new_page(url, PageKind.PAGE, page.depth + 1)
            for url in parsed.links
            if self._allows(url, PageKind.PAGE)
        ]
        room = max(0, self._card.budget.pages - self._page_count)
        if page.depth < self._card.budget.depth:
            _, added = add_pages(self._conn, self._source.source_id, links[:room])
            self._page_count += added
        for listing in parsed.listings:
            listing_id = save_listing(self._conn, self._source.source_id, listing, capture_id)
            self._save_offers(page, listing_id, listing)

    def _save_offers(self, page: Page, listing_id: int, listing: Listing) -> None:
        """The pictures and archives of a listing: to be fetched, or samples at once where they were fetched before."""
        offers = [(url, PageKind.IMAGE) for url in listing.images] + [(u, PageKind.ARCHIVE) for u in listing.archives]
        wanted = [self._new_page(url, kind, page.depth + 1) for url, kind in offers if self._allows(url, kind)]
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

    def _allows(self, url: str, kind: PageKind) -> bool:
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
