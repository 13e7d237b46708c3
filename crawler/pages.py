"""Reading a page, as a pure function: in come bytes, address and card, out come listings and links."""

import re
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from parsel import Selector, SelectorList
from w3lib.encoding import html_to_unicode
from w3lib.html import get_base_url
from w3lib.url import canonicalize_url, safe_url_string

from crawler.cards import Card, Login, Read, is_xpath
from crawler.numbers import find_price, parse_count, parse_price
from vault.log import clean_text
from vault.records import Listing

SOLD = re.compile(
    r"\bsold\b(?! by)|out of stock|已售(?!\d)|售罄|卖完|已卖|продано|распродан|\bvendid[oa]\b|agotad[oa]", re.IGNORECASE
)
SHORT_LISTING = 300  # letters; in a longer text such a word may speak of anything
LONGEST_TITLE, LONGEST_TEXT, LONGEST_URL = 300, 5000, 2000
MOST_LINKS = 5000
MOST_TAGS = 150_000  # 32 MB of tags were 1.8 GB as a tree, and more than a minute
MOST_LISTINGS = 1000
MOST_ARCHIVES = 100
SCHEMES = ("http", "https")
# links that no reader can see are there to catch crawlers
HIDDEN = """@hidden or contains(translate(@style, ' ', ''), 'display:none')
    or contains(translate(@style, ' ', ''), 'visibility:hidden')"""
HIDDEN_LINKS = f"//a[ancestor-or-self::*[{HIDDEN}]]/@href"
LOGOUT = re.compile(r"(?:log|sign)[-_]?(?:out|off)", re.IGNORECASE)  # to follow it would end our session
# parameters that name a visit, not a page
VISIT = {"phpsessid", "jsessionid", "sid", "s", "session", "sessionid", "session_id", "zenid", "oscsid", "osadcid",
         "cfid", "cftoken", "aspsessionid", "fbclid", "gclid", "yclid", "_ga"}  # fmt: skip
