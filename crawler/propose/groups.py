"""The repeated structure of a page: in comes a tree, out come lists of alike elements, each with its main link.

Alike are elements reached by the same chain of tags that share a class (or have none); a list is worth something when
most of its members carry a link of their own with a text of its own, outside navigation.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import mean, median
from urllib.parse import urlsplit

from crawler.acts import find_act
from crawler.numbers import find_price
from crawler.propose.aim import MOST_MEMBERS
from crawler.propose.links import Shape, find_shape, is_page_of, is_personal
from crawler.propose.tree import Tree
from crawler.propose.words import (
    ACTIONS,
    BODY,
    IMAGE_ENDS,
    LISTED,
    PAGER,
    PERSON,
    POST,
    SMALL,
    TITLE,
    UTILITY,
    pick,
    split_words,
)

MEMBER_TAGS = pick("li tr div article section a dl dt dd td p figure span tbody table details h2 h3 h4")
MOST_LINKS = 40  # of one member
MOST_CLUSTERS = 300
WEAKEST = 0.35
NO_POST = frozenset({"product", "review", "reviews"})  # WordPress calls every product post-17


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """Links at the same place in the members of a group: for each member its link."""

    key: tuple[int, str]
    links: dict[int, int]
    score: float
    shape: Shape | None
    text_length: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Alike elements, each an item of a list; `column` holds the link that leads to the item."""

    members: tuple[int, ...]
    column: Column
    score: float
    prices: float  # share of members with a price
    pictures: float


def list_clusters(tree: Tree) -> Iterator[tuple[int, ...]]:
    """Elements with the same chain of tags, split by the classes they share; the larger first."""
    by_path: dict[int, list[int]] = defaultdict(list)
    for i, path in enumerate(tree.paths):
        if tree.tags[i] in MEMBER_TAGS and tree.texts[i] + tree.pictures[i] > 0:
            by_path[path].append(i)
    clusters: list[tuple[int, ...]] = []
    for alike in by_path.values():
        if len(alike) >= 2:
            clusters += split_by_class(tree, alike)
    clusters.sort(key=lambda members: -sum(tree.texts[i] for i in members))
    yield from clusters[:MOST_CLUSTERS]


def split_by_class(tree: Tree, alike: list[int]) -> list[tuple[int, ...]]:
    """Sets of two or more with one class in common, the most telling and most frequent class first."""
    found: list[tuple[int, ...]] = []
    left = alike
    for _ in range(8):
        counts = Counter(name for i in left for name in tree.classes[i])
        names = [name for name, count in counts.most_common(30) if count >= 2]
        if not names:
            break
        best = max(names, key=lambda name: counts[name] * (0.3 if UTILITY.match(name) else 1.0))
        members = tuple(i for i in left if best in tree.classes[i])
        found.append(members)
        left = [i for i in left if best not in tree.classes[i]]
    bare = tuple(i for i in left if not tree.classes[i])
    if len(bare) >= 2:
        found.append(bare)
    return found + [part for members in found for part in split_by_parent(tree, members)]


