"""What one image leaves behind on its way, as frozen records in pipeline order. Each mirrors a table of `schema.sql`.

page -> listing -> sample -> face -> match -> alert -> judgement -> bundle, and beside them subject, consent, template.
Times are aware UTC; ids say whose they are; boxes and landmarks are in pixels of the picture as it was sent.
"""

import datetime as dt
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from uuid import UUID


class State(StrEnum):
    """The state column of every row that a step works on."""

    READY = "ready"
    RUNNING = "running"
    DONE = "done"
    QUARANTINED = "quarantined"


class Policy(StrEnum):
    """What may be kept of strangers: nothing after matching, or a protected template for some days."""

    EPHEMERAL = "ephemeral"
    RETRO = "retro"


class PageKind(StrEnum):
    PAGE = "page"
    IMAGE = "image"
    ARCHIVE = "archive"


class Outcome(StrEnum):
    """What became of a face."""

    MATCHED = "matched"
    UNMATCHED = "unmatched"
    LOW_QUALITY = "low_quality"
    HELD = "held"
    PRIVATE = "private"  # found in material that one operator alone chose: only its person is told


class Visibility(StrEnum):
    """Who is told of what is found in a source: operators; operators, under a label an alert; its person only. See
    store/visibility.py."""

    OPEN = "open"
    LABELLED = "labelled"
    PRIVATE = "private"


class Band(StrEnum):
    """How strong a match is, in words, weakest first. Never an identity."""

    POSSIBLE = "possible"
    LIKELY = "likely"
    STRONG = "strong"


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    source_id: int
    name: str
    card_sha256: str
    policy: Policy
    retention_days: int
    state: str
    reason: str
    last_crawl_at: dt.datetime | None
    visibility: Visibility


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """A claimed row of the frontier, with what it was when it was last read."""

    page_id: int
    source_id: int
    url: str
    kind: PageKind
    depth: int
    hops: int
    sha256: str | None
    etag: str | None
    modified: str | None
    text_size: int
    link_count: int
    listing_count: int
    attempts: int
    token: int
    plain: bool = False  # a browser takes it for a download, so it is fetched without one


@dataclass(frozen=True, kw_only=True, slots=True)
class DataKey:
    """The key of one sealed thing; only its wrapped form becomes a row."""

    key_id: UUID
    value: bytes = field(repr=False)  # 32 bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class WarcInfo:
    """The `warcinfo` record that a WARC file begins with, sealed as its captures are."""

    warc_file: str
    length: int
    key: DataKey


@dataclass(frozen=True, kw_only=True, slots=True)
class Capture:
    """A record of a WARC file: `warc_length` sealed bytes at `warc_offset`, under `key`. `sha256`: of the body that was
    received."""

    page_id: int
    warc_file: str
    warc_offset: int
    warc_length: int
    sha256: str
    media_type: str
    captured_at: dt.datetime
    key: DataKey | None = None  # None: written before records were sealed
    drawn_from: int | None = None
    pictures: int = 0  # that lie in the page itself


