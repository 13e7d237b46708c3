"""The fields of a listing: in come pages that show one each, out comes for every field what to aim at on each page."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from crawler.numbers import find_price
from crawler.propose.facts import Facts
from crawler.propose.groups import find_authors
from crawler.propose.links import Shape, is_page_of
from crawler.propose.tree import Tree
from crawler.propose.words import (
    ARCHIVE_ENDS,
    BODY,
    IMAGE_ATTRIBUTES,
    IMAGE_ENDS,
    NO_BODY,
    OLD_PRICE,
    PERSON,
    PICTURE,
    PLACEHOLDER,
    POST,
    PRICE,
    SELLER,
    SELLER_LABEL,
    SMALL,
    STRIP,
    TITLE,
    pick,
    split_words,
)

HEADINGS = {"h1": 1.5, "h2": 0.8, "h3": 0.4, "h4": 0.2}
BLOCKS = pick("div p section article td dd li blockquote pre span main")
SMALLEST = 65  # pixels; below it a picture is an icon
MOST_ELEMENTS = 12_000  # looked at for one field


@dataclass(kw_only=True, slots=True)
class Shown:
    """A page that shows one listing, and where its fields are (indices of elements; -1: nowhere)."""

    tree: Tree
    facts: Facts
    anchor: str = ""  # the text of the link that led here
    common: frozenset[str] = frozenset()  # headings that other pages have too
    posts: tuple[int, ...] = ()
    title: int = -1
    seller: int = -1
    price: int = -1
    description: int = -1
    label: int = -1  # what says "Description" just before its paragraphs
    images: list[int] = field(default_factory=list)  # img elements, or links to pictures
    archives: list[int] = field(default_factory=list)

    @property
    def scope(self) -> int:
        return 0


def plain(text: str) -> str:
    return re.sub(r"\W+", " ", text).strip().casefold()


# -- title ------------------------------------------------------------------------------------------------------------


def find_title(page: Shown) -> int:
    tree = page.tree
    anchor, told = plain(page.anchor), plain(page.facts.title)
    heads = tree.by_tag["title"]
    head = plain(tree.text(heads[0], 400)) if heads else ""
    best: tuple[float, int] = (0.9, -1)
    for i in range(min(len(tree.nodes), MOST_ELEMENTS)):
        if not 2 <= tree.texts[i] <= 400 or tree.tags[i] in ("title", "html", "body", "option", "script"):
            continue
        named = bool(tree.words[i] & TITLE) or tree.nodes[i].get("itemprop") in ("name", "headline")
        if tree.tags[i] not in HEADINGS and not named and abs(tree.texts[i] - len(page.anchor)) > 12:
            continue
        text = plain(tree.text(i, 400))
        score = weigh_title(tree, i, text, anchor, told, head) + 0.5 * named - 1.5 * (text in page.common)
        if score > best[0]:
            best = score, i
    return climb_to_heading(tree, best[1]) if best[1] >= 0 else -1


def list_headings(tree: Tree) -> frozenset[str]:
    return frozenset(plain(tree.text(i, 400)) for tag in HEADINGS for i in tree.by_tag[tag][:200])


def weigh_title(tree: Tree, i: int, text: str, anchor: str, told: str, head: str) -> float:
    if len(text) < 2:
        return 0.0
    score = HEADINGS.get(tree.tags[i], 0.0)
    for wanted in (anchor, told):
        stem = wanted.rstrip("… .")
        if wanted and text == wanted:
            score += 2.5
        elif len(stem) > 6 and (stem in text or text in stem):
            score += 1.2 * min(len(text), len(stem)) / max(len(text), len(stem)) + 0.3
    if head and text in head:
        score += 0.4 + 0.8 * len(text) / len(head)
    if tree.aside[i] or tree.beside[i]:
        score -= 2.0
    if tree.tags[i] == "a" and not anchor:
        score -= 0.3
    link = next((each for each in tree.inside(i, "a")[:1]), None)
    if link is not None and urlsplit(tree.link(link)).path in ("", "/") and tree.link(link) != tree.url:
        score -= 1.5
    return score - 0.3 * (i / max(1, len(tree.nodes)))


def climb_to_heading(tree: Tree, i: int) -> int:
    """The heading around it, if that says the same."""
    for above in tree.ancestors(i, 3):
        if tree.texts[above] > tree.texts[i] + 3:
            break
        if tree.tags[above] in HEADINGS:
            return above
    return i


# -- a thread's posts -------------------------------------------------------------------------------------------------


def find_bodies(pages: Sequence[Shown]) -> dict[int, dict[int, int]]:
    """Per page number, for each post, the element that holds its text."""
    table: dict[tuple[str, str, str], list[tuple[int, int, int]]] = defaultdict(list)
    posts = [(number, post) for number, page in enumerate(pages) for post in page.posts[:25]]
    for number, post in posts:
        tree = pages[number].tree
        seen = set()
        for i in range(post + 1, min(tree.ends[post], post + 600)):
            if tree.tags[i] not in BLOCKS or not tree.texts[i]:
                continue
            key = (tree.tags[i], next(iter(tree.classes[i]), ""), tree.tags[tree.parents[i]])
            if key not in seen:
                seen.add(key)
                table[key].append((number, post, i))
    best: tuple[float, tuple[str, str, str] | None] = (0.0, None)
    for key, found in table.items():
        score = weigh_body(pages, found, len(posts))
        if score > best[0]:
            best = score, key
    chosen: dict[int, dict[int, int]] = defaultdict(dict)
    for number, post, i in table.get(best[1], []) if best[1] else []:
        chosen[number][post] = i
    return chosen


def weigh_body(pages: Sequence[Shown], found: list[tuple[int, int, int]], posts: int) -> float:
    presence = len({(number, post) for number, post, _ in found}) / max(1, posts)
    if presence < 0.7:
        return 0.0
    some = found[:60]
    texts = [pages[number].tree.text(i, 200) for number, _, i in some]
    lengths = [max(0, pages[number].tree.texts[i] - pages[number].tree.linked[i]) for number, _, i in some]
    distinct = len(set(texts)) / len(texts)
    size = sum(lengths) / len(lengths)
    words = frozenset().union(*(pages[number].tree.words[i] for number, _, i in some[:3]))
    score: float = presence * (0.4 + 0.6 * distinct) * min(size, 400) ** 0.5
    if words & BODY:
        score *= 1.8
    elif not words:
        score *= 0.7
    if words & NO_BODY:
        score *= 0.3
    if words & PERSON:
        score *= 0.3
    holding = sum(bool(find_authors(pages[number].tree, i)) for number, _, i in some[:12])
    if sum(has_margin(pages[number].tree, i) for number, _, i in some[:12]) > 0.5 * len(some[:12]):
        score *= 0.5
    return score * (0.35 if holding > 0.5 * len(some[:12]) else 1.0)


def has_margin(tree: Tree, i: int) -> bool:
    """Does an element hold a date or a signature too, so that it is more than the text?"""
    return any(
        tree.texts[each] and (tree.words[each] & NO_BODY or tree.tags[each] == "time")
        for each in range(i + 1, min(tree.ends[i], i + 80))
        if tree.parents[each] == i or tree.parents[tree.parents[each]] == i
    )


def find_poster(page: Shown) -> int:
    """The author of the first post: the best element of the kind that all posts have."""
    tree = page.tree
    if not page.posts:
        return -1
    authors = find_authors(tree, page.posts[0])
    return authors[0] if authors else -1


# -- fields of a product ----------------------------------------------------------------------------------------------


def find_seller(page: Shown) -> int:
    tree = page.tree
    told = plain(page.facts.seller)
    best: tuple[float, int] = (0.7, -1)
    for i in range(min(len(tree.nodes), MOST_ELEMENTS)):
        if not 2 <= tree.texts[i] <= 60 or tree.tags[i] in ("script", "style", "option", "title", "time", "label"):
            continue
        score = weigh_seller(tree, i, told)
        if score > best[0]:
            best = score, i
    return best[1]


def weigh_seller(tree: Tree, i: int, told: str) -> float:
    node = tree.nodes[i]
    score = 0.0
    if node.get("rel") == "author" or node.get("itemprop") in ("seller", "author"):
        score += 2.0
    if told and plain(tree.text(i, 80)) == told:
        score += 2.0
    if tree.words[i] & SELLER and tree.tags[i] != "input":
        score += 1.0 + (0.3 if tree.tags[i] == "a" else 0.0)
    if label_before(tree, i):
        score += 1.5 + (0.3 if tree.tags[i] == "a" else 0.0)
    if not score:
        return 0.0
    if tree.aside[i] or tree.beside[i] or tree.words[i] & {"login", "comment", "review", "reviews"}:
        score -= 1.5
    if SELLER_LABEL.search(f" {tree.text(i, 60)}") or find_price(tree.text(i, 60)):
        score -= 1.5  # the label itself
    return score - 0.01 * (tree.texts[i] / 10) - 0.2 * (i / len(tree.nodes))


def label_before(tree: Tree, i: int) -> bool:
    """Does the text just before say "Seller:"?"""
    node = tree.nodes[i]
    before = node.getprevious()
    if before is not None and isinstance(before.tag, str):
        tail = (before.tail or "").strip()
        text = tail or "".join(list(before.itertext())[:5])
    else:
        parent = node.getparent()
        text = (parent.text or "") if parent is not None else ""
    return bool(SELLER_LABEL.search(f" {text[-40:].strip()}"))


def find_price_element(page: Shown) -> int:
    """The smallest element that holds one price, near the title and not struck out."""
    tree = page.tree
    told = re.sub(r"\D", "", page.facts.price.rstrip("0").rstrip(".")) if "." in page.facts.price else page.facts.price
    best: tuple[float, int] = (0.0, -1)
    for i in range(min(len(tree.nodes), MOST_ELEMENTS)):
        if not 1 <= tree.texts[i] <= 120 or tree.tags[i] in ("script", "style", "option", "title", "a", "button"):
            continue
        text = tree.text(i, 120)
        price = find_price(text)
        if not price:
            continue
        words = tree.words[i].union(*(tree.words[above] for above in tree.ancestors(i, 2)))
        score = 1.0 + 1.0 * bool(words & PRICE) + (1.5 if tree.nodes[i].get("itemprop") == "price" else 0.0)
        score += 0.6 * len(price) / max(1, len(text))
        if words & OLD_PRICE or {tree.tags[each] for each in (i, *tree.ancestors(i, 4))} & {"del", "s", "strike"}:
            score -= 1.2
        if tree.aside[i] or tree.beside[i] or words & {"cart", "minicart", "basket", "total"}:
            score -= 2.0
        if told and told in re.sub(r"\D", "", price):
            score += 0.8
        score -= 0.8 * (abs(i - page.title) / len(tree.nodes) if page.title >= 0 else 0.5)
        if score > best[0] + (0.01 if best[1] >= 0 else 0.0):
            best = score, i
    return best[1]


# -- pictures and archives --------------------------------------------------------------------------------------------


def find_images(page: Shown, shape: Shape | None, icons: frozenset[str]) -> list[int]:
    """Pictures of the listing: images, or the links around them that lead to the picture itself."""
    tree = page.tree
    scopes = page.posts or (0,)
    found: dict[int, None] = {}
    for scope in scopes:
        for i in tree.inside(scope, "img")[:400]:
            if is_icon(tree, i, icons) or tree.aside[i] or tree.beside[i]:
                continue
            link = next((above for above in tree.ancestors(i, 4) if tree.tags[above] == "a"), None)
            if link is None or not (url := tree.link(link)) or url == tree.url:
                found[i] = None
            elif leads_to_picture(tree, link, url):
                found[link] = None
            elif page.posts or not leads_away(url, tree, shape):
                found[i] = None
    return list(found) if page.posts else leave_strip(tree, list(found))


def leave_strip(tree: Tree, images: list[int]) -> list[int]:
    """Without the row of small copies that a gallery shows below its pictures."""
    large = [
        i for i in images if tree.tags[i] == "a" or not any(tree.words[each] & STRIP for each in tree.ancestors(i, 3))
    ]
    return large if 2 * len(large) >= len(images) else images


def leads_to_picture(tree: Tree, link: int, url: str) -> bool:
    parts = urlsplit(url)
    if parts.path.lower().rstrip("/").endswith(IMAGE_ENDS):
        return True
    words = split_words(*parts.path.split("/"), parts.query.split("=", 1)[0]) | tree.words[link]
    return bool(words & {"attachment", "attachments", "lightbox", "fancybox", "download", "dlattach", "upload"})


def leads_away(url: str, tree: Tree, shape: Shape | None) -> bool:
    """Does a picture's link lead to another listing or page, so that the picture is not of this one?"""
    if shape is not None and shape.is_telling and shape.fits(url):
        return True
    return urlsplit(url).netloc == urlsplit(tree.url).netloc and not is_page_of(url, tree.url)


