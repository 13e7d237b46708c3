"""Source cards: in comes a TOML file that says why, where and how a source may be crawled, out a checked record.

Nothing is fetched without one. An unknown field, a card without a purpose, or one that has expired is refused with the
line, the field and the mend. Who approved it is the business of `crawler/approval.py`.
"""

import datetime as dt
import errno
import functools
import hashlib
import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from parsel import Selector
from parsel.csstranslator import HTMLTranslator

from crawler.acts import FREE, ActKind, LeftAlone, find_act, split_query
from crawler.addresses import check_page_parameter
from crawler.query import check_query
from vault.addresses import is_special_name
from vault.egress import is_literal, parse_rule, parse_target
from vault.errors import CardError, EgressRefused
from vault.files import read_small
from vault.records import Policy
from vault.socks import parse_socks
from vault.toml import MOST_BYTES, Misfit, read_record

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
SIGNATURE = re.compile(r"^\[\[signature\]\][ \t]*$", re.MULTILINE)
MOST_SIGNATURES = 16
NO_SELECTORS = {"passwords", "page_parameter"}  # fields of [read] that are none
MOST_PASSWORDS = 5  # of a card; ten are tried on an archive, so those printed have a chance
MOST_FOLLOW, LONGEST_EXPRESSION = 50, 4000  # expressions of `follow`, letters of one
MOST_HOURS = 24 * 366  # between two crawls
MOST_RETENTION_DAYS = 1095  # BIPA sec. 15(a): three years


class CardKind(StrEnum):
    SHOP = "shop"
    FORUM = "forum"
    GALLERY = "gallery"
    SPA = "spa"
    JSONAPI = "jsonapi"
    OPENDIR = "opendir"
    FOLDER = "folder"
    EXPORT = "export"


LOCAL = (CardKind.FOLDER, CardKind.EXPORT)  # handed in by a person; nothing is fetched
NO_EXPRESSIONS = (*LOCAL, CardKind.OPENDIR)  # read by their own form
JSON_ONLY = ("next", "page_url", "image_url")
NEEDED = ("listing", "title")
TEMPLATE = re.compile(r"[^{}]*\{(?:\+[1-9][0-9]{0,5})?\}[^{}]*")
IMAGE_TEMPLATE = re.compile(r"[^{}]*\{\}[^{}]*")


class Grouping(StrEnum):
    """What is one listing of a folder that was handed in."""

    FOLDERS = "folders"
    WHOLE = "whole"


class Rendering(StrEnum):
    HTML = "html"
    BROWSER = "browser"


class Robots(StrEnum):
    OBEY = "obey"
    IGNORE = "ignore"


class Login(StrEnum):
    """Nobody logs in; or a person did, elsewhere, and imported the session as cookies."""

    NONE = "none"
    SESSION = "session"


