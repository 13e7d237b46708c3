"""A page as flat lists: in come bytes, out come its elements in document order with what can be summed over them.

Everything that follows works on indices into these lists, so that a hostile page costs what its first
`MOST_ELEMENTS` elements cost and no depth of nesting is a recursion.
"""

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from urllib.parse import urljoin, urlsplit

from parsel import Selector
from w3lib.encoding import html_to_unicode
from w3lib.html import get_base_url

from crawler.propose.words import BESIDE, SIDE, keep_stable, split_words

MOST_TEXT = 2_000_000  # characters of a page
MOST_ELEMENTS = 25_000
LONGEST_HREF = 2000
SILENT = frozenset({"script", "style", "template", "noscript", "head", "svg", "iframe", "select", "textarea"})
SIDE_TAGS = frozenset({"nav", "footer", "aside"})
SIDE_SHARE = 0.5  # a "sidebar" that holds more of the page's text than this is the page


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedPage:
    """A page as it was fetched; `url` is the address it was finally found at."""

    url: str
    body: bytes
    content_type: str = "text/html"


@dataclass(kw_only=True, slots=True)
class Tree:
    """Elements in document order; the subtree of `i` is `i + 1 .. ends[i] - 1`."""

    url: str
    base: str
    root: Selector
    cut: bool  # only the beginning was read
    nodes: list[Any] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    classes: list[tuple[str, ...]] = field(default_factory=list)  # stable ones
    words: list[frozenset[str]] = field(default_factory=list)  # of class and id
    places: list[int] = field(default_factory=list)  # among the parent's children, from 1
    paths: list[int] = field(default_factory=list)  # equal for equal chains of tags
    texts: list[int] = field(default_factory=list)  # characters in the subtree
    linked: list[int] = field(default_factory=list)  # of these, inside links
    pictures: list[int] = field(default_factory=list)  # img elements in the subtree
    aside: list[bool] = field(default_factory=list)  # navigation, footers and the like
    beside: list[bool] = field(default_factory=list)  # "related products" and the like
    by_tag: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    by_class: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def text(self, i: int, limit: int = 400) -> str:
        """The text of a subtree, spaces collapsed, cut."""
        parts: list[str] = []
        length = 0
        for part in islice(self.nodes[i].itertext(), 2000):
            parts.append(part[:limit])
            length += len(parts[-1])
            if length > 4 * limit:
                break
        return " ".join(" ".join(parts).split())[:limit]

    def get(self, i: int, name: str) -> str:
        return str(self.nodes[i].get(name) or "").strip()

    def link(self, i: int, name: str = "href") -> str:
        """The absolute http(s) address in an attribute, without its fragment, or nothing."""
        return resolve(self.base, self.get(i, name))

    def inside(self, i: int, tag: str) -> list[int]:
        """Elements of a tag in the subtree of `i`, itself included."""
        end = self.ends[i]
        return slice_between(self.by_tag[tag], i, end)

    def contains(self, outer: int, inner: int) -> bool:
        return outer <= inner < self.ends[outer]

    def ancestors(self, i: int, most: int = 100) -> list[int]:
        """From the parent up, the nearest `most` of them."""
        found: list[int] = []
        while len(found) < most and (i := self.parents[i]) >= 0:
            found.append(i)
        return found


def slice_between(sorted_indices: list[int], start: int, end: int) -> list[int]:
    return sorted_indices[bisect_left(sorted_indices, start) : bisect_left(sorted_indices, end)]


def resolve(base: str, href: str) -> str:
    if not href or len(href) > LONGEST_HREF or href.startswith(("#", "javascript:", "mailto:", "data:")):
        return ""
    try:
        url = urljoin(base, href).split("#", 1)[0]
        return url if urlsplit(url).scheme in ("http", "https") and urlsplit(url).hostname else ""
    except ValueError:
        return ""


def read_tree(page: SavedPage) -> Tree:
    """Never raises for what a page contains."""
    body = page.body[: 2 * MOST_TEXT]
    _encoding, text = html_to_unicode(page.content_type or None, body)
    text = text.replace("\0", "")
    root = Selector(text=text[:MOST_TEXT] or "<html></html>", type="html")
    tree = Tree(
        url=page.url.split("#", 1)[0],
        base=find_base(text[:20_000], page.url),
        root=root,
        cut=len(text) > MOST_TEXT or len(page.body) > len(body),
    )
    add_elements(tree)
    sum_up(tree)
    mark_aside(tree)
    return tree


def list_elements(root: Selector, base: str, url: str) -> Tree:
    """A page that is parsed already, its elements listed and nothing summed over them."""
    tree = Tree(url=url, base=base, root=root, cut=False)
    add_elements(tree)
    return tree


def find_base(text: str, url: str) -> str:
    try:
        return str(get_base_url(text, url))
    except ValueError:  # <base href="http://[">
        return url


def add_elements(tree: Tree) -> None:
    index: dict[Any, int] = {}
    paths: dict[tuple[int, str], int] = {}
    children: dict[int, int] = defaultdict(int)
    for node in tree.root.root.iter():
        if not isinstance(node.tag, str):
            continue
        i = len(tree.nodes)
        if i >= MOST_ELEMENTS:
            tree.cut = True
            break
        parent = index.get(node.getparent(), -1)
        index[node] = i
        tree.nodes.append(node)
        tree.tags.append(node.tag)
        tree.parents.append(parent)
        children[parent] += 1
        tree.places.append(children[parent])
        names = str(node.get("class") or "")[:500].split()
        stable = keep_stable(names[:20])
        tree.classes.append(stable)
        tree.words.append(split_words(*names[:20], str(node.get("id") or "")))
        tree.paths.append(paths.setdefault((tree.paths[parent] if parent >= 0 else -1, node.tag), len(paths)))
        tree.by_tag[node.tag].append(i)
        for name in names[:20]:
            if not tree.by_class[name] or tree.by_class[name][-1] != i:
                tree.by_class[name].append(i)


def sum_up(tree: Tree) -> None:
    count = len(tree.nodes)
    tree.texts, tree.linked, tree.pictures = [0] * count, [0] * count, [0] * count
    tree.ends = [0] * count
    for i in range(count - 1, -1, -1):
        node, parent = tree.nodes[i], tree.parents[i]
        tree.ends[i] = max(tree.ends[i], i + 1)
        if tree.tags[i] in SILENT:
            tree.texts[i] = tree.linked[i] = 0
        else:
            tree.texts[i] += count_text(node.text)
            if tree.tags[i] == "a":
                tree.linked[i] = tree.texts[i]
        tree.pictures[i] += tree.tags[i] == "img"
        if parent >= 0:
            tree.texts[parent] += tree.texts[i] + count_text(node.tail)
            tree.linked[parent] += tree.linked[i]
            tree.pictures[parent] += tree.pictures[i]
            tree.ends[parent] = max(tree.ends[parent], tree.ends[i])


def count_text(text: str | None) -> int:
    return len(text.strip()) if text else 0


def mark_aside(tree: Tree) -> None:
    whole = tree.texts[0] if tree.texts else 0
    for i, parent in enumerate(tree.parents):
        inherited = parent >= 0 and tree.aside[parent]
        own = (tree.tags[i] in SIDE_TAGS or bool(tree.words[i] & SIDE)) and tree.tags[i] not in ("html", "body", "main")
        tree.aside.append(inherited or (own and tree.texts[i] <= SIDE_SHARE * whole))
        near = parent >= 0 and tree.beside[parent]
        tree.beside.append(near or (bool(tree.words[i] & BESIDE) and tree.texts[i] <= SIDE_SHARE * whole))
