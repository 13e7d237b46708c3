"""Evidence first: in come answers, out goes what is to become rows of them. Their captures and blobs are written and
durable before any of them is read.

What a page is worth is judged here too: a wall, nothing new, a redirect, listings. No row is touched.
"""

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urljoin

from crawler.acts import LeftAlone
from crawler.archives import FetchedArchive
from crawler.bodies import Content, Kind, judge_body, read_letters
from crawler.capture import Answer, WarcFile, make_head, seal_body
from crawler.cards import LOCAL, Card
from crawler.inside import Inside, join_parts
from crawler.kinds.reading import INGEST
from crawler.pages import ParsedPage, canonical_url
from crawler.reader import Pictures, Read, Reader, ReadPage, Request, Unread
from crawler.verdicts import WALLS, Known, Verdict, is_html
from vault.blobs import BlobWriter, FiledBlob, FileWriter, sync_blobs, unlink_blob
from vault.egress import REFUSAL_TEXT, HostRule, parse_rule, parse_target
from vault.errors import BlobError, EgressRefused, Unavailable
from vault.formats import READ
from vault.gate import HashGate
from vault.log import get_logger
from vault.records import Capture, Page, PageKind
from vault.store.samples import NewSample
from vault.urls import show_url

MOST_HOPS = 5
NOT_MODIFIED = 304
DOWNLOAD = "is_download"  # what a browser would save instead of showing it: no failure, and never of a row
NOT_A_SAMPLE = ("not_a_sample", "a page, perhaps a login, where a picture or an archive should be", True)
REDIRECT_STATUS = {301, 302, 303, 307, 308}
REFUSED_HEADER = "x-facewarden-refused"
FINAL_REFUSALS = REFUSAL_TEXT.keys() - {"upstream_unavailable", "unreachable", "name_unknown"}
RETRY_STATUS = {408, 425, 429, 500, 502, 503, 504}

log = get_logger(__name__)


