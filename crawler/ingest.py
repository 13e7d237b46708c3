"""Taking in what a person hands in: in come a path and a card, out come rows, as of a crawl, and an exit code.

Nothing is fetched. Documents (lists of files, exports, mails) are pages, what they show is samples; both go the way of
everything that is crawled: evidence first, the hash-list gate, then one transaction. The rows say what is left, so a
run that was killed goes on where it was, and a second run adds nothing.
"""

import contextlib
import datetime as dt
import hashlib
import itertools
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from crawler.answers import Fetched
from crawler.archives import FetchedArchive
from crawler.capture import WarcFile
from crawler.cards import LOCAL, Card, CardKind
from crawler.handed import Document, Handed, NotOpened
from crawler.health import judge_source
from crawler.pipeline import Keeper, hash_url
from crawler.reader import Reader
from crawler.run import (
    DONE,
    LOST_DATABASE,
    PAGES_LEFT,
    TRUNCATED,
    describe_visibility,
    list_fields,
    make_keeper,
    open_approved,
    read_facts,
    take_source,
)
from crawler.spider import PAGE_BYTES
from vault.blobs import BlobWriter
from vault.errors import CardError, Unavailable
from vault.formats import say_counts
from vault.keys import load_keys
from vault.log import get_logger
from vault.records import Page, PageKind, Source
from vault.settings import Settings
from vault.store import Connection, DatabaseGone, connect
from vault.store.lease import Heartbeat
from vault.store.pages import (
    begin_cycle,
    count_open,
    count_truncated,
    free_pages,
    list_claimed_pages,
    list_known_keys,
    offer_pages,
    reopen_changed,
)
from vault.store.passed_over import count_passed_over, save_passed_over
from vault.store.sources import mark_crawled, save_health
from vault.store.work import DOCUMENTS, FILES, claim_rows

BATCH = 256  # files
BATCH_BYTES = 32 << 20  # and no more content than this and one file, which may have PAGE_BYTES
TELL_SECONDS = 2.0
WANTED = {
    CardKind.FOLDER: "a picture or an archive",
    CardKind.EXPORT: "a Telegram export or mail (an archive that holds one is unpacked first)",
}

log = get_logger(__name__)


class Progress:
    """Files, bytes and rate on the terminal, now and then."""

    def __init__(self, card: Card, keeper: Keeper, handed: Handed, show: Callable[[str], None]) -> None:
        self._card_kind, self._keeper, self._handed, self._show = card.kind, keeper, handed, show
        self._began = self._told = time.monotonic()

    def tell(self, *, last: bool = False) -> None:
        now = time.monotonic()
        if not last and now - self._told < TELL_SECONDS:
            return
        self._told = now
        counts, found = self._keeper.counts, self._handed.found
        done = counts.samples + counts.pages
        line = (
            f"documents {counts.pages} ({counts.unchanged} unchanged), listings {counts.listings}, "
            f"samples {counts.samples}, failed {counts.failures}, {counts.bytes / 1e6:.1f} MB, "
            f"{done / max(now - self._began, 1e-3):.0f}/s"
        )
        if last:
            refused = ", ".join(f"{code} {count}" for code, count in sorted(found.refused.items()))
            line += f"; refused: {refused}" if refused else ""
            if not found.files:
                line += f"; nothing in it is {WANTED[self._card_kind]}"
        self._show(line)


def run_ingest(settings: Settings, path: Path, card_path: Path, show: Callable[[str], None]) -> int:
    """Raises CardError, ServerError, KeyFileError, SettingError, DeploymentError."""
    keys = load_keys(settings.key_file)
    with contextlib.closing(connect(settings, patience=20.0)) as conn:
        approved = open_approved(conn, keys, card_path, place="ingest")
        card = approved.card
        if card.kind not in LOCAL:
            kinds = " or ".join(LOCAL)
            raise CardError(
                "card_kind", f"{card.name} is of kind {card.kind}", mend=f"{kinds}; or ./facewarden crawl CARD"
            )
        source, changed = take_source(conn, approved, alone=True)
        show(describe_visibility(source, approved))
        with (
            Handed(path, card) as handed,
            WarcFile(settings.home / "warc", card.name) as warc,
            Reader(card) as reader,
        ):
            keeper = make_keeper(conn, settings, keys, card, source, warc, reader, read_again=changed)
            try:
                with Heartbeat(settings) as heartbeat:
                    progress = Progress(card, keeper, handed, show)
                    Taking(conn, card, source, keeper, handed, progress, heartbeat).run()
            except (*DatabaseGone, Unavailable) as exc:
                log.warning("what is needed to keep it is away; the next run goes on where this was", why=str(exc))
                return LOST_DATABASE
            if keeper.stopped:
                show(f"stopped: {keeper.stopped}")
        return close_ingest(conn, card, source.source_id, show)