def is_icon(tree: Tree, i: int, icons: frozenset[str]) -> bool:
    node = tree.nodes[i]
    parent = tree.parents[i]
    alt = tree.get(i, "alt")
    if re.fullmatch(r"\.\w{1,5}|\[\w{1,4}\]", alt):  # the icon of a kind of file
        return True
    words = tree.words[i] | split_words(alt if len(alt) < 12 else "")
    if words & SMALL or (parent >= 0 and tree.words[parent] & (SMALL | {"user", "profile"})):
        return True
    for name in ("width", "height"):
        size = re.match(r"\d+", str(node.get(name) or ""))
        if size and int(size[0]) < SMALLEST:
            return True
    address = picture_address(tree, i)
    if not address or address in icons:
        return True
    folders, _, name = urlsplit(address).path.rpartition("/")
    stem = split_words(name.rsplit(".", 1)[0])
    return bool((stem | split_words(*folders.split("/"))) & SMALL) or name.lower().endswith(".svg")


def picture_address(tree: Tree, i: int) -> str:
    name = picture_attribute(tree, i)
    return tree.link(i, name) if name else ""


def picture_attribute(tree: Tree, i: int) -> str:
    """The attribute that holds the picture's real address."""
    for name in IMAGE_ATTRIBUTES:
        value = tree.get(i, name)
        if value and not (name == "src" and PLACEHOLDER.search(value.rsplit("/", 1)[-1] or value)) and len(value) > 4:
            return name
    return "src" if tree.get(i, "src") and not tree.get(i, "src").startswith("data:") else ""


def find_icons(pages: Sequence[Tree], most: int) -> frozenset[str]:
    """Pictures that several pages show, or one page shows more than `most` times: avatars, buttons, logos."""
    seen: Counter[str] = Counter()
    for tree in pages:
        here: Counter[str] = Counter(picture_address(tree, i) for i in tree.by_tag["img"][:600])
        for url, count in here.items():
            seen[url] += 2 if count > most else 1
    return frozenset(url for url, count in seen.items() if count >= 2 and url)


def find_archives(tree: Tree, scope: int) -> list[int]:
    """Links to archives, by address or by what the link says."""
    return [i for i in tree.inside(scope, "a")[:3000] if is_archive(tree, i)]


def is_archive(tree: Tree, i: int) -> bool:
    path = urlsplit(tree.link(i)).path.lower()
    return bool(path) and (path.endswith(ARCHIVE_ENDS) or tree.text(i, 120).lower().endswith(ARCHIVE_ENDS))


def is_gallery(page: Shown) -> bool:
    tree = page.tree
    return bool(page.images) and any(tree.words[i] & PICTURE for i in page.images) and not tree.words[0] & POST
