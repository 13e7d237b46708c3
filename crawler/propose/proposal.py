"""A card for a place nobody has described: in come a few of its pages, out come a proposed card and what it reads.

Two steps, so that this stays pure: `survey_page` says which links of the start page are worth a look, the caller
fetches them, `propose_card` makes the card of all pages (and may want more: boards list threads, not posts).
"""

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from crawler.cards import Budget, Card, CardKind, Read, Rendering, Where, Why
from crawler.kinds import parse_answer
from crawler.propose.aim import Case, aim
from crawler.propose.fields import Shown
from crawler.propose.links import list_acts
from crawler.propose.paging import Paging, find_paging, name_parameter
from crawler.propose.reading import read_details, read_tiles
from crawler.propose.site import Page, Site, guess_kind, is_empty, is_opendir, look_at, sort_pages
from crawler.propose.tree import SavedPage, Tree
from vault.egress import is_literal, parse_target
from vault.errors import EgressRefused
from vault.records import Listing

MOST_PAGES = 8
ANY_NEXT = 'a[rel="next"]'  # asked for where no page looked at has a next one, as short lists have none
MOST_SHARE = 0.5  # of the links of a listing's page: a selector that finds more of them takes whatever is a link
FEW_LINKS = 10  # that may be found on any page
MOST_EXAMPLES = 5
MOST_HOSTS = 6
FIELDS = ("title", "seller", "price", "description", "images", "archives")
EXPECTED = {"shop": ("seller", "price", "description", "images"), "forum": ("seller", "description", "images"),
            "gallery": ("images",), "opendir": ("images",), "spa": ("price", "images")}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """What the start page is, and which of its links to fetch before a card is proposed."""

    kind: str  # list, listing, opendir, empty
    wants: tuple[str, ...]
    next_page: str
    items: int
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """A card that a person has to finish, and what it reads from the pages at hand."""

    card: Card  # with placeholders for what a person decides
    paging: str  # how further pages are found, in words; nothing if they are not
    hosts: tuple[str, ...]  # other hosts that pictures and archives come from
    wants: tuple[str, ...]  # addresses that would make the proposal better, if fetched and given too
    examples: tuple[Listing, ...]
    listings: int  # read from all pages
    shares: dict[str, float]  # field -> share of the listings read that have it
    weak: tuple[str, ...]  # fields that this kind of place should have and most listings read have not
    notes: tuple[str, ...]


def survey_page(page: SavedPage) -> Survey:
    """A look at the start page alone. Never raises for what the page contains."""
    proposal = propose_card([page])
    look = look_at(page)
    if proposal.card.kind == known_kind("opendir") and is_opendir(look.tree):
        kind = "opendir"
    elif is_empty(look.tree):
        kind = "empty"
    else:
        kind = "list" if proposal.wants else "listing"
    return Survey(
        kind=kind,
        wants=proposal.wants,
        next_page=find_paging(look.tree).url,
        items=len(look.groups[0].members) if look.groups else 0,
        notes=proposal.notes,
    )


def propose_card(pages: Sequence[SavedPage]) -> Proposal:
    """A card for the place whose start page is `pages[0]`; the others are what an earlier proposal wanted.

    Never raises for what the pages contain. Raises ValueError without a page or for a start address that is no http(s)
    address.
    """
    if not pages:
        raise ValueError("a proposal needs the start page")
    start = pages[0]
    try:
        parse_target(start.url)
    except EgressRefused as exc:
        raise ValueError(f"not an address that can be crawled: {exc.message}") from exc
    looked = [look_at(page) for page in pages[:MOST_PAGES]]
    notes = note_pages(looked)
    if is_opendir(looked[0].tree):
        return finish(start, looked, "opendir", Read(), Paging(how="folders"), [], notes)
    site = sort_pages(looked)
    kind = guess_kind(looked, site)
    if is_empty(looked[0].tree):
        notes.append("the page is empty without JavaScript: render it and propose again from the rendered page")
        return finish(start, looked, "spa", Read(listing="body", title="h1"), Paging(), [], notes)
    read, paging = make_read(site, kind, notes)
    if read is None:
        notes.append("no repeated structure was found: write the selectors by hand")
        read = Read(listing="body", title="h1")
    if kind == "shop" and not read.price and read.image and not any(page.facts.kind for page in looked):
        kind = "gallery"
    return finish(start, looked, kind, read, paging, site.wants, notes)


