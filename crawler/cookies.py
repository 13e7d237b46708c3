"""A login session as cookies: in come the file that a person exported and the addresses of a crawl, out go the cookies
of the card's hosts and, for each request, the header that belongs to it.

Values are secrets: no error, log or row shows them. Matching is that of `http.cookiejar`, with host-only cookies kept
to their host (RFC 6265, section 5.3), and narrowed to the hosts and ports that the card names.
"""

import dataclasses
import email.message
import http.cookiejar
import json
import math
import re
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from crawler.cards import Where
from vault.egress import HostRule, is_literal, parse_authority, parse_rule, parse_target
from vault.errors import CardError, EgressRefused

MOST_BYTES = 4 << 20
NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}")  # a token (RFC 9110, section 5.6.2)
VALUE = re.compile(r"[\x20-\x3a\x3c-\x7e]{0,8192}")  # as liberal as browsers are, but it ends where a header would
PATH = re.compile(r"/[\x20-\x3a\x3c-\x7e]{0,1024}")
HTTP_ONLY = "#HttpOnly_"
EXPORT_AGAIN = "export them again: Netscape's cookies.txt, or the JSON of a browser extension"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cookie:
    """One cookie. `expires`: seconds since the epoch, None for one that ends with the browser's session."""

    name: str
    value: str = dataclasses.field(repr=False)
    domain: str  # lower case, without a dot in front
    host_only: bool
    path: str
    secure: bool
    http_only: bool
    expires: float | None

    def __post_init__(self) -> None:
        for name, shape in (("name", NAME), ("value", VALUE), ("path", PATH)):
            if not shape.fullmatch(getattr(self, name)):
                raise ValueError(f"its {name} is none that a browser would send")


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """What is kept of an export, and how many were dropped: of hosts that the card does not name, and over already."""

    cookies: tuple[Cookie, ...]
    foreign: int
    expired: int

    @property
    def expires(self) -> float | None:
        """When the last of them ends, None if one has no end."""
        ends = [cookie.expires for cookie in self.cookies]
        return None if None in ends else max(cast(list[float], ends), default=0.0)


def parse_cookies(data: bytes) -> tuple[Cookie, ...]:
    """The cookies of an export. Raises CardError: session_invalid, with the line or number but never what is there."""
    if len(data) > MOST_BYTES:
        raise CardError("session_invalid", f"over {MOST_BYTES >> 20} MiB of cookies", mend=EXPORT_AGAIN)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise CardError("session_invalid", "the file is not UTF-8", mend=EXPORT_AGAIN) from exc
    if text.lstrip().startswith(("[", "{")):
        return parse_json(text)
    return parse_netscape(text)


def parse_netscape(text: str) -> tuple[Cookie, ...]:
    """Seven fields a line, between tabs: domain, with subdomains?, path, secure?, end, name, value."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        http_only = line.startswith(HTTP_ONLY)
        line = line.removeprefix(HTTP_ONLY)
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split("\t")
        try:
            if len(fields) == 6:  # some programs leave out the tab before an empty value
                fields.append("")
            domain, wide, path, secure, end, name, value = fields
            if wide not in ("TRUE", "FALSE") or secure not in ("TRUE", "FALSE"):
                raise ValueError("neither TRUE nor FALSE")
            found.append(make_cookie(name, value, domain, wide == "FALSE", path, secure == "TRUE", http_only, end))
        except (ValueError, OverflowError, EgressRefused) as exc:
            raise CardError(
                "session_invalid", f"line {number} is no cookie: {explain(exc)}", mend=EXPORT_AGAIN
            ) from None  # the cause may quote a value
    return tuple(found)


def parse_json(text: str) -> tuple[Cookie, ...]:
    """A list of objects, or an object with such a list as `cookies`: what extensions and Playwright write. Fields that
    do not decide where a cookie goes are passed over."""
    try:
        table = json.loads(text)
        entries = table["cookies"] if isinstance(table, dict) else table
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ValueError("no list of cookies")
    except (ValueError, KeyError, RecursionError):
        raise CardError("session_invalid", "no list of cookies in this JSON", mend=EXPORT_AGAIN) from None
    found = []
    for number, entry in enumerate(entries, 1):
        try:
            domain = read_field(entry, "domain", str)
            end = entry.get("expirationDate", entry.get("expires"))
            found.append(
                make_cookie(
                    read_field(entry, "name", str), read_field(entry, "value", str), domain,
                    read_field(entry, "hostOnly", bool, not domain.startswith(".")),
                    read_field(entry, "path", str, "/"), read_field(entry, "secure", bool, False),
                    read_field(entry, "httpOnly", bool, False), end,
                )
            )  # fmt: skip
        except (ValueError, OverflowError, EgressRefused) as exc:
            raise CardError("session_invalid", f"cookie {number} is none: {explain(exc)}", mend=EXPORT_AGAIN) from None
    return tuple(found)


def explain(problem: Exception) -> str:
    return "its domain is no host" if isinstance(problem, EgressRefused) else str(problem).split(":")[0]


def read_field(entry: dict[str, Any], name: str, kind: type, default: Any = None) -> Any:
    value = entry.get(name, default)
    if not isinstance(value, kind):
        raise ValueError(f"{name} is missing or of the wrong kind")
    return value


def make_cookie(
    name: str, value: str, domain: str, host_only: bool, path: str, secure: bool, http_only: bool, end: Any
) -> Cookie:
    """Raises ValueError, EgressRefused. An end of 0, below it, or none at all is that of the browser's session."""
    host = parse_authority(domain.removeprefix("."), 80).host
    if isinstance(end, str) and not re.fullmatch(r"-?[0-9]{0,19}(?:\.[0-9]*)?", end):
        raise ValueError("its end is no time")
    seconds = float(end or 0) if isinstance(end, int | float | str) else 0.0
    if not math.isfinite(seconds):
        raise ValueError("its end is no time")
    return Cookie(
        name=name, value=value, domain=host, host_only=host_only or is_literal(host), path=path, secure=secure,
        http_only=http_only, expires=seconds if seconds > 0 else None,
    )  # fmt: skip


