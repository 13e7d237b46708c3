"""What was fetched becomes rows: in come responses, out go captures, listings, samples, links, the next state.

Results are gathered for a moment and kept together: their evidence is written first (crawler/answers.py) and synced,
then one transaction holds everything that follows from it, so a page is done exactly when its evidence and its links
are rows. A kill at any moment loses nothing and fetches at most what was in flight again.
"""

import datetime as dt
import email.utils
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import UUID

from crawler.acts import Tally
from crawler.answers import DOWNLOAD, MOST_HOPS, RETRY_STATUS, Fetched, Prepared, Preparer
from crawler.capture import WarcFile, make_head
from crawler.cards import Card, Rendering
from crawler.pages import ParsedPage, canonical_url
from crawler.reader import Reader
from crawler.traps import Barren, make_pattern
from crawler.verdicts import WALLS, Verdict
from crawler.visits import leave_visit
from vault.blobs import unlink_blob
from vault.disks import check_disks
from vault.gate import HashGate, Hit, draft_reports, record_hit
from vault.keys import Keys
from vault.ledger import Kind
from vault.log import get_logger
from vault.records import BlobCapture, Listing, Page, PageKind, Source
from vault.settings import Settings
from vault.steps import Asker, Step
from vault.store import Connection, RowRefused
from vault.store.blob_captures import save_blob_captures
from vault.store.blobs import check_folder, keep_together
from vault.store.captures import keep_captures, save_capture_pictures, save_warc_info
from vault.store.ledger import write_entries, write_entry
from vault.store.listings import Shown, save_listings, touch_listings
from vault.store.pages import (
    Fetch,
    NewPage,
    add_pages,
    count_images,
    fetch_plainly,
    find_kept_size,
    find_offer,
    leads_back,
    link_pages,
    list_known_keys,
    move_links,
    reopen_page,
    retype_offered,
    retype_page,
    save_fetches,
)
from vault.store.passed_over import save_passed_over
from vault.store.samples import NewSample, save_page_samples, save_samples, unlock_again
from vault.store.visibility import reopen_archives
from vault.store.work import PAGES, fail_row, finish_rows, put_back_row

GATHER_SECONDS = 0.1
SLOW_DOWN = {429, 503}  # the site asks for a rest
LONGEST_HOLD = 60.0  # seconds that the whole crawl rests at once; a page that asks for longer waits by itself
GUARD_GONE = "guard_gone"  # why a crawl stops whose guard has ended: without it nothing is reached
UPSTREAM_SECONDS = 5.0  # how long a crawl waits for the card's proxy; then it ends and its pages wait
SCREENSHOT_DAYS = 1  # at least; for a person to see what a wall looked like, and for matching to be over
LONGEST_WAIT = 6 * 3600.0
# asked for again, even if it comes back as it was
GONE = ("http_404", "http_410", Verdict.GONE.value, "file_gone", "file_refused", "file_unreadable")