# -- the card ---------------------------------------------------------------------------------------------------------


def make_read(site: Site, kind: str, notes: list[str]) -> tuple[Read | None, Paging]:
    lists = [page.tree for level in site.lists for page in level]
    paging = next((p for tree in reversed(lists) if (p := find_paging(tree)).selector), Paging())
    follow = follow_lists(site)
    if "" in follow:
        notes.append("no selector finds the links of a list and little else: write `follow` by hand")
    if site.details:
        pages = [Shown(tree=p.tree, facts=p.facts, anchor=p.anchor, posts=p.posts) for p in site.details]
        if kind == "forum":
            spread_posts(pages)
        read = read_details(pages, lists, site.details[0].shape, kind == "forum")
        found = [(find_paging(page.tree, strict=True), page.tree.url) for page in pages]
        own = next((paging for paging, _url in found if paging.selector), Paging())
        parameter = next((name for paging, url in found if (name := name_parameter(paging.url, url))), "")
        if read is not None:
            selectors = [*follow, paging.selector or (ANY_NEXT if site.lists else ""), own.selector]
            chosen = keep_narrow(selectors, site, notes)
            read = replace(read, follow=list_follow(chosen), page_parameter=parameter)
            return read, paging if paging.selector else own
        notes.append("the pages of single listings could not be read; the list itself is")
    if site.lists and site.lists[-1][0].groups:
        page = site.lists[-1][0]
        read = read_tiles(page.tree, page.groups[0])
        if read is not None:
            chosen = keep_narrow([*follow[:-1], paging.selector], site, notes)
            return replace(read, follow=list_follow(chosen)), paging
    return None, paging


def keep_narrow(selectors: Sequence[str], site: Site, notes: list[str]) -> list[str]:
    """Those that find no link which acts on any page at hand, and on the page of a listing not most of its links."""
    pages = [spare_page(page.tree) for page in site.details]
    pages += [replace(spare_page(page.tree), most=len(page.tree.nodes)) for level in site.lists for page in level]
    kept = [selector for selector in selectors if selector and all(is_narrow(selector, page) for page in pages)]
    if len(kept) < sum(map(bool, selectors)):
        notes.append("some links to further pages could not be told from links that do something: see `follow`")
    return kept


def is_narrow(selector: str, page: Case) -> bool:
    found = {element.root for element in page.tree.root.css(selector)}
    return len(found) <= page.most and not any(page.tree.nodes[i] in found for i in page.banned)


def list_follow(selectors: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f"{part}::attr(href)" for each in selectors if each for part in split_selector(each)))


def split_selector(selector: str) -> list[str]:
    return selector.split(", ")


def follow_lists(site: Site) -> list[str]:
    """For each level of lists the selector of the links to its items."""
    shown = [spare_page(page.tree) for page in site.details]
    found = []
    for level in site.lists:
        cases = [make_case(page) for page in level if page.groups]
        found.append(aim(cases, spare=shown) or next((aim([case], spare=shown) for case in cases), ""))
    return found


def spare_page(tree: Tree) -> Case:
    """A page of one listing: what finds most of its links would follow whatever is a link, on every page."""
    links = sum(not tree.aside[i] for i in tree.by_tag["a"])
    return Case(tree, 0, frozenset(), banned=list_acts(tree), most=max(FEW_LINKS, int(MOST_SHARE * links)))


def make_case(page: Page) -> Case:
    """The links of a page's list to its items; other links to the same addresses do no harm."""
    links = frozenset(page.groups[0].column.links.values())
    urls = {page.tree.link(i) for i in links}
    again = frozenset(i for i in page.tree.by_tag["a"][:4000] if page.tree.link(i) in urls)
    return Case(page.tree, 0, links, again, banned=list_acts(page.tree))