def list_rules(where: Where) -> tuple[HostRule, ...]:
    return tuple(map(parse_rule, (*where.hosts, *where.image_hosts)))


def choose_cookies(cookies: Iterable[Cookie], rules: tuple[HostRule, ...], now: float) -> Chosen:
    """Those that some host of the card would be sent, and that are not over."""
    kept: list[Cookie] = []
    foreign = expired = 0
    for cookie in cookies:
        if not any(concerns(cookie, rule) for rule in rules):
            foreign += 1
        elif cookie.expires is not None and cookie.expires <= now:
            expired += 1
        else:
            kept.append(cookie)
    return Chosen(cookies=tuple(kept), foreign=foreign, expired=expired)


def concerns(cookie: Cookie, rule: HostRule) -> bool:
    """Would a host of this rule be sent the cookie? A domain without a dot is a whole top-level domain: never."""
    if cookie.host_only:
        return rule.covers(cookie.domain)
    inside = rule.wild and (cookie.domain == rule.name or cookie.domain.endswith("." + rule.name))
    return "." in cookie.domain and (inside or f".{rule.name}".endswith("." + cookie.domain))


def write_cookies(cookies: Iterable[Cookie]) -> bytes:
    """What is sealed; `read_cookies` reads it."""
    return json.dumps([dataclasses.asdict(cookie) for cookie in cookies]).encode()


def read_cookies(data: bytes) -> tuple[Cookie, ...]:
    return tuple(Cookie(**entry) for entry in json.loads(data))


class Jar:
    """The cookies of one crawl, in memory: what was imported, brought up to date by what the site sets."""

    def __init__(self, cookies: Iterable[Cookie], rules: tuple[HostRule, ...]) -> None:
        self.imported = tuple(cookies)
        self._rules = rules
        policy = http.cookiejar.DefaultCookiePolicy(
            strict_ns_domain=http.cookiejar.DefaultCookiePolicy.DomainStrictNonDomain  # else host-only ones go wider
        )
        self._jar = http.cookiejar.CookieJar(policy)
        for cookie in self.imported:
            self._jar.set_cookie(wrap_cookie(cookie))

    def header(self, url: str) -> str:
        """The value of the Cookie header for this address; empty for every address that the card does not name."""
        if not self._covers(url):
            return ""
        request = urllib.request.Request(url)  # noqa: S310  asked for its parts only; nothing is opened
        self._jar.add_cookie_header(request)
        return request.get_header("Cookie") or ""

    def take(self, url: str, headers: Iterable[str]) -> None:
        """Values of the Set-Cookie headers that this address answered with."""
        if not self._covers(url):
            return
        told = Told()
        for value in headers:
            told.message["Set-Cookie"] = re.sub(r"[\x00-\x1f\x7f-\U0010ffff]", "", value)[:16_384]
        self._jar.extract_cookies(cast(Any, told), urllib.request.Request(url))  # noqa: S310

    def for_browser(self) -> list[dict[str, Any]]:
        """The imported cookies as Playwright's `storage_state` has them."""
        return [
            {"name": each.name, "value": each.value, "domain": each.domain if each.host_only else f".{each.domain}",
             "path": each.path, "expires": -1 if each.expires is None else each.expires, "httpOnly": each.http_only,
             "secure": each.secure, "sameSite": "Lax"}
            for each in self.imported
        ]  # fmt: skip

    def _covers(self, url: str) -> bool:
        try:
            target, _ = parse_target(url)
        except EgressRefused:
            return False
        return any(rule.covers(target.host) and target.port in rule.ports for rule in self._rules)


class Told:
    """The part of a response that `http.cookiejar` looks at."""

    def __init__(self) -> None:
        self.message = email.message.Message()

    def info(self) -> email.message.Message:
        return self.message


def wrap_cookie(cookie: Cookie) -> http.cookiejar.Cookie:
    return http.cookiejar.Cookie(
        version=0, name=cookie.name, value=cookie.value, port=None, port_specified=False,
        domain=cookie.domain if cookie.host_only else f".{cookie.domain}", domain_specified=not cookie.host_only,
        domain_initial_dot=not cookie.host_only, path=cookie.path, path_specified=True, secure=cookie.secure,
        expires=None if cookie.expires is None else int(cookie.expires), discard=cookie.expires is None, comment=None,
        comment_url=None, rest={},
    )  # fmt: skip
