"""Pagination: in comes a list page, out come the links to its next page, and the selector that finds them."""

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from crawler.addresses import NAME
from crawler.propose.aim import Case, aim, escape, quote
from crawler.propose.links import is_page_of, list_acts, page_number
from crawler.propose.tree import Tree
from crawler.propose.words import (
    BEFORE_WORDS,
    NEXT,
    NEXT_MARKS,
    NEXT_WORDS,
    PAGE_WORDS,
    PAGER,
    RIGHT_WORDS,
    split_words,
)

MOST_LINKS = 4000
ADDED = re.compile(r"(?P<before>/?[a-z]{1,12}[/_-]?)[0-9]{1,7}(?P<after>/?)", re.IGNORECASE)
CHANGED = re.compile(  # /thread-5-1-1.html and /thread-5-2-1.html; /item-5-1.html and /item-5-2.html may be two items
    r"(?P<head>\S*[0-9])(?P<mark>[_.-])1(?P<tail>[_.-][0-9]\S*)\n(?P=head)(?P=mark)[0-9]{1,7}(?P=tail)"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Paging:
    """`selector` is empty where the page has no other pages; `url` is one of them."""

    selector: str = ""
    url: str = ""
    how: str = ""


def find_paging(tree: Tree, strict: bool = False) -> Paging:
    """`strict`: only addresses that differ by a number from the page's, so that "next thread" is none."""
    heads = [i for i in tree.by_tag["link"] if tree.get(i, "rel") == "next" and tree.link(i)]
    acts = list_acts(tree)
    near = [i for i in tree.by_tag["a"][:MOST_LINKS] if i not in acts and (url := tree.link(i)) and url != tree.url]
    rel = [i for i in near if "next" in tree.get(i, "rel").lower().split() and fits(tree, i, strict)]
    if rel:
        exact = [i for i in rel if tree.get(i, "rel") == "next"]
        return Paging(selector='a[rel="next"]' if exact else 'a[rel~="next"]', url=tree.link(rel[0]), how="rel=next")
    named = [i for i in near if looks_next(tree, i) and fits(tree, i, strict)]
    if named:
        selector = aim_next(tree, named)
        if selector:
            return Paging(selector=selector, url=tree.link(named[0]), how="a link that says next")
    if heads and fits(tree, heads[0], strict):
        return Paging(selector='link[rel="next"]', url=tree.link(heads[0]), how="rel=next in the head")
    numbers = [i for i in near if tree.text(i, 12).strip("[]() ").isdigit() and is_page_of(tree.link(i), tree.url)]
    numbers = [i for i in numbers if page_number(tree.link(i), tree.url)]
    if numbers:
        selector = aim_numbers(tree, numbers)
        if selector:
            return Paging(selector=selector, url=tree.link(numbers[0]), how="numbered pages")
    return Paging()


def name_parameter(url: str, current: str) -> str:
    """What numbers the pages of a listing, as `read.page_parameter` has it: `current` is one of them, `url` another;
    nothing where the addresses do not tell."""
    one, other = urlsplit(url), urlsplit(current)
    mine, theirs = dict(parse_qsl(one.query)), dict(parse_qsl(other.query))
    odd = [name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name)]
    if one.path == other.path:
        name = odd[0] if len(odd) == 1 and mine.get(odd[0], "").isdigit() else ""
        new = name not in theirs or (theirs[name] in ("0", "1") and name.lower() in PAGE_WORDS)
        return name if new and NAME.fullmatch(name) else ""
    if odd:
        return ""
    if one.path.startswith(other.path) and (added := ADDED.fullmatch(one.path.removeprefix(other.path))):
        return f"{added['before']}{{n}}{added['after']}"
    changed = CHANGED.fullmatch(f"{other.path}\n{one.path}")
    return f"{changed['mark']}{{n=1}}{changed['tail']}" if changed else ""


def fits(tree: Tree, i: int, strict: bool) -> bool:
    url = tree.link(i)
    if is_page_of(url, tree.url):
        return True
    return not strict and url.split("?", 1)[0] == tree.url.split("?", 1)[0]


def looks_next(tree: Tree, i: int) -> bool:
    """By its text, its label, its class, its parent's class, or the arrow in it."""
    text = tree.text(i, 40)
    labels = [text, tree.get(i, "title"), tree.get(i, "aria-label")]
    if any(label and NEXT.match(label) for label in labels) or text in NEXT_MARKS:
        return True
    names = tree.words[i] | tree.words[tree.parents[i]]
    if names & NEXT_WORDS and not names & BEFORE_WORDS and tree.texts[i] < 40:
        return True
    icons = range(i + 1, min(tree.ends[i], i + 4))
    inner = frozenset().union(*(tree.words[each] for each in icons)) if icons else frozenset()
    return bool(inner & RIGHT_WORDS) and tree.texts[i] < 20 and fits(tree, i, strict=True)


def aim_next(tree: Tree, named: list[int]) -> str:
    """A selector for "next" alone, so that page 1 is not fetched again under another address."""
    icons = [i for i in named if tree.texts[i] == 0 and tree.ends[i] > i + 1]
    if icons:
        inner = next((name for name in tree.classes[icons[0] + 1] if set(name.lower().split("-")) & RIGHT_WORDS), "")
        if inner:
            return f"a:has(.{inner})"
    case = Case(tree, 0, frozenset(named), banned=list_acts(tree))
    label = next((name for name in ("aria-label", "title") if NEXT.match(tree.get(named[0], name))), "")
    if label and not NEXT.match(tree.text(named[0], 40)):
        return f"a[{label}={quote(tree.get(named[0], label))}]"
    telling = [name for name in tree.classes[named[0]] if split_words(name) & NEXT_WORDS]
    selector = f"a.{escape(telling[0])}" if telling else aim([case])
    if selector and ":nth-child" not in selector and not finds_others(tree, selector, named):
        return selector
    text = tree.text(named[0], 40)
    return f"a:contains({quote(text)})" if 2 <= len(text) <= 30 or text in ("›", "»", "→", "次") else ""


def finds_others(tree: Tree, selector: str, wanted: list[int]) -> bool:
    """Does it find links to other pages too, such as the one back?"""
    nodes = {tree.nodes[i] for i in wanted}
    return any(each.root not in nodes for each in tree.root.css(selector)[:50])


def aim_numbers(tree: Tree, numbers: list[int]) -> str:
    """All links of the pager."""
    around = [above for above in tree.ancestors(numbers[0], 5) if tree.words[above] & PAGER and tree.texts[above] < 200]
    if not around:
        return aim([Case(tree, 0, frozenset(numbers), banned=list_acts(tree))])
    inside = frozenset(each for each in numbers if tree.contains(around[-1], each))
    harmless = frozenset(tree.inside(around[-1], "a"))
    return aim([Case(tree, 0, inside, harmless, banned=list_acts(tree))])