def spread_posts(pages: list[Shown]) -> None:
    """Pages on which no posts were recognised borrow the selector from those on which they were."""
    known = [Case(page.tree, 0, frozenset(page.posts)) for page in pages if page.posts]
    selector = aim(known) if known else ""
    for page in pages:
        if selector and not page.posts:
            places = {node: i for i, node in enumerate(page.tree.nodes)}
            page.posts = tuple(places[each.root] for each in page.tree.root.css(selector)[:60] if each.root in places)


def known_kind(kind: str) -> CardKind:
    """The card's word for a kind; `gallery` for one that cards do not know."""
    return CardKind(kind) if kind in list(CardKind) else CardKind.GALLERY


def finish(
    start: SavedPage, looked: list[Page], kind: str, read: Read, paging: Paging, wants: list[str], notes: list[str]
) -> Proposal:
    """Read the pages through the proposed selectors and see what is missing."""
    card = Card(
        name=name_source(start.url),
        kind=known_kind(kind),
        rendering=Rendering.BROWSER if kind == "spa" else Rendering.HTML,
        why=Why(
            purpose="placeholder until a person decides",
            legal_basis="placeholder until a person decides",
            valid_until=dt.date.max,
        ),
        where=Where(hosts=(host_entry(start.url),), start=(start.url.split("#", 1)[0],)),
        read=read,
        budget=Budget(),
    )
    listings = [listing for page in looked for listing in read_examples(page, card)]
    picked = listings[:: max(1, len(listings) // MOST_EXAMPLES)][:MOST_EXAMPLES]
    shares = {name: sum(has_field(each, name) for each in listings) / max(1, len(listings)) for name in FIELDS}
    weak = tuple(name for name in ("title", *EXPECTED.get(kind, ())) if shares[name] < 0.6)
    if not paging.how:
        notes.append("no link to a next page was found: only the start page's own links are followed")
    return Proposal(
        card=card,
        paging=paging.how,
        hosts=tuple(list_hosts(listings, start.url)),
        wants=tuple(wants),
        examples=tuple(picked),
        listings=len(listings),
        shares=shares,
        weak=weak,
        notes=tuple(dict.fromkeys(notes)),
    )


def has_field(listing: Listing, name: str) -> bool:
    return bool(listing.price_text if name == "price" else getattr(listing, name))


def read_examples(page: Page, card: Card) -> tuple[Listing, ...]:
    """What the real reader makes of a page; nothing of one on which the card would find hundreds."""
    if page.tree.cut or (card.read.listing and len(page.tree.root.css(card.read.listing)) > 300):
        return ()
    try:
        return parse_answer(page.saved.body, page.saved.url, page.saved.content_type, card).parsed.listings
    except ValueError:  # of w3lib, for a base address that is none
        return ()


def name_source(url: str) -> str:
    parts = urlsplit(url)
    name = re.sub(r"[^a-z0-9]+", "-", (parts.hostname or "").lower().removeprefix("www.")).strip("-")[:50]
    return name or "source"


def host_entry(url: str) -> str:
    target, _ = parse_target(url)
    return target.name if target.port in (80, 443) else target.pair


def list_hosts(listings: Sequence[Listing], start: str) -> list[str]:
    """Hosts beside the start page's that pictures and archives come from; never bare addresses."""
    own, found = host_entry(start), dict[str, int]()
    for listing in listings:
        for url in (*listing.images, *listing.archives):
            try:
                entry, target = host_entry(url), parse_target(url)[0]
            except EgressRefused:
                continue
            if entry != own and not is_literal(target.host) and "." in target.host:
                found[entry] = found.get(entry, 0) + 1
    return sorted(found, key=lambda host: -found[host])[:MOST_HOSTS]


def note_pages(looked: list[Page]) -> list[str]:
    notes = []
    for page in looked:
        if page.tree.cut:
            notes.append("a page is very long: only its beginning was looked at")
        if any(page.tree.get(i, "type") == "password" for i in page.tree.by_tag["input"][:50]):
            notes.append("there is a login form: what only members see needs a session that a person imports")
        if page.facts.sources:
            notes.append(f"the pages describe themselves: {', '.join(page.facts.sources)}")
    return notes
