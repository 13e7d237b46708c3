"""Where the text of a listing stands: in come pages that show one each, out come its element and a selector of it."""

from collections.abc import Iterator, Sequence

from crawler.pages import PARAGRAPHS
from crawler.propose.aim import escape, quote
from crawler.propose.fields import BLOCKS, HEADINGS, MOST_ELEMENTS, Shown, plain
from crawler.propose.tree import Tree
from crawler.propose.words import BODY, DESCRIPTION_LABEL, NO_BODY, OPINION, is_stable_class, pick

SHORTEST = 12  # letters of a description


def find_description(page: Shown) -> int:
    """What a heading announces; else the element with most text of its own: deep, but still with nearly all of it."""
    tree = page.tree
    page.label = find_label(page)
    if page.label >= 0:
        return next(follow_siblings(tree, page.label))
    told = plain(page.facts.description)[:80]
    own = own_texts(tree)
    best: tuple[float, int] = (4.0, -1)
    for i in range(min(len(tree.nodes), MOST_ELEMENTS)):
        if tree.tags[i] not in BLOCKS or tree.aside[i] or tree.beside[i] or own[i] < SHORTEST:
            continue
        if (page.title >= 0 and tree.contains(i, page.title)) or i == page.price or i == page.seller:
            continue
        around = frozenset().union(*(tree.words[above] for above in tree.ancestors(i, 4)))
        score = min(own[i], 1500) ** 0.5 * (0.3 if around & OPINION else 1.0)
        if tree.words[i] & BODY or tree.nodes[i].get("itemprop") == "description":
            score *= 1.7
        if tree.words[i] & NO_BODY or tree.words[i] & (OPINION | {"comment", "legal", "notice"}):
            score *= 0.3
        if told and len(told) > 15 and told[:40] in plain(tree.text(i, 1000)):
            score *= 2.0
        if page.price >= 0 and tree.contains(i, page.price):
            score *= 0.3
        if score > best[0]:
            best = score, i
    return best[1]


def own_texts(tree: Tree) -> list[int]:
    """Characters in each element's paragraphs: its own text, and that of inner elements that are no blocks."""
    own = [0] * len(tree.nodes)
    inline = pick("p br b i em strong span a u font li ul ol h3 h4 h5 small code blockquote tr td tbody")
    for i in range(len(tree.nodes) - 1, -1, -1):
        node, parent = tree.nodes[i], tree.parents[i]
        own[i] += len((node.text or "").strip()) if tree.tags[i] not in ("script", "style", "noscript") else 0
        if parent >= 0:
            own[parent] += len((node.tail or "").strip())
            if tree.tags[i] in inline and tree.tags[i] != "a":
                own[parent] += own[i]
    return own


def find_label(page: Shown) -> int:
    """A heading "Description", or what is wrapped around it alone, that stands just before paragraphs; else -1."""
    tree = page.tree
    for i in sorted(i for tag in HEADINGS for i in tree.by_tag[tag][:200]):
        if i <= page.title or tree.aside[i] or tree.beside[i] or not is_label(tree, i):
            continue
        label = next((each for each in tree.ancestors(i) if tree.texts[tree.parents[each]] > tree.texts[i]), i)
        label = label if tree.texts[label] == tree.texts[i] else i
        first = next(follow_siblings(tree, label), -1)
        if first >= 0 and tree.tags[first] in PARAGRAPHS:
            return label
    return -1


def is_label(tree: Tree, i: int) -> bool:
    return bool(tree.texts[i] <= 60 and DESCRIPTION_LABEL.fullmatch(plain(tree.text(i, 80))))


def follow_siblings(tree: Tree, i: int) -> Iterator[int]:
    """The later siblings that have text."""
    after = tree.ends[i]
    while after < len(tree.nodes) and tree.parents[after] == tree.parents[i]:
        if tree.texts[after]:
            yield after
        after = tree.ends[after]


def aim_label(pages: Sequence[Shown]) -> str:
    """All that follows the heading "Description", where it can be named: of it, the first paragraphs are read."""
    shown = [page for page in pages if page.description >= 0]
    labelled = [page for page in shown if page.label >= 0]
    if not labelled or 2 * len(labelled) < len(shown):
        return ""
    tree, i = labelled[0].tree, labelled[0].label
    identity = tree.get(i, "id")
    names = [f"#{escape(identity)}"] if identity and is_stable_class(identity) else []
    names += [f"{tree.tags[i]}:contains({quote(tree.text(i, 80))})"] if tree.tags[i] in HEADINGS else []
    for name in names:
        found = [[each.root for each in page.tree.root.css(name)] for page in labelled]
        if found == [[page.tree.nodes[page.label]] for page in labelled]:
            return f"{name} ~ *"
    return ""