class Taking:
    """One run over what was handed in."""

    def __init__(
        self,
        conn: Connection,
        card: Card,
        source: Source,
        keeper: Keeper,
        handed: Handed,
        progress: Progress,
        heartbeat: Heartbeat,
    ) -> None:
        self._conn, self._card, self._source = conn, card, source
        self._keeper, self._handed, self._progress = keeper, handed, progress
        self._heartbeat = heartbeat

    def run(self) -> None:
        """Raises DatabaseGone."""
        source_id = self._source.source_id
        free_pages(self._conn, source_id)
        begin_cycle(self._conn, source_id)
        self._take_files()  # left by a run that was killed
        for batch in self._handed.list_documents():
            self._take_documents(batch)
            self._take_files()
            if self._stopping():
                break
        if self._card.kind is CardKind.EXPORT and not self._keeper.stopped:
            self._note_beside()
        self._progress.tell(last=True)

    def _note_beside(self) -> None:
        """Count the files of an export that no document of it shows."""
        counts: Counter[str] = Counter()
        beside = self._handed.list_beside()
        while urls := list(itertools.islice(beside, BATCH)):
            keys = {hash_url(url): url for url in urls}
            known = list_known_keys(self._conn, self._source.source_id, list(keys))
            counts.update(self._handed.name_format(url) for key, url in keys.items() if key not in known)
        save_passed_over(self._conn, self._source.source_id, {self._handed.url: counts})

    def _stopping(self) -> bool:
        if dt.datetime.now(dt.UTC).date() > self._card.why.valid_until:
            self._keeper.stopped = "card_expired"
        if self._keeper.counts.bytes > self._card.budget.bytes:
            self._keeper.stopped = "budget_spent"
        return bool(self._keeper.stopped)

    def _take_documents(self, batch: list[Document]) -> None:
        """Read those that are new or changed since, and offer what they show."""
        by_key = {hash_url(each.url): each for each in batch}
        card = self._source.card_sha256[:16]  # by another card everything is read again
        offered = [(each.url, key, f"{card}:{each.mark}") for key, each in by_key.items()]
        open_ids = offer_pages(self._conn, self._source.source_id, offered)
        if not open_ids:
            return
        changed = [by_key[key] for key in open_ids]
        files = [(hash_url(url), mark) for each in changed for url, mark in each.files]
        reopen_changed(self._conn, self._source.source_id, files)
        ids = {page_id: by_key[key] for key, page_id in open_ids.items()}
        while claim := claim_rows(self._conn, DOCUMENTS, len(ids), page_ids=list(ids)):
            self._heartbeat.hold(DOCUMENTS, claim.ids, claim.token)
            for page in list_claimed_pages(self._conn, claim.ids):
                document = ids[page.page_id]
                headers = (("content-type", document.media_type), ("etag", page.etag or ""))
                self._keeper.add(
                    Fetched(page=page, status=200, headers=headers, body=document.body, failure=document.failure)
                )
            self._keeper.flush()
            self._heartbeat.release(claim.token)
            self._progress.tell()

    def _take_files(self) -> None:
        """Keep the pictures and archives that documents have shown, until none is left."""
        while not self._stopping():
            claim = claim_rows(self._conn, FILES, BATCH, source_id=self._source.source_id)
            if claim is None:
                return
            self._heartbeat.hold(FILES, claim.ids, claim.token)
            held = 0
            for page in list_claimed_pages(self._conn, claim.ids):
                fetched = self._take_file(page)
                held += len(fetched.body)
                self._keeper.add(fetched)
                if held > BATCH_BYTES:
                    self._keeper.flush()
                    held = 0
            self._keeper.flush()
            self._heartbeat.release(claim.token)
            self._progress.tell()

    def _take_file(self, page: Page) -> Fetched:
        try:
            if page.kind is PageKind.ARCHIVE:
                mark = self._handed.read_mark(page.url)
                return Fetched(page=page, status=200, headers=(("etag", mark),), archive=self._take_archive(page))
            body, mark = self._handed.read_file(page.url, PAGE_BYTES)
        except NotOpened as exc:
            return Fetched(page=page, failure=exc.failure)
        return Fetched(page=page, status=200, headers=(("etag", mark),), body=body)

    def _take_archive(self, page: Page) -> FetchedArchive:
        """Straight into an encrypted blob, however large. Raises NotOpened."""
        most = self._card.budget.archive_bytes
        md5 = hashlib.md5(usedforsecurity=False)
        with BlobWriter(self._keeper.blob_folder) as writer:
            for piece in self._handed.read_pieces(page.url):
                if writer.size + len(piece) > most:
                    raise NotOpened("body_too_large", f"more than {most} bytes")
                md5.update(piece)
                writer.write(piece)
            if not writer.size:
                raise NotOpened("body_empty", "nothing is in it")
            writer.seal()
        return FetchedArchive(status=200, headers={}, blob=writer, md5=md5.hexdigest())


def close_ingest(conn: Connection, card: Card, source_id: int, show: Callable[[str], None]) -> int:
    """How the source is, judged by what this run has read; a run that found nothing new says nothing of it."""
    facts = read_facts(conn, source_id)
    if facts.ended:
        verdict = judge_source(facts, list_fields(card), card.expect.listings)
        save_health(conn, source_id, verdict.health.value, verdict.reason, verdict.page_id)
        show(f"source: {verdict.health.value}{f' ({verdict.reason})' if verdict.reason else ''}")
    if passed := count_passed_over(conn).get(card.name):
        show(f"passed over: {say_counts(passed)}")
    left = count_open(conn, source_id)
    if left:
        show(f"left: {left}")
        return PAGES_LEFT
    mark_crawled(conn, source_id)
    if truncated := count_truncated(conn, source_id):
        show(f"truncated: {truncated} (they end early or are damaged; what could be read was kept)")
        return TRUNCATED
    return DONE
