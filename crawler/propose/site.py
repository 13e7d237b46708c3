"""What the pages of a place are to each other: in come pages, out come levels of lists and pages of one listing."""

import re
from dataclasses import dataclass, field
from itertools import zip_longest

from crawler.pages import canonical_url
from crawler.propose.facts import Facts, find_facts
from crawler.propose.fields import Shown, find_price_element, find_title
from crawler.propose.groups import Group, alt_text, find_groups, find_posts
from crawler.propose.links import Shape
from crawler.propose.tree import SavedPage, Tree, read_tree
from crawler.propose.words import OPINION

LOOKED_AT = 2  # pages of each level
INDEX_SCORE = 1.0
MOST_GROUPS = 12
ALONE = re.compile(r"(\d{1,6})(?: [^\W\d]+)?")  # "21", "21 replies"


@dataclass(kw_only=True, slots=True)
class Page:
    """One page with all that was found on it."""

    saved: SavedPage
    tree: Tree
    facts: Facts
    groups: list[Group]
    posts: tuple[int, ...]
    anchor: str = ""
    shape: Shape | None = None  # of the links of the list that led here
    role: str = ""


@dataclass(kw_only=True, slots=True)
class Site:
    """The pages by what they do: levels of lists, from the start page down, and pages of one listing."""

    lists: list[list[Page]] = field(default_factory=list)
    details: list[Page] = field(default_factory=list)
    wants: list[str] = field(default_factory=list)


def look_at(page: SavedPage) -> Page:
    tree = read_tree(page)
    groups = find_groups(tree)[:MOST_GROUPS]
    return Page(saved=page, tree=tree, facts=find_facts(tree), groups=groups, posts=find_posts(tree))


def sort_pages(looked: list[Page]) -> Site:
    """Which pages list and which show; what the lists lead to that has not been fetched is wanted."""
    site = Site()
    start = looked[0]
    if is_single(start):
        site.details = [start]
        return site
    rest, level = looked[1:], [start]
    while level:
        site.lists.append(level)
        found: list[Page] = []
        level = []
        for page in site.lists[-1]:
            linked = list_items(page)
            for other in rest:
                if canonical_url(other.saved.url) in linked:
                    other.anchor = linked[canonical_url(other.saved.url)]
                    other.shape = page.groups[0].column.shape if page.groups else None
                    found.append(other)
        rest = [page for page in rest if page not in found]
        if not found and not site.details:
            if rest and len(site.lists) == 1:  # fetched, but found at another address than the link said
                found, rest = rest, []
            else:
                site.wants = choose_links(site.lists[-1])
                break
        for page in found:
            if is_list(page):
                level.append(page)
            else:
                site.details.append(page)
        if site.details:
            break
    return site


def list_items(page: Page) -> dict[str, str]:
    """Canonical address -> text, of the links of the page's best list."""
    if not page.groups:
        return {}
    tree = page.tree
    links = page.groups[0].column.links.values()
    return {canonical_url(tree.link(i)): tree.text(i, 300) or alt_text(tree, i) for i in links}


def choose_links(level: list[Page]) -> list[str]:
    """Links of the lists that lead to their items: a busy one, which shows most of what there can be, and one from the
    middle; not the first, which is often an announcement."""
    turns: list[list[str]] = []
    for page in level:
        if not page.groups:
            continue
        column = page.groups[0].column.links
        members = list(column)
        busy = max(members, key=lambda member: (count_told(page.tree, member), member))
        picked = dict.fromkeys((busy, members[len(members) // 2], members[-1], members[0]))
        turns.append([page.tree.link(column[member]) for member in picked])
    return list(dict.fromkeys(url for turn in zip_longest(*turns) for url in turn if url))[:LOOKED_AT]


def count_told(tree: Tree, member: int) -> int:
    """The largest number that stands alone in an item, such as that of its answers."""
    texts = [tree.text(i, 12) for i in range(member, min(tree.ends[member], member + 60)) if 1 <= tree.texts[i] <= 12]
    return max((int(found[1]) for text in texts if (found := ALONE.fullmatch(text))), default=0)


def is_single(page: Page) -> bool:
    """Does the start page show one listing, so that nothing is to be followed?"""
    best = page.groups[0].score if page.groups else 0.0
    if page.facts.count == 1 and page.facts.kind in ("shop", "forum") and best < 2.5:
        return True
    return bool(page.posts) and best < INDEX_SCORE


def is_list(page: Page) -> bool:
    """Does a page that a list led to list things itself, such as a board's threads?"""
    if page.facts.count == 1 and page.facts.kind in ("shop", "forum"):
        return False
    group = next((group for group in page.groups if leads_on(page, group)), None)
    if group is None or group.score < INDEX_SCORE:
        return False
    whole = max(1, page.tree.texts[0])
    share = sum(page.tree.texts[i] for i in group.members) / whole
    posted = sum(page.tree.texts[i] for i in page.posts) / whole
    if share < 0.25 or posted > share:
        return False
    page.groups = [group, *(each for each in page.groups if each is not group)]
    return True


def leads_on(page: Page, group: Group) -> bool:
    """Its links are of another shape than the one that led here, more than neighbours of this page, and no reviews."""
    shape = group.column.shape
    if shape is None or page.shape is None or OPINION.intersection(shape.segments):
        return False
    urls = [page.tree.link(i) for i in group.column.links.values()]
    alike = sum(page.shape.is_telling and page.shape.fits(url) for url in urls)
    return len(urls) >= 3 and alike < 0.5 * len(urls)


def guess_kind(looked: list[Page], site: Site) -> str:
    told = [page.facts.kind for page in site.details if page.facts.kind]
    if told:
        return max(set(told), key=told.count)
    posted = [page for page in site.details if page.posts]
    if posted and 2 * len(posted) >= len(site.details) and not any(is_for_sale(page) for page in site.details):
        return "forum"
    if not site.details and site.lists and site.lists[0][0].groups:
        group = site.lists[0][0].groups[0]
        return "gallery" if group.pictures > 0.6 and group.prices < 0.3 else "shop"
    return "shop"


def is_for_sale(page: Page) -> bool:
    """Does a price stand by itself outside what people posted, so that the posts are reviews?"""
    shown = Shown(tree=page.tree, facts=page.facts, anchor=page.anchor)
    shown.title = find_title(shown)
    price = find_price_element(shown)
    if price < 0 or page.tree.aside[price] or (shown.title >= 0 and page.tree.contains(shown.title, price)):
        return False
    return not any(page.tree.contains(post, price) for post in page.posts)


def is_opendir(tree: Tree) -> bool:
    """The list of a folder's files that Apache, nginx and others write."""
    titles = [tree.text(i, 80) for i in [*tree.by_tag["title"], *tree.by_tag["h1"]][:4]]
    named = any(re.match(r"(index of|directory listing (for|of)) ", f"{title} ", re.IGNORECASE) for title in titles)
    links = tree.by_tag["a"]
    up = any(tree.get(i, "href") in ("../", "..") or "parent directory" in tree.text(i, 30).lower() for i in links[:20])
    return named and (up or (bool(links) and len(tree.by_tag["img"]) <= len(links) + 2))


def is_empty(tree: Tree) -> bool:
    bodies = tree.by_tag["body"]
    return bool(bodies) and tree.texts[bodies[0]] < 60 and bool(tree.by_tag["script"]) and len(tree.by_tag["a"]) < 3