@dataclass(frozen=True, kw_only=True, slots=True)
class BlobCapture:
    """Proof of what was received into a blob: with the head of the answer, or as the screenshot of the capture that it
    `shows`, which is kept until its day and longer only with a match."""

    page_id: int
    sha256: str
    captured_at: dt.datetime
    head: str | None = None
    shows: int | None = None
    keep_until: dt.datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """One thing that a listing says: (photo, 5000+, "over 5000 photos"), (telegram, olga_k, "tg: @olga_k")."""

    what: str
    value: str
    text: str  # as it stood there


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """What a page says about one listing, before it is a row. `*_text` is what stood there; None is 'not readable'."""

    url: str
    title: str
    seller: str
    description: str
    price_text: str
    price: Decimal | None
    currency: str | None
    claimed_text: str
    claimed_count: int | None
    invalid_fields: tuple[str, ...]
    images: tuple[str, ...]
    archives: tuple[str, ...]
    sold: bool = False
    unit_price: Decimal | None = None  # of one face, in `currency`
    claimed_people: int | None = None
    language: str | None = None  # a guess
    counts: tuple[Said, ...] = ()
    kinds: tuple[Said, ...] = ()
    contacts: tuple[Said, ...] = ()
    dates: tuple[Said, ...] = ()
    passwords: tuple[str, ...] = ()  # to be tried on its archives
    later: bool = False  # from a further page of the listing: only its pictures and archives count
    pictures: tuple[str, ...] = ()  # SHA-256 of those that lie in the page itself


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A claimed sample image or archive."""

    sample_id: int
    listing_id: int
    page_id: int
    archive_id: int | None
    kind: PageKind
    sha256: str
    size: int
    policy: Policy
    retention_days: int
    source_id: int
    visibility: Visibility
    attempts: int
    token: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Face:
    """A face found in a sample. `template` is the keyed vector, d little-endian f32; None once dropped. `exact`: it was
    made by a second look; `length`: of its raw vector, before it was made a unit
    vector; `yaw`, `exposure`: see `workers/faces/quality.py`."""

    ordinal: int
    x: float
    y: float
    width: float
    height: float
    landmarks: tuple[float, ...]
    score: float
    sharpness: float
    pack: str
    matrix_id: str
    template: bytes | None
    outcome: Outcome | None = None
    length: float | None = None
    yaw: float | None = None
    exposure: float | None = None
    exact: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """A claimed face on its way to the matcher, with what the decision needs to know about its sample."""

    face_id: int
    sample_id: int
    policy: Policy
    retention_days: int
    sha256: str
    pack: str
    matrix_id: str
    template: bytes
    exact: bool
    landmarks: tuple[float, ...]
    length: float | None
    attempts: int
    token: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    subject_id: UUID
    key_id: UUID
    state: str
    created_at: dt.datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Template:
    """A claimed enrolment picture that is to become a template."""

    template_id: int
    subject_id: UUID
    pack: str
    attempts: int
    token: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveTemplate:
    """A template that may be searched: its subject has confirmed and not withdrawn."""

    template_id: int
    subject_id: UUID
    consent_id: UUID
    pack: str
    matrix_id: str
    sealed: bytes
    wrapped: bytes
    key_id: UUID


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """A face above the cut for one enrolled person: the score with everything it was compared by."""

    face_id: int
    subject_id: UUID
    template_id: int
    consent_id: UUID
    calibration_id: str
    pack: str
    score: float
    cut: float
    band: Band
    held: str | None
    negative_id: int | None = None  # which negative of the person holds it


@dataclass(frozen=True, kw_only=True, slots=True)
class Alert:
    alert_id: UUID
    subject_id: UUID
    dataset_id: int
    band: Band
    state: str
    created_at: dt.datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedFace:
    """A claimed face of an alert that its person judged: it is to become a negative of theirs. `template`: None once it
    was dropped; then the picture is looked at."""

    negative_id: int
    subject_id: UUID
    key_id: UUID
    face_id: int
    sha256: str
    landmarks: tuple[float, ...]
    matrix_id: str
    pack: str
    template: bytes | None
    exact: bool
    token: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveNegative:
    """A negative that counts: its person's consent is live and its day has not come."""

    negative_id: int
    subject_id: UUID
    matrix_id: str
    sealed: bytes
    wrapped: bytes
    key_id: UUID


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    delivery_id: UUID
    subject_id: UUID
    alert_id: UUID | None
    kind: str
    attempts: int
    token: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle:
    """A claimed bundle that is to be sealed. `previous_sha256`: of the one that was sealed last of this alert."""

    bundle_id: UUID
    alert_id: UUID
    attempts: int
    token: int
    version: int = 1
    asked_by: str = ""
    why: str = ""
    previous_sha256: str | None = None
