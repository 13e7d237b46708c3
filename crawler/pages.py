"""Reading a page, as a pure function: in come bytes, address and card, out come listings and links."""

import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from lxml.etree import XPath
from parsel import Selector, SelectorList
from w3lib.encoding import html_to_unicode
from w3lib.html import get_base_url
from w3lib.url import canonicalize_url, safe_url_string

from crawler.acts import LeftAlone
from crawler.addresses import split_number
from crawler.cards import Card, Read, is_xpath
from crawler.listing import (
    LONGEST_COUNT,
    LONGEST_DATE,
    LONGEST_PRICE,
    LONGEST_TEXT,
    LONGEST_TITLE,
    MOST_ARCHIVES,
    make_listing,
)
from crawler.nesting import DEEPEST, count_readable, is_tangled, measure_nesting
from crawler.said import MOST_PASSWORDS
from crawler.visits import leave_visit, names_campaign
from vault.log import clean_text
from vault.records import Listing

if TYPE_CHECKING:
    from crawler.propose.facts import Facts

LONGEST_URL, LONGEST_PASSWORD = 2000, 200
LONGEST_HREF = 4 * LONGEST_URL  # a longer one is no address that is kept, whatever spaces it loses
SIZE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)[wx],?")  # of a candidate in a srcset
LONGEST_SRCSET = 20_000
AUTO = "auto"  # for a selector: whatever the page says of itself for machines
PARAGRAPHS = frozenset(("p", "ul", "ol", "dl", "pre", "blockquote"))
MOST_LINKS = 5000
MOST_PLACES = 2000  # elements in which a description is looked for
MOST_TAGS = 150_000  # 32 MB of tags were 1.8 GB as a tree, and more than a minute
FEW_TAGS = 2000  # a page of so few is never nested too deep
MOST_LISTINGS = 1000
SCHEMES = ("http", "https")
# links that no reader can see are there to catch crawlers
HIDDEN = """@hidden or contains(translate(@style, ' ', ''), 'display:none')
    or contains(translate(@style, ' ', ''), 'visibility:hidden')"""