@dataclass(frozen=True, kw_only=True, slots=True)
class Why:
    """Why this may be crawled at all."""

    purpose: str
    legal_basis: str
    valid_until: dt.date
    jurisdiction: str = ""
    robots: Robots = Robots.OBEY
    robots_reason: str = ""
    login: Login = Login.NONE
    login_reason: str = ""

    def __post_init__(self) -> None:
        for name in ("purpose", "legal_basis"):
            if len(getattr(self, name).strip()) < 10:
                raise ValueError(f"{name}: must say something (10 letters or more)")
        if self.robots is Robots.IGNORE and not self.robots_reason:
            raise ValueError("robots_reason: ignoring robots.txt needs a reason")
        if self.login is Login.SESSION and len(self.login_reason.strip()) < 10:
            raise ValueError("login_reason: a session needs a reason (10 letters or more)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Where:
    """Hosts that may be reached (exact, or `*.name`; with `:port` if it is not 80 or 443) and where to begin."""

    hosts: tuple[str, ...] = ()
    start: tuple[str, ...] = ()
    image_hosts: tuple[str, ...] = ()  # where listings' pictures and archives may lie; no page is fetched from there
    proxy: str = ""  # socks5h://host:port, for hidden services or an exit of choice

    def __post_init__(self) -> None:
        try:
            for entry in self.hosts:
                parse_rule(entry)
        except EgressRefused as exc:
            raise ValueError(f"hosts: {exc.message}") from exc
        try:
            for entry in self.image_hosts:
                parse_rule(entry)
        except EgressRefused as exc:
            raise ValueError(f"image_hosts: {exc.message}") from exc
        try:
            for url in self.start:
                parse_target(url)
        except EgressRefused as exc:
            raise ValueError(f"start: {exc.message}") from exc
        if self.proxy:
            check_proxy(self)


def check_proxy(where: Where) -> None:
    """Raises ValueError for what is no SOCKS proxy, and for hosts that lead inside wherever they are resolved."""
    try:
        parse_socks(where.proxy)
    except ValueError as exc:
        raise ValueError(f"proxy: {exc}") from exc
    for entry in (*where.hosts, *where.image_hosts):
        host = parse_rule(entry).name
        if not is_literal(host) and is_special_name(host):
            raise ValueError(f"hosts: {entry!r} would lead inside the proxy's own network")


@dataclass(frozen=True, kw_only=True, slots=True)
class Keep:
    """What may be kept of strangers: see `Policy`."""

    policy: Policy = Policy.EPHEMERAL
    days: int = 0
    screenshots: bool = True  # of rendered pages, pictures left out; dropped after a day unless somebody is matched

    def __post_init__(self) -> None:
        if (self.policy is Policy.RETRO) != (1 <= self.days <= MOST_RETENTION_DAYS) or self.days < 0:
            raise ValueError(f"days: retro needs 1 to {MOST_RETENTION_DAYS} days, ephemeral 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """How a listing is found, in the language of the card's kind: CSS selectors, or XPath where they begin with `/` or
    `./`; JMESPath for `jsonapi`; nothing for kinds that have a form of their own. `listing` finds each listing; the
    others are looked up inside it."""

    listing: str = ""
    title: str = ""
    follow: tuple[str, ...] = ()  # links to other pages of this source, anywhere on the page
    next: str = ""  # jsonapi: the next page's address or token; nothing, false or an empty list: there is none
    page_url: str = ""  # jsonapi: the address in which `{}` is the token, `{+1}` the number in this page's plus one
    image_url: str = ""  # jsonapi: the address in which `{}` is what `image` gives
    group: Grouping = Grouping.FOLDERS  # folder: each folder in it is one listing, or the whole
    link: str = ""  # the listing's own address; default: the page's
    seller: str = ""
    price: str = ""
    count: str = ""  # where the number of faces is claimed; default: in the title
    description: str = ""
    image: str = ""
    archive: str = ""
    sold: str = ""  # what is there only when the listing is sold; default: its own words say so
    wait_for: str = ""  # with a browser: the element to wait for; default: a quiet network
    date: str = ""  # where it says when the listing was posted
    password: str = ""  # where a password of its archives is printed; beside it, words such as "password:" say so
    passwords: tuple[str, ...] = ()  # to be tried on its archives, before those printed
    page_parameter: str = ""  # what numbers the pages of one listing: see crawler/addresses.py

    def __post_init__(self) -> None:
        for name, value in ((each, getattr(self, each)) for each in self.__dataclass_fields__):
            if len(value) > (MOST_FOLLOW if isinstance(value, tuple) else LONGEST_EXPRESSION):
                raise ValueError(f"{name}: at most {MOST_FOLLOW} expressions of {LONGEST_EXPRESSION} letters")
        if max(map(len, self.follow), default=0) > LONGEST_EXPRESSION:
            raise ValueError(f"follow: at most {LONGEST_EXPRESSION} letters each")
        if len(self.passwords) > MOST_PASSWORDS or any(not 1 <= len(each) <= 200 for each in self.passwords):
            raise ValueError(f"passwords: at most {MOST_PASSWORDS}, of 1 to 200 letters each")
        if self.page_parameter:
            try:
                check_page_parameter(self.page_parameter)
            except ValueError as exc:
                raise ValueError(f"page_parameter: {exc}") from exc


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """Where a crawl stops by itself."""

    pages: int = 10_000
    bytes: int = 10 << 30
    images_per_listing: int = 500
    depth: int = 1000  # links from a start page; a list of pages costs one each
    seconds: int = 6 * 3600
    archive_bytes: int = 2 << 30

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be 1 or more")


@dataclass(frozen=True, kw_only=True, slots=True)
class Expect:
    """What a healthy crawl finds; less of it is shown as degraded."""

    listings: int = 0

    def __post_init__(self) -> None:
        if self.listings < 0:
            raise ValueError("listings: must be 0 or more")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    delay: float = 0.5  # seconds between requests to one host
    concurrency: int = 4
    every_hours: float = 24.0  # how often `up` crawls it; pages that seldom change are looked at less often

    def __post_init__(self) -> None:
        if self.delay < 0 or not 1 <= self.concurrency <= 64 or not 0 < self.every_hours <= MOST_HOURS:
            raise ValueError(f"concurrency: 1 to 64; delay above 0, every_hours too and at most {MOST_HOURS}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    name: str
    kind: CardKind
    why: Why
    where: Where = field(default_factory=Where)
    read: Read = field(default_factory=Read)
    rendering: Rendering = Rendering.HTML
    keep: Keep = field(default_factory=Keep)
    budget: Budget = field(default_factory=Budget)
    pace: Pace = field(default_factory=Pace)
    expect: Expect = field(default_factory=Expect)

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError("name: small letters, digits and hyphens, at most 63")
        check_where(self)
        check_read(self)

    def find_act(self, url: str, *, chosen: bool = False) -> LeftAlone | None:
        """Why an address of this source is left alone, None for one that reads. `chosen`: as a picture or an archive,
        by the card's own selector."""
        free = list_free(self.where.start, self.read.page_url)
        return find_act(url, chosen=chosen, static=self.kind is CardKind.OPENDIR, free=free)


@functools.lru_cache(maxsize=64)
def list_free(start: tuple[str, ...], page_url: str) -> FREE:
    """The parameters that the card itself writes down, which may look like tokens: those of its start pages, such as
    the key of an API, and those in which `page_url` has the next page's mark."""
    written = frozenset(pair for url in start for pair in split_query(url.partition("?")[2]))
    pages = split_query(page_url.partition("?")[2])
    return written | frozenset((name, None if "{" in value else value) for name, value in pages)


@dataclass(frozen=True, kw_only=True, slots=True)
class Signature:
    """The table that an approver's signature adds to a card."""

    approver: str
    key: str  # 64 hex digits
    signed_at: str
    value: str  # base64

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            # a line break here could stand for one of the card: a signature of it would be one of a card cut short
            if not getattr(self, name).isprintable():
                raise ValueError(f"{name}: one line of letters")


@dataclass(frozen=True, kw_only=True, slots=True)
class Tail:
    signature: tuple[Signature, ...]

    def __post_init__(self) -> None:
        if len(self.signature) > MOST_SIGNATURES:
            raise ValueError(f"signature: more than {MOST_SIGNATURES}")


def split_signatures(text: str) -> tuple[str, tuple[Signature, ...]]:
    """What every approver signs, which is all before the first signature, and the signatures behind it. Raises
    CardError: card_invalid, where something else stands behind the first one."""
    place = SIGNATURE.search(text)
    if place is None:
        return text, ()
    body, tail = text[: place.start()], text[place.start() :]
    try:
        return body, read_record(Tail, tail).signature
    except Misfit as exc:
        raise CardError("card_invalid", f"signature: {exc.field}: {exc.message}", mend="sign the card again") from exc


def list_places(card: Card) -> tuple[str, ...]:
    """What a card lets be read: its hosts and its proxy, or that somebody hands it in."""
    if card.kind in LOCAL:
        return ("handed in",)
    return (*card.where.hosts, *card.where.image_hosts, *((card.where.proxy,) if card.where.proxy else ()))


def check_where(card: Card) -> None:
    """Raises ValueError where the places do not fit the kind."""
    where = card.where
    if card.kind in LOCAL:
        for name in ("hosts", "start", "image_hosts", "proxy"):
            if getattr(where, name):
                raise ValueError(f"where.{name}: nothing is fetched for kind {card.kind}", f"leave {name} out")
    elif (act := next(filter(None, map(find_act, where.start)), None)) and act.kind is ActKind.ACTION:
        raise ValueError(f"where.start: a crawl only reads, and {act.shown} would do something ({act.word})")
    elif not where.hosts or not where.start:
        raise ValueError("where.start: a card names at least one host and one start URL", "add hosts and start")
    if card.rendering is Rendering.BROWSER and card.kind in (CardKind.JSONAPI, *NO_EXPRESSIONS):
        raise ValueError(f"rendering: kind {card.kind} is read without a browser", "leave rendering out")


def check_read(card: Card) -> None:
    """Raises ValueError for a field that the kind needs and has not, cannot use, or that is not in its language."""
    kind, read = card.kind, card.read
    if read.group is not Grouping.FOLDERS and kind is not CardKind.FOLDER:
        raise ValueError(f"read.group: kind {kind} has no use for it", "leave group out")
    for name in NEEDED if kind not in NO_EXPRESSIONS else ():
        if not getattr(read, name):
            raise ValueError(f"read.{name}: missing field", f"add {name} = ...")
    for name in EXPRESSIONS:
        value = getattr(read, name)
        for expression in value if isinstance(value, tuple) else (value,):
            if expression:
                check_expression(kind, name, expression)
    if bool(read.next) < bool(read.page_url):
        raise ValueError("read.page_url: nothing says when there is a next page", "add next = ...")


EXPRESSIONS = ("listing", "title", "follow", "link", "seller", "price", "count", "description", "image", "archive",
               "sold", "wait_for", "date", "password", *JSON_ONLY)  # fmt: skip


def check_expression(kind: CardKind, name: str, expression: str) -> None:
    """Raises ValueError for one field of `read` that does not fit the kind."""
    if kind in NO_EXPRESSIONS:
        raise ValueError(f"read.{name}: kind {kind} is read by its own form", f"leave {name} out")
    if kind is not CardKind.JSONAPI:
        if name in JSON_ONLY:
            raise ValueError(f"read.{name}: only kind jsonapi has it", f"leave {name} out; follow finds next pages")
        check_selector(f"read.{name}", expression)
    elif name == "wait_for":
        raise ValueError("read.wait_for: kind jsonapi is read without a browser", "leave wait_for out")
    elif name == "page_url" and not TEMPLATE.fullmatch(expression):
        raise ValueError(f"read.page_url: {expression!r} has not one {{}} or {{+1}}", 'write "/items?page={}"')
    elif name == "image_url" and not IMAGE_TEMPLATE.fullmatch(expression):
        raise ValueError(f"read.image_url: {expression!r} has not one {{}}", 'write "/img/{}.jpg"')
    elif name not in ("page_url", "image_url"):
        check_query(f"read.{name}", expression)


def accept_header(card: Card) -> str:
    """The Accept header of a card's pages; nothing for the usual one."""
    return "application/json" if card.kind is CardKind.JSONAPI else ""


def is_xpath(selector: str) -> bool:
    return selector.startswith(("/", "./"))


def check_selector(name: str, selector: str) -> None:
    """Raises ValueError for a selector that parsel cannot use."""
    kind = "XPath" if is_xpath(selector) else "CSS selector"
    try:
        Selector(text="<p>", type="html").xpath(
            selector if is_xpath(selector) else HTMLTranslator().css_to_xpath(selector)
        )
    except Exception as exc:  # cssselect and parsel raise many kinds
        raise ValueError(f"{name}: {selector!r} is no {kind}: {exc}") from exc


def read_text(path: Path) -> str:
    """A card's text. Raises CardError: card_missing, card_invalid."""
    try:
        return read_small(path, MOST_BYTES).decode("utf-8")
    except OSError as exc:
        if exc.errno == errno.EFBIG:
            raise CardError("card_invalid", f"{path} is {exc.strerror}", mend="is it a card?") from exc
        raise CardError("card_missing", f"cannot read {path}: {exc.strerror}", mend="give the path of a card") from exc
    except UnicodeDecodeError as exc:
        raise CardError("card_invalid", f"{path} is not UTF-8", mend="save it as UTF-8") from exc


def parse_card(text: str, name: str, today: dt.date) -> Card:
    """A card from its text, its signatures left aside; `name` is used in errors. Raises CardError: card_invalid,
    card_expired."""
    try:
        card = read_record(Card, split_signatures(text)[0])
    except Misfit as exc:
        place = f"{name}:{exc.line}" if exc.line else name
        told = ": ".join(filter(None, (place, exc.field, exc.message)))
        raise CardError("card_invalid", told, mend=exc.mend) from exc
    if card.why.valid_until < today:
        raise CardError(
            "card_expired",
            f"{name}: valid until {card.why.valid_until}",
            mend="ask whoever approved it; then set why.valid_until",
        )
    return card


def hash_card(text: str) -> str:
    """SHA-256 of a card without its signatures."""
    return hashlib.sha256(split_signatures(text)[0].encode()).hexdigest()