log = get_logger(__name__)


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
    left_alone: Tally = field(default_factory=Tally)  # links that are not followed, since they act


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
        reader: Reader,
        known_pages: int,
        read_again: bool,
    ) -> None:
        self._conn, self._settings, self._keys, self._asker = conn, settings, keys, asker
        self._card, self._source, self._warc = card, source, warc
        self._blobs = settings.home / "blobs"
        self._preparer = Preparer(card, gate, warc, self._blobs, reader, read_again=read_again)
        self._local, self.allows, self.read_again = self._preparer.local, self._preparer.allows, read_again
        self.find_act = self._preparer.find_act
        self._page_count = known_pages
        self._waiting: list[Fetched] = []
        self._known: list[UUID] = []  # files whose content is kept already, or is not wanted
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
        check_disks(self._settings)
        prepared = [self._settle(each) for each in self._preparer.prepare(gathered)]
        if any(each.has_files for each in prepared):
            check_folder(self._conn, self._blobs)  # not what lies under a mount point
        try:
            self._save_together(prepared)
        except RowRefused as exc:
            log.warning("a batch was refused; keeping its pages one by one", error=type(exc).__name__)
            for each in prepared:
                self._save_alone(each)
        for file_id in self._known:
            unlink_blob(self._blobs, file_id)
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
            write_entry(self._conn, Kind.REFUSAL, about=f"source:{self._source.name}", code=code, place=place,
                        by="crawl")  # fmt: skip

    def _save_together(self, batch: Sequence[Prepared]) -> None:
        """One transaction. Raises RowRefused: then nothing is written, and nothing counts that was counted on the
        way."""
        before = self._page_count, self.counts.cut, len(self._known)
        self._noted.clear()
        draft_reports(self._settings, [name_hit(each) for each in batch if each.listed is not None])
        try:
            with self._conn.transaction():
                self._keep_blobs(batch)
                self._save(batch)
                if self._warc.info is not None:
                    save_warc_info(self._conn, self._keys, self._warc.info)
        except RowRefused:
            self._page_count, self.counts.cut, known = before
            del self._known[known:]
            raise
        self._warc.info = None
        for url, fruitful in self._noted:
            self._barren.note(url, fruitful)

    def _save_alone(self, each: Prepared) -> None:
        page = each.fetched.page
        try:
            self._save_together([each])
        except RowRefused as exc:
            fail_row(self._conn, PAGES, page.page_id, page.token, "store_refused", type(exc).__name__, final=True)
            self._known += list_files(each)

    def _settle(self, prepared: Prepared) -> Prepared:
        """What a link called a page and is a picture or an archive becomes a sample where a listing shows it."""
        if prepared.found is None or prepared.blob is None:
            return prepared
        page = prepared.fetched.page
        with self._conn.transaction():
            if find_offer(self._conn, page.page_id):
                retype_page(self._conn, page.page_id, prepared.found)
                return replace(prepared, fetched=replace(prepared.fetched, page=replace(page, kind=prepared.found)))
        self._known.append(prepared.blob.key_id)
        what = "a picture" if prepared.found is PageKind.IMAGE else "an archive"
        failure = ("not_a_page", f"{what} where a page should be, which no listing shows", True)
        return Prepared(fetched=prepared.fetched, failure=failure)

    def _keep_blobs(self, batch: Sequence[Prepared]) -> None:
        """Blobs come first, and all at once: everybody takes them in the order of their digests."""
        writers = [writer for each in batch for writer in each.writers]
        files = [each.inside for each in batch if each.inside]
        rows = [(writer.sha256, writer.size, writer.key_id, writer.data_key) for writer in writers]
        kept = keep_together(self._conn, self._keys, rows, files)
        self._known += [writer.key_id for writer in writers if writer.key_id not in kept]
        self._known += [file[0].file_id for file in files if not any(each.key_id in kept for each in file)]

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
                record_hit(self._conn, name_hit(each), self._source.source_id, by="crawl")
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
        if self._is_without_guard(fetched):
            put_back_row(self._conn, PAGES, page.page_id, page.token, GUARD_GONE, text)
            return
        if code == "upstream_unavailable":
            self._wait_for_upstream(page, code, text)
            return
        if code == DOWNLOAD:
            fetch_plainly(self._conn, page.page_id)
            put_back_row(self._conn, PAGES, page.page_id, page.token, None, None)
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

    def _is_without_guard(self, fetched: Fetched) -> bool:
        """Whether a fetch may have failed because the guard has ended, which says nothing of the page."""
        return self.stopped == GUARD_GONE and fetched.failure is not None and not fetched.failure[2]

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
        drawn_from = keep_captures(self._conn, self._keys, answers) if answers else {}
        captures = [each.capture for each in kept if each.capture is not None]
        ids = keep_captures(
            self._conn,
            self._keys,
            [replace(capture, drawn_from=drawn_from.get(capture.page_id)) for capture in captures],
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
        save_capture_pictures(
            self._conn,
            [
                (capture_id, picture.sha256)
                for each in kept if each.capture is not None
                for capture_id in filter(None, (ids.get(each.capture.page_id), drawn_from.get(each.capture.page_id)))
                for picture in each.inside
            ],
        )  # fmt: skip
        write_entries(self._conn, Kind.CAPTURE, [fact for each in kept for fact in list_receipts(each)], by="crawl")
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
        passed = {page.url: each.passed_over for page, _, _, each in found if each.passed_over is not None}
        save_passed_over(self._conn, self._source.source_id, passed)
        self._add_links([(page, parsed) for page, _, parsed, _ in found])
        offered = [(page, listing) for page, _, parsed, _ in found for listing in parsed.listings]
        shown = [
            Shown(page_id=page.page_id, capture_id=captures[page.page_id], listing=listing) for page, listing in offered
        ]
        listing_ids = save_listings(self._conn, self._source.source_id, shown)
        pictures = {sample.sha256: sample for each in read for sample in list_inside(each)}
        for (page, listing), listing_id in zip(offered, listing_ids, strict=True):
            self._save_offers(page, listing_id, listing)
            samples = [pictures[sha256] for sha256 in listing.pictures if sha256 in pictures]
            if samples:
                save_samples(self._conn, listing_id, page.page_id, samples)
                self._new_samples = True
        return [
            Fetch(
                page_id=page.page_id,
                status=each.fetched.status,
                verdict=each.verdict.value,
                sha256=capture.sha256,
                etag=each.fetched.header("etag") or None,
                modified=each.fetched.header("last-modified") or None,
                sizes=(each.text_size, len(parsed.links), len(parsed.listings))
                if each.verdict in (Verdict.CONTENT, Verdict.CUT, Verdict.TRUNCATED)
                else None,
                changed=page.sha256 is not None,
                left_out=each.left_out,
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
                    new = replace(self._new_page(url, PageKind.PAGE, page.depth + 1), found_on=page.page_id)
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
        ids, added = add_pages(self._conn, self._source.source_id, wanted)
        if known := [(ids[new.url_key], new.kind) for new in wanted if new.url_key not in added]:
            retype_offered(self._conn, known)
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
        write_entries(self._conn, Kind.CAPTURE, facts, by="crawl")
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
        archives = [(page.page_id, blob.sha256) for _, page, blob in found if page.kind is PageKind.ARCHIVE]
        for page_id, sha256 in archives:
            unlock_again(self._conn, page_id, sha256)
        reopen_archives(self._conn, archives)
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
        if self._local:
            return NewPage(url=url, url_key=hash_url(url), kind=kind, depth=depth)
        return NewPage(url=leave_visit(url), url_key=hash_url(canonical_url(url)), kind=kind, depth=depth)

    def _count(self, each: Prepared) -> None:
        counts = self.counts
        if (each.failure is not None and each.failure[0] == DOWNLOAD) or self._is_without_guard(each.fetched):
            return  # it is fetched once more
        counts.left_alone.note((*each.left_alone, *(each.parsed.left_alone if each.parsed else ())))
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


def name_hit(each: Prepared) -> Hit:
    """Of an answer that is listed."""
    md5, sha256 = each.listed or ("", "")
    return Hit(md5=md5, sha256=sha256, place=each.fetched.page.url)


def list_receipts(each: Prepared) -> list[dict[str, str | int]]:
    """What the ledger is told of a page: the digest of everything that was received or drawn, and lay in it."""
    parts = (each.drawn_from, each.capture, each.screenshot, *each.inside)
    digests = [part.sha256 for part in parts if part is not None]
    return [{"about": sha256, "url_sha256": hash_url(each.fetched.page.url)} for sha256 in digests]


def list_inside(each: Prepared) -> list[NewSample]:
    """The pictures that lie in a page as samples; the blobs of those that are read are rows already."""
    filed = [NewSample(kind=PageKind.IMAGE, sha256=blob.sha256, size=blob.size) for blob in each.inside]
    return [*filed, *each.not_read]


def list_files(each: Prepared) -> list[UUID]:
    """The files of blobs that were written for it."""
    return [*(writer.key_id for writer in each.writers), *{picture.file_id for picture in each.inside}]


def needs_browser(card: Card, page: Page) -> bool:
    return card.rendering is Rendering.BROWSER and page.kind is PageKind.PAGE and not page.plain


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