class DownloadStarted(Exception):
    """A browser would save what lies there instead of showing it."""


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
    was read (or is still `unread`), or a blob. A failure may have a capture too: a wall is evidence."""

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
    passed_over: Mapping[str, int] | None = None  # files that are no samples, by format; None: not read
    unread: bool = False
    found: PageKind | None = None  # the blob is a picture or an archive that a link called a page
    inside: tuple[FiledBlob, ...] = ()  # pictures that lie in the page, in one file
    not_read: tuple[NewSample, ...] = ()  # and those of formats that are not read
    left_out: int = 0  # pictures that lie in it and are not kept
    left_alone: tuple[LeftAlone, ...] = ()  # a redirect that is not followed, since it acts

    @property
    def writers(self) -> list[BlobWriter]:
        return [writer for writer in (self.blob, self.screenshot) if writer is not None]

    @property
    def has_files(self) -> bool:
        return bool(self.writers or self.inside)


def name_act(act: LeftAlone) -> tuple[str, str, bool]:
    """(code, text, final) of a page that leads to what acts: a login wall, or what a crawl leaves alone."""
    if act.is_login:
        return Verdict.LOGIN_WALL.value, f"it leads to a login: {act.shown}", True
    return "redirect_acts", f"it leads to what would act ({act.word}): {act.shown}", True


class Preparer:
    """Writes the evidence of one crawl's answers."""

    def __init__(
        self, card: Card, gate: HashGate, warc: WarcFile, blobs: Path, reader: Reader, *, read_again: bool
    ) -> None:
        self._card, self._gate, self._warc, self._blobs, self._reader = card, gate, warc, blobs, reader
        self.read_again = read_again  # the card has changed, so unchanged pages are parsed again
        self.local = card.kind in LOCAL
        self._rules: tuple[HostRule, ...] = tuple(map(parse_rule, card.where.hosts))
        self._sample_rules = (*self._rules, *map(parse_rule, card.where.image_hosts))

    def prepare(self, gathered: Sequence[Fetched]) -> list[Prepared]:
        """The evidence of all, made durable; then each page is read. Raises OSError, BlobError: the disk."""
        received = [self._receive(each) for each in gathered]
        self._warc.sync()
        writers = [writer for each in received for writer in each.writers]
        if writers:
            sync_blobs(self._blobs, [writer.key_id for writer in writers])
        return self._read_pages(received) if any(each.unread for each in received) else received

    def _receive(self, fetched: Fetched) -> Prepared:
        """What a page contains may break libraries in ways nobody foresaw; it must never cost its neighbours."""
        try:
            return self._prepare(fetched)
        except (OSError, BlobError, Unavailable):
            raise  # the disk, not the page
        except Exception as exc:
            log.error("an answer could not be kept", page_id=fetched.page.page_id, error=type(exc).__name__)
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
            content = judge_body(fetched.body, fetched.header("content-type"))
            if not final or not fetched.page.listing_count or content.kind is not Kind.PAGE:
                return Prepared(fetched=fetched, failure=failure)
            if (listed := self._gate.find_listed(fetched.body)) is not None:
                return Prepared(fetched=fetched, listed=listed)
            return Prepared(fetched=fetched, failure=failure, capture=self._capture(fetched), unread=True)
        if fetched.page.kind is PageKind.PAGE:
            return self._prepare_page(fetched)
        return self._prepare_sample(fetched)

    def _prepare_redirect(self, fetched: Fetched) -> Prepared:
        try:
            target = urljoin(fetched.page.url, fetched.header("location"))
        except ValueError:
            return Prepared(fetched=fetched, failure=("redirect_refused", "its target is no address", True))
        if fetched.page.hops >= MOST_HOPS:
            return Prepared(fetched=fetched, failure=("too_many_redirects", show_url(target), True))
        if not self.allows(target, fetched.page.kind):
            return Prepared(fetched=fetched, failure=("redirect_refused", show_url(target), True))
        if canonical_url(target) == canonical_url(fetched.page.url):
            return Prepared(fetched=fetched, failure=("redirect_loop", "it redirects to itself", True))
        if (act := self.find_act(target, fetched.page.kind)) is not None:
            verdict = Verdict.LOGIN_WALL if act.is_login else Verdict.CONTENT
            return Prepared(fetched=fetched, failure=name_act(act), verdict=verdict, left_alone=(act,))
        return Prepared(fetched=fetched, redirect=target)

    def _prepare_page(self, fetched: Fetched) -> Prepared:
        page, body = fetched.page, fetched.body
        if page.sha256 == hashlib.sha256(body).hexdigest() and not self.read_again:
            return Prepared(fetched=fetched, unchanged=True)
        bodies = [(body, fetched.header("content-type") or "text/html")]
        if fetched.answer is not None:
            bodies.append((fetched.answer.body, fetched.answer.media_type))
        for each, media_type in bodies:
            if (listed := self._gate.find_listed(each)) is not None:
                return Prepared(fetched=fetched, listed=listed)
            content = judge_body(each, media_type)
            if content.kind is not Kind.PAGE:
                return self._prepare_file(fetched, each, content)
        if page.plain:
            return Prepared(fetched=fetched, failure=("not_a_page", "a download where a page should be", True))
        drawn_from = self._capture_answer(fetched)
        capture, shot = self._capture(fetched), self._seal_screenshot(fetched)
        return Prepared(fetched=fetched, capture=capture, drawn_from=drawn_from, screenshot=shot, unread=True)

    def _prepare_file(self, fetched: Fetched, body: bytes, content: Content) -> Prepared:
        """What a link called a page and is none: a sample, if it can be one and a listing shows it."""
        found = name_sample(content)
        if found is None:
            return Prepared(fetched=fetched, failure=name_no_page(content))
        return Prepared(fetched=fetched, blob=seal_body(self._blobs, body), found=found)

    def _read_pages(self, received: Sequence[Prepared]) -> list[Prepared]:
        """Those that are still unread, whose evidence is written: what each says, or why it says nothing. Raises
        OSError."""
        unread = [each for each in received if each.unread]
        reads = self._reader.read_all([(make_request(each.fetched), each.fetched.body) for each in unread])
        found = iter([self._note_read(each, read) for each, read in zip(unread, reads, strict=True)])
        return [next(found) if each.unread else each for each in received]

    def _note_read(self, prepared: Prepared, read: Read) -> Prepared:
        """A page, its pictures, and what its reader says of it. A page that could not be looked through for pictures,
        or holds one that may not be kept, is not kept: its records' keys never become rows. Raises OSError."""
        listed = self._find_listed_inside(read.pictures) if read.pictures else None
        if read.pictures is None or listed is not None:
            if prepared.screenshot is not None:
                unlink_blob(self._blobs, prepared.screenshot.key_id)
            failure = note_said(prepared, read.said).failure if listed is None else None
            return Prepared(fetched=prepared.fetched, failure=failure, listed=listed)
        prepared = note_said(note_pictures(prepared, read.pictures), read.said)
        return self._file_pictures(prepared, read.pictures)

    def _find_listed_inside(self, pictures: Pictures) -> tuple[str, str] | None:
        """MD5 and SHA-256 of a picture in a page that may not be kept."""
        hits = map(self._gate.find_listed, (each.content for each in pictures.kept))
        return next(filter(None, hits), None) or next(
            filter(lambda pair: self._gate.has_digest(*pair), pictures.others), None
        )

    def _file_pictures(self, prepared: Prepared, pictures: Pictures) -> Prepared:
        """Those that a listing shows, sealed in one file, each under a key of its own. Raises OSError."""
        listings = prepared.parsed.listings if prepared.parsed is not None else ()
        wanted = {digest for listing in listings for digest in listing.pictures}
        left_out = len(pictures.digests) - len(wanted) if listings else 0
        prepared = replace(prepared, left_out=left_out)
        read = [each for each in pictures.kept if each.sha256 in wanted and each.name in READ]
        others = [each for each in pictures.kept if each.sha256 in wanted and each.name not in READ]
        prepared = replace(prepared, not_read=tuple(map(refuse_format, others)))
        if not read:
            return prepared
        with FileWriter(self._blobs) as file:
            inside = tuple(file.add(each.content) for each in read)
            file.seal()
        return replace(prepared, inside=inside)

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

    def _capture(self, fetched: Fetched) -> Capture:
        """The answer as a record of the WARC file, before anything follows from it."""
        page, body = fetched.page, fetched.body
        media_type = fetched.header("content-type") or "text/html"
        if fetched.rendered or self.local:
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
        if (listed := self._gate.find_listed(fetched.body)) is not None:
            return Prepared(fetched=fetched, listed=listed)
        return Prepared(fetched=fetched, blob=seal_body(self._blobs, fetched.body))

    def find_act(self, url: str, kind: PageKind) -> LeftAlone | None:
        """Why an address is not asked for, None for one that reads, and for what was handed in."""
        return None if self.local else self._card.find_act(url, chosen=kind is not PageKind.PAGE)

    def allows(self, url: str, kind: PageKind) -> bool:
        """Does the card name the host of this address? (The guard asks again, with the address it resolves to.) Of what
        was handed in nothing leads to a host."""
        if self.local:
            return url.startswith(INGEST)
        try:
            target, _ = parse_target(url)
        except EgressRefused:
            return False
        rules = self._rules if kind is PageKind.PAGE else self._sample_rules
        return any(rule.covers(target.host) and target.port in rule.ports for rule in rules)