VISIT_VALUE = re.compile(r"[0-9a-zA-Z_-]{16,}")
JSESSIONID = re.compile(r";jsessionid=[^/?#]*", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsedPage:
    """What a page says: its listings, and links to other pages of the source. `cut`: it has more than we read."""

    listings: tuple[Listing, ...]
    links: tuple[str, ...]
    cut: bool = False


def open_page(body: bytes, url: str, content_type: str) -> tuple[Selector, str]:
    """A page as a tree, and what its relative addresses are relative to. Never raises for what a page contains."""
    text = decode_body(body, content_type)
    return Selector(text=text.replace("\0", "") or "<html></html>", type="html"), find_base(text, url)


def is_too_complex(body: bytes) -> bool:
    """Would its tree take more memory and time than a page may?"""
    return body.count(b"<") > MOST_TAGS


def parse_page(body: bytes, url: str, content_type: str, card: Card) -> ParsedPage:
    """Listings and links by the card's selectors. Never raises for what a page contains."""
    if is_too_complex(body):
        return ParsedPage(listings=(), links=(), cut=True)
    root, base = open_page(body, url, content_type)
    return read_page(root, base, url, card)


def read_page(root: Selector, base: str, url: str, card: Card) -> ParsedPage:
    """The same for a page that is a tree already."""
    hidden = set(list_urls(root.xpath(HIDDEN_LINKS), base))
    links = dict.fromkeys(
        link
        for selector in card.read.follow
        for link in list_urls(select(root, selector), base)[:MOST_LINKS]
        if link not in hidden and not (card.why.login is Login.SESSION and LOGOUT.search(link))
    )
    listings: dict[str, Listing] = {}
    elements = select(root, card.read.listing)
    for element in elements[:MOST_LISTINGS]:
        listing = parse_listing(element, url, base, card.read, card.budget.images_per_listing)
        if listing.title:
            address = listing.url if listing.url not in listings else f"{listing.url}#{len(listings)}"
            listings[address] = replace(listing, url=address)
    return ParsedPage(listings=tuple(listings.values()), links=tuple(links), cut=len(elements) > MOST_LISTINGS)


def decode_body(body: bytes, content_type: str) -> str:
    """The text of a page by its header, its own declaration, or its bytes; a name that is none counts as none."""
    try:
        return html_to_unicode(content_type or None, body)[1]
    except (LookupError, ValueError):  # charset=hex and the like: codecs of Python that are no encodings
        return body.decode("utf-8", "replace")


def find_base(text: str, url: str) -> str:
    """What relative addresses are relative to; a <base> that is no address counts as none."""
    try:
        return get_base_url(text, url)
    except ValueError:
        return url


def parse_listing(element: Selector, url: str, base: str, read: Read, most_images: int) -> Listing:
    title = find_text(element, read.title, LONGEST_TITLE)
    price_text = find_text(element, read.price, 100) or find_price(title)
    amount, currency = parse_price(price_text) if price_text else (None, None)
    claimed_text = find_text(element, read.count, 200) or title
    count = parse_count(claimed_text)
    invalid = [name for name, wrong in (("price", bool(price_text) and amount is None),) if wrong]
    own = list_urls(select(element, read.link), base) if read.link else []
    return Listing(
        url=own[0] if own else url,
        title=title,
        seller=find_text(element, read.seller, LONGEST_TITLE),
        description=find_text(element, read.description, LONGEST_TEXT),
        price_text=price_text,
        price=amount,
        currency=currency,
        claimed_text=claimed_text,
        claimed_count=count,
        invalid_fields=tuple(invalid),
        images=tuple(list_urls(select(element, read.image), base)[:most_images]) if read.image else (),
        sold=is_sold(element, read, title),
        archives=tuple(list_urls(select(element, read.archive), base)[:MOST_ARCHIVES]) if read.archive else (),
    )


def select(element: Selector, selector: str) -> "SelectorList[Selector]":
    return element.xpath(selector) if is_xpath(selector) else element.css(selector)


def is_sold(element: Selector, read: Read, title: str) -> bool:
    """By the card's selector, else by the listing's own words: its title, or a short text."""
    if read.sold:
        return bool(select(element, read.sold))
    text = " ".join(" ".join(element.xpath(".//text()").getall()).split())
    return bool(SOLD.search(title) or (len(text) < SHORT_LISTING and SOLD.search(text)))


def find_text(element: Selector, selector: str, limit: int) -> str:
    """The text of the first element a selector finds: spaces collapsed, control characters gone, cut and marked."""
    if not selector:
        return ""
    found = select(element, selector)
    if not found:
        return ""
    parts = found[0].xpath(".//text()").getall() if hasattr(found[0].root, "tag") else [found[0].get()]
    return clean_text(" ".join(" ".join(parts).split()), limit)


def list_urls(found: "SelectorList[Selector]", base: str) -> list[str]:
    """Absolute http(s) addresses, in order, each once."""
    urls: dict[str, None] = {}
    for value in found.getall():
        try:
            url = safe_url_string(urljoin(base, value.strip()))
            if urlsplit(url).scheme in SCHEMES and len(url) <= LONGEST_URL:
                urls[url.split("#", 1)[0]] = None
        except ValueError:
            continue
    return list(urls)


def canonical_url(url: str) -> str:
    """One spelling for addresses that mean the same: sorted query, no fragment (w3lib), nothing that names a visit."""
    parts = urlsplit(JSESSIONID.sub("", url))
    query = [
        (name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if not names_visit(name, value)
    ]
    return str(canonicalize_url(parts._replace(query=urlencode(query)).geturl()))


def names_visit(name: str, value: str) -> bool:
    """Is it a session id or a campaign's mark? `s` and `sid` only if what they hold looks like one."""
    low = name.lower()
    return low.startswith("utm_") or (low in VISIT and bool(VISIT_VALUE.fullmatch(value)))