HIDDEN_LINKS = XPath(f"//*[@hidden or @style][{HIDDEN}]/descendant-or-self::a/@href", smart_strings=False)
TEXTS = XPath(".//text()", smart_strings=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsedPage:
    """What a page says: its listings, and links to other pages of the source. `cut`: it has more than we read;
    `left_alone`: links that are not followed, since they act."""

    listings: tuple[Listing, ...]
    links: tuple[str, ...]
    cut: bool = False
    left_alone: tuple[LeftAlone, ...] = ()


def open_page(body: bytes, url: str, content_type: str) -> tuple[Selector, str]:
    """A page as a tree, and what its relative addresses are relative to. Never raises for what a page contains."""
    text = decode_body(body, content_type)
    return Selector(text=text.replace("\0", "") or "<html></html>", type="html"), find_base(text, url)


def is_too_complex(body: bytes) -> bool:
    """Would its tree take more memory and time than a page may?"""
    return body.count(b"<") > MOST_TAGS


class Tree(NamedTuple):
    """A page that can be looked through; what its relative addresses are relative to; and is a part of it missing?"""

    root: Selector
    base: str
    cut: bool = False


def open_tree(body: bytes, url: str, content_type: str) -> Tree | None:
    """None for a page that has too many tags, or whose elements lie too deep in each other."""
    if is_too_complex(body):
        return None
    root, base = open_page(body, url, content_type)
    if body.count(b"<") <= FEW_TAGS:
        return Tree(root, base)
    elements, pairs, deepest = measure_nesting(root.root)
    return None if is_tangled(elements, pairs) else Tree(root, base, cut=deepest >= DEEPEST)


def parse_page(body: bytes, url: str, content_type: str, card: Card, *, seen: dt.date | None = None) -> ParsedPage:
    """Listings and links by the card's selectors. `seen`: the day of the page, from which "3 days ago" is counted.
    Never raises for what a page contains."""
    tree = open_tree(body, url, content_type)
    if tree is None:
        return ParsedPage(listings=(), links=(), cut=True)
    return read_page(tree, url, card, seen=seen)


def read_page(tree: Tree, url: str, card: Card, *, seen: dt.date | None = None) -> ParsedPage:
    """The same for a page that is a tree already."""
    return read_places(tree, url, card, seen)[0]


def read_places(tree: Tree, url: str, card: Card, seen: dt.date | None) -> tuple[ParsedPage, tuple[Selector, ...]]:
    """The same with the element that shows each listing."""
    root, base, cut = tree
    hidden = set(join_urls(HIDDEN_LINKS(root.root), base))
    links = dict.fromkeys(
        link
        for selector in card.read.follow
        for link in list_urls(select(root, selector), base, MOST_LINKS)
        if link not in hidden
    )
    listings: dict[str, Listing] = {}
    places: list[Selector] = []
    told = find_told(root, base, url) if card.read.listing == AUTO else None
    elements = select(root, card.read.listing) if card.read.listing != AUTO else [root] if told else []
    shown = elements[:MOST_LISTINGS]
    readable = count_readable(root.root, [each.root for each in shown])
    for element in shown[:readable]:
        listing = parse_listing(element, url, base, card.read, card.budget.images_per_listing, seen, told)
        if not listing.title:
            continue
        address, number = split_number(listing.url, card.read.page_parameter)
        if address in listings:  # several of one address: each is its own, on whatever page it stands
            address, number = f"{listing.url}#{len(listings)}", 1
        listings[address] = replace(listing, url=address, later=number > 1)
        places.append(element)
    parsed = ParsedPage(listings=tuple(listings.values()), links=tuple(links), cut=cut or len(elements) > readable)
    return parsed, tuple(places)


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


def find_told(root: Selector, base: str, url: str) -> "Facts | None":
    """What a page says of the one listing on it for machines: JSON-LD, microdata, OpenGraph. None where it says
    nothing, or speaks of several."""
    from crawler.propose.facts import find_facts  # which reads pages itself
    from crawler.propose.tree import list_elements

    facts = find_facts(list_elements(root, base, url))
    return facts if facts.count == 1 and facts.kind else None


def parse_listing(
    element: Selector,
    url: str,
    base: str,
    read: Read,
    most_images: int,
    seen: dt.date | None = None,
    told: "Facts | None" = None,
) -> Listing:
    """One listing. `told`: what its page says of it for machines, which counts where the card's selectors find
    nothing."""

    def find(selector: str, limit: int, name: str) -> str:
        return find_text(element, selector, limit) or (getattr(told, name) if told else "")

    own = list_urls(select(element, read.link), base, 1) if read.link else []
    images = list_images(element, read.image, base, most_images) if read.image else []
    images = images or (join_urls(told.images, base, most_images) if told else [])
    return make_listing(
        url=own[0] if own else leave_visit(url),
        title=find(read.title, LONGEST_TITLE, "title"),
        seller=find(read.seller, LONGEST_TITLE, "seller"),
        description=find_paragraphs(element, read.description, LONGEST_TEXT) or (told.description if told else ""),
        price_text=find(read.price, LONGEST_PRICE, "price_text"),
        count_text=find_text(element, read.count, LONGEST_COUNT),
        date_text=find_text(element, read.date, LONGEST_DATE),
        images=images,
        archives=list_urls(select(element, read.archive), base, MOST_ARCHIVES) if read.archive else (),
        passwords=list_passwords(element, read) if read.archive else None,
        whole=join_text(element) if read.archive or not read.sold else "",
        sold=bool(select(element, read.sold)) if read.sold else None,
        seen=seen,
    )


def list_passwords(element: Selector, read: Read) -> tuple[str, ...]:
    """The card's own, and what its selector finds."""
    places = select(element, read.password)[:MOST_PASSWORDS] if read.password else ()
    found = [clean_text(read_text(place), LONGEST_PASSWORD) for place in places]
    return (*read.passwords, *filter(None, found))


def select(element: Selector, selector: str) -> "SelectorList[Selector]":
    return element.xpath(selector) if is_xpath(selector) else element.css(selector)


def join_text(element: Selector) -> str:
    return " ".join(" ".join(TEXTS(element.root)).split())


def find_text(element: Selector, selector: str, limit: int) -> str:
    """The text of the first element a selector finds: spaces collapsed, control characters gone, cut and marked."""
    found = select(element, selector) if selector else ()
    return clean_text(read_text(found[0]), limit) if found else ""


def read_text(found: Selector) -> str:
    return join_text(found) if hasattr(found.root, "tag") else " ".join(found.get().split())


def find_paragraphs(element: Selector, selector: str, limit: int) -> str:
    """As `find_text`, of the first element with text; paragraphs found too that follow it at once belong to it."""
    texts: list[str] = []
    last, length = None, 0
    for each in select(element, selector)[:MOST_PLACES] if selector else ():
        if length > limit:
            break
        text = read_text(each)
        follows = last is not None and [above.root for above in each.xpath("preceding-sibling::*[1]")] == [last]
        if texts and not (follows and each.root.tag in PARAGRAPHS):
            break
        if text or texts:
            texts.append(text)
            length += len(text) + 1
            last = each.root if getattr(each.root, "tag", None) in PARAGRAPHS else None
    return clean_text(" ".join(filter(None, texts)), limit)


def list_images(element: Selector, selector: str, base: str, most: int) -> list[str]:
    """The addresses that a selector finds; of a srcset (HTML standard, section 2.5.5.10) the largest candidate."""
    values = select(element, selector).getall()
    return join_urls(map(pick_largest, values) if "srcset" in selector else values, base, most)


def pick_largest(srcset: str) -> str:
    """The address with the largest width or density; a value that is no srcset as it is."""
    found: list[tuple[float, str]] = []
    words = iter(srcset[:LONGEST_SRCSET].split())
    for word in words:
        size, ended = 1.0, word.endswith(",")
        while not ended and (told := next(words, ",")):
            size, ended = read_size(told) or size, told.endswith(",")
        found.append((size, word.strip(",")))
    if not any("," in word or SIZE.fullmatch(word) for word in srcset.split()):
        return srcset
    return max(found, key=lambda each: each[0])[1]


def read_size(told: str) -> float:
    """Of 800w or 2x; 0 for anything else."""
    match = SIZE.fullmatch(told)
    return float(match[1]) if match else 0.0


def list_urls(found: "SelectorList[Selector]", base: str, most: int) -> list[str]:
    return join_urls(found.getall(), base, most)


def join_urls(values: Iterable[str], base: str, most: int = MOST_LINKS) -> list[str]:
    """Absolute http(s) addresses, in order, each once, at most so many, without what names our visit."""
    urls: dict[str, None] = {}
    known: set[str] = set()
    for value in values:
        if value in known or len(value) > LONGEST_HREF:
            continue
        known.add(value)
        if len(urls) == most:
            break
        try:
            url = safe_url_string(urljoin(base, value.strip()))
            if urlsplit(url).scheme in SCHEMES and len(url) <= LONGEST_URL:
                urls[leave_visit(url.split("#", 1)[0])] = None
        except ValueError:
            continue
    return list(urls)


def canonical_url(url: str) -> str:
    """One spelling for addresses that mean the same: sorted query, no fragment (w3lib), nothing that names a visit."""
    parts = urlsplit(leave_visit(url))
    query = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if not names_campaign(pair[0])]
    return str(canonicalize_url(parts._replace(query=urlencode(query)).geturl()))