def make_request(fetched: Fetched) -> Request:
    """What a reader is told of a page. Beside its body: whatever else of it is written into records."""
    page, answer = fetched.page, fetched.answer
    heads = [make_head(fetched.status, list(fetched.headers)).encode()]
    if answer is not None:
        heads += [make_head(answer.status, list(answer.headers)).encode(), read_letters(answer.body, answer.media_type)]
    return Request(
        url=page.url,
        media_type=fetched.header("content-type") or "text/html",
        known=Known(listings=page.listing_count, links=page.link_count, text=page.text_size),
        seen=dt.datetime.now(dt.UTC).date(),
        beside=join_parts(heads),
        is_read=fetched.status == 200,
    )


def note_pictures(prepared: Prepared, pictures: Pictures) -> Prepared:
    """How many pictures lie in a page. What a browser drew and what it drew it from are kept and erased together."""
    count = len(pictures.digests)
    capture, drawn_from = prepared.capture, prepared.drawn_from
    return replace(
        prepared,
        unread=False,
        capture=replace(capture, pictures=count) if capture else None,
        drawn_from=replace(drawn_from, pictures=count) if drawn_from else None,
    )


def refuse_format(picture: Inside) -> NewSample:
    return NewSample(
        kind=PageKind.IMAGE, sha256=picture.sha256, size=len(picture.content), refused="format_not_allowed",
        text=picture.name,
    )  # fmt: skip


def note_said(prepared: Prepared, said: ReadPage | Unread) -> Prepared:
    """A page and what its reader says of it."""
    if prepared.failure is not None:  # it was looked through for pictures only
        return prepared
    if isinstance(said, Unread):
        return replace(prepared, failure=(said.code, said.text, said.final))
    verdict = Verdict.TRUNCATED if said.truncated and said.verdict is Verdict.CONTENT else said.verdict
    prepared = replace(prepared, verdict=verdict)
    if said.verdict in WALLS or said.verdict is Verdict.GONE:
        return replace(prepared, failure=(said.verdict.value, "what came instead of the page", True))
    if said.problem:
        code = Verdict.CUT.value if said.verdict is Verdict.CUT else "page_unreadable"
        return replace(prepared, failure=(code, said.problem, True), verdict=Verdict.CONTENT)
    return replace(prepared, parsed=said.parsed, text_size=said.letters, passed_over=said.passed_over)


def name_sample(content: Content) -> PageKind | None:
    """What kind of sample it can be; None for a file that is none."""
    if content.kind is Kind.ARCHIVE:
        return PageKind.ARCHIVE
    return PageKind.IMAGE if content.kind is Kind.PICTURE and content.is_read else None


def name_no_page(content: Content) -> tuple[str, str, bool]:
    name = f" ({content.name})" if content.name else ""
    return "not_a_page", f"a {content.kind.value}{name} where a page should be", True