def split_by_parent(tree: Tree, members: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The same by parents, where that makes longer runs of their own: one table of a page made of tables."""
    parents = Counter(tree.parents[i] for i in members)
    if len(parents) < 2 or len(parents) > 0.4 * len(members):
        return []
    runs = [parent for parent, count in parents.most_common(4) if count >= 3]
    return [tuple(i for i in members if tree.parents[i] == parent) for parent in runs]


def find_groups(tree: Tree) -> list[Group]:
    """Lists of items, the best first."""
    groups = [group for members in list_clusters(tree) if (group := weigh_cluster(tree, members)) is not None]
    return sorted(groups, key=lambda group: -group.score)


def weigh_cluster(tree: Tree, members: tuple[int, ...]) -> Group | None:
    shown = tuple(i for i in members if not tree.aside[i])[:MOST_MEMBERS]
    if len(shown) < 2 or any(tree.words[i] & PAGER for i in shown[:2]):
        return None
    columns = list_columns(tree, shown)
    if not columns:
        return None
    column = max(columns, key=lambda each: each.score)
    if column.score < WEAKEST:
        return None
    prices = mean(bool(find_price(tree.text(i, 300))) for i in shown[:40])
    pictures = mean(tree.pictures[i] > 0 for i in shown)
    rest = median(tree.texts[i] - tree.linked[i] for i in shown)
    score = column.score + 0.5 * prices + 0.3 * pictures + (0.2 if 8 <= rest <= 600 else 0.0)
    if any(split_words(*tree.classes[i]) & LISTED for i in shown[:2]):
        score += 0.3
    if rest > 1500 or (split_words(*tree.classes[shown[0]]) & POST and column.text_length * 4 < rest):
        score *= 0.5  # these are texts with links in them
    if all(tree.beside[i] for i in shown):
        score *= 0.4
    score *= 1 + math.log2(min(len(column.links), 50)) / 4
    return Group(members=shown, column=column, score=score, prices=prices, pictures=pictures)


def list_columns(tree: Tree, members: tuple[int, ...]) -> list[Column]:
    """The places in the members at which most of them have a link."""
    table: dict[tuple[int, str], dict[int, int]] = defaultdict(dict)
    first: Counter[tuple[int, str]] = Counter()
    for member in members:
        links = tree.inside(member, "a")[:MOST_LINKS]
        for link in links:
            key = (tree.paths[link], next(iter(tree.classes[link]), ""))
            if member not in table[key]:
                table[key][member] = link
        if links:
            first[tree.paths[links[0]], next(iter(tree.classes[links[0]]), "")] += 1
    found = []
    for key, column in table.items():
        if len(column) >= max(2, 0.55 * len(members)):
            found.append(weigh_column(tree, key, column, first[key] / len(members)))
    return [column for column in found if column is not None]


def weigh_column(tree: Tree, key: tuple[int, str], links: dict[int, int], leading: float) -> Column | None:
    urls = {member: tree.link(link) for member, link in links.items()}
    urls = {member: url for member, url in urls.items() if url and url != tree.url and find_act(url) is None}
    host = urlsplit(tree.url).netloc.lower()
    own = {member: url for member, url in urls.items() if urlsplit(url).netloc.lower() == host}
    if len(own) < 2 or len(own) < 0.6 * len(links) or len(set(own.values())) < 0.7 * len(own):
        return None
    files = sum(urlsplit(url).path.lower().endswith(IMAGE_ENDS) for url in own.values())
    paging = sum(is_page_of(url, tree.url) for url in own.values())
    if files > 0.5 * len(own) or paging > 0.5 * len(own):
        return None
    texts = [tree.text(links[member], 200) for member in own]
    lengths = [sum(char.isalnum() for char in text) * (2 if any("\u3040" <= c <= "\uffdc" for c in text) else 1)
               for text in texts]  # fmt: skip
    length = mean(lengths)
    if length < 2:
        alts = [alt_text(tree, links[member]) for member in own]
        length = mean(len(alt) for alt in alts) / 2
        score = 0.3 + min(length, 20) / 100 if tree.pictures[next(iter(links.values()))] else 0.0
        leading *= 0.4
    else:
        score = 0.15 + min(length, 45) / 45 * 0.8
        if len(set(texts)) < 0.6 * len(texts):
            score *= 0.35  # "read more", twenty times
        if mean(text.isdigit() for text in texts) > 0.5:
            score *= 0.1
    some = list(own)[:5]
    score += weigh_names(tree, [links[member] for member in some])
    score += 0.25 * leading
    if mean(is_personal(url) for url in own.values()) > 0.6:
        score -= 0.6
    last_words = [split_words(*urlsplit(url).path.split("/")[-2:]) for url in own.values()]
    if mean(bool(words & ACTIONS) for words in last_words) > 0.6:
        score -= 0.35
    shape = find_shape(list(own.values()))
    return Column(
        key=key,
        links={member: links[member] for member in own},
        score=score,
        shape=shape,
        text_length=length,
    )


def weigh_names(tree: Tree, links: list[int]) -> float:
    """What class names and headings around the links say."""
    score = 0.0
    around = [[link, *tree.ancestors(link, 2)] for link in links]
    if all(any(tree.tags[each] in ("h1", "h2", "h3", "h4", "h5") for each in chain) for chain in around):
        score += 0.35
    words = [frozenset().union(*(tree.words[each] for each in chain[:2])) for chain in around]
    if all(each & LISTED for each in words):
        score += 0.35 if all(each & TITLE for each in words) else 0.15
    if all((tree.words[link] | frozenset().union(*(tree.words[i] for i in tree.inside(link, "img")[:2]))) & SMALL
           for link in links):  # fmt: skip
        score -= 0.5
    if all(tree.words[link] & PERSON for link in links):
        score -= 0.4
    if all(each & ACTIONS for each in words):
        score -= 0.6
    return score


def alt_text(tree: Tree, link: int) -> str:
    images = tree.inside(link, "img")
    return (tree.get(images[0], "alt") if images else "") or tree.get(link, "title")


# -- posts of a thread ------------------------------------------------------------------------------------------------


def find_posts(tree: Tree) -> tuple[int, ...]:
    """The posts of a thread, as elements that each hold an author and a text; nothing where there are none."""
    best: tuple[float, tuple[int, ...]] | None = None
    for members in [*list_clusters(tree), *list_single_posts(tree)]:
        shown = tuple(i for i in members if not tree.aside[i] and not tree.beside[i])[:MOST_MEMBERS]
        if not shown or shown != tuple(i for i in members[:MOST_MEMBERS] if i in set(shown)):
            continue
        score = weigh_posts(tree, shown)
        if score > 0 and (best is None or score > best[0]):
            best = score, shown
    return best[1] if best else ()


def list_single_posts(tree: Tree) -> Iterator[tuple[int, ...]]:
    """Elements named like a post that are alone of their kind: a thread nobody has answered."""
    seen: set[tuple[int, tuple[str, ...]]] = set()
    for i, words in enumerate(tree.words):
        if words & POST and tree.tags[i] in MEMBER_TAGS and len(seen) < 40:
            key = (tree.paths[i], tree.classes[i][:1])
            if key not in seen:
                seen.add(key)
                yield (i,)


def weigh_posts(tree: Tree, members: tuple[int, ...]) -> float:
    whole = max(1, tree.texts[0])
    named = mean(bool(tree.words[i] & POST) and not tree.words[i] & NO_POST for i in members)
    if named < 0.5:
        return 0.0
    authors = mean(bool(find_authors(tree, i)) for i in members[:10])
    texts = [tree.texts[i] - tree.linked[i] for i in members]
    if authors < 0.8 or sum(texts) < 5 or any(tree.tags[i] in ("a", "span") for i in members[:2]):
        return 0.0
    bodied = mean(has_body(tree, i) for i in members[:10])
    return 2 * authors + bodied + sum(tree.texts[i] for i in members) / whole + 0.1 * math.log2(len(members) + 1)


def has_body(tree: Tree, post: int) -> bool:
    return any(tree.words[i] & BODY for i in range(post, min(tree.ends[post], post + 200)))


def find_authors(tree: Tree, scope: int) -> list[int]:
    """Elements in a subtree that name a person: by rel or itemprop, by class, by where a link leads."""
    found: list[tuple[int, int]] = []
    for i in range(scope, min(tree.ends[scope], scope + 400)):
        if not 1 <= tree.texts[i] <= 60 or tree.tags[i] in ("script", "style", "time"):
            continue
        node = tree.nodes[i]
        if node.get("rel") == "author" or node.get("itemprop") in ("author", "seller"):
            found.append((0, i))
        elif tree.tags[i] == "a" and tree.words[i] & PERSON and not tree.pictures[i]:
            found.append((1, i))
        elif tree.tags[i] == "a" and (url := tree.link(i)) and is_personal(url) and not tree.pictures[i]:
            found.append((2, i))
        elif tree.words[i] & PERSON and tree.tags[i] != "a" and not tree.words[i] & (BODY | POST):
            found.append((3, i))
    return [i for _, i in sorted(found)]
