"""Evidence first: in comes an answer, out goes what is to become rows of it, its captures and blobs written already.

What a page is worth is judged here too: a wall, nothing new, a redirect, listings. No row is touched.
"""

import datetime as dt
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urljoin

from crawler.acts import LeftAlone
from crawler.archives import FetchedArchive
from crawler.capture import Answer, WarcFile, seal_body
from crawler.cards import LOCAL, Card, CardKind
from crawler.kinds import parse_answer
from crawler.kinds.reading import INGEST
from crawler.pages import ParsedPage, canonical_url, is_too_complex
from crawler.verdicts import WALLS, Known, Verdict, is_html, is_page, judge_page
from vault.blobs import BlobWriter, unlink_blob
from vault.egress import REFUSAL_TEXT, HostRule, parse_rule, parse_target
from vault.errors import BlobError, EgressRefused, Unavailable
from vault.gate import HashGate, hash_md5
from vault.log import get_logger
from vault.records import Capture, Page, PageKind
from vault.urls import show_url

MOST_HOPS = 5
NOT_MODIFIED = 304
NOT_A_SAMPLE = ("not_a_sample", "a page, perhaps a login, where a picture or an archive should be", True)
REDIRECT_STATUS = {301, 302, 303, 307, 308}
REFUSED_HEADER = "x-facewarden-refused"
FINAL_REFUSALS = REFUSAL_TEXT.keys() - {"upstream_unavailable", "unreachable", "name_unknown"}
RETRY_STATUS = {408, 425, 429, 500, 502, 503, 504}

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
    passed_over: Mapping[str, int] | None = None  # files that are no samples, by format; None: not read
    left_alone: tuple[LeftAlone, ...] = ()  # a redirect that is not followed, since it acts

    @property
    def writers(self) -> list[BlobWriter]:
        return [writer for writer in (self.blob, self.screenshot) if writer is not None]


def name_act(act: LeftAlone) -> tuple[str, str, bool]:
    """(code, text, final) of a page that leads to what acts: a login wall, or what a crawl leaves alone."""
    if act.is_login:
        return Verdict.LOGIN_WALL.value, f"it leads to a login: {act.shown}", True
    return "redirect_acts", f"it leads to what would act ({act.word}): {act.shown}", True


class Preparer:
    """Writes the evidence of one crawl's answers."""

    def __init__(self, card: Card, gate: HashGate, warc: WarcFile, blobs: Path, *, read_again: bool) -> None:
        self._card, self._gate, self._warc, self._blobs = card, gate, warc, blobs
        self.read_again = read_again  # the card has changed, so unchanged pages are parsed again
        self.local = card.kind in LOCAL
        self._rules: tuple[HostRule, ...] = tuple(map(parse_rule, card.where.hosts))
        self._sample_rules = (*self._rules, *map(parse_rule, card.where.image_hosts))

    def prepare(self, fetched: Fetched) -> Prepared:
        """What a page contains may break libraries in ways nobody foresaw; it must never cost its neighbours."""
        try:
            return self._prepare(fetched)
        except (OSError, BlobError, Unavailable):
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
        if reading.truncated and verdict is Verdict.CONTENT:
            verdict = Verdict.TRUNCATED
        prepared = Prepared(fetched=fetched, capture=capture, drawn_from=drawn_from, screenshot=shot, verdict=verdict)
        if verdict in WALLS or verdict is Verdict.GONE:
            failure = (verdict.value, "what came instead of the page", True)
            return replace(prepared, failure=failure)
        if reading.problem:
            failure = ("page_unreadable", reading.problem, True)
            return replace(prepared, failure=failure, verdict=Verdict.CONTENT)
        return replace(prepared, parsed=parsed, text_size=len(text), passed_over=reading.passed_over)

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
        if (listed := self._find_listed(fetched.body)) is not None:
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
