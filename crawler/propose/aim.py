"""Selectors from elements: in come elements that a selector should find, out comes the shortest stable one that does.

Preferred, in this order: microdata and rel, ids and classes that repeat and mean something, the same below an ancestor
that has them, a part of the address, and only then the place among the siblings.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product

from crawler.propose.tree import Tree, slice_between
from crawler.propose.words import UTILITY, is_stable_class, pick

NAME = re.compile(r"[A-Za-z_-][\w-]*")
TELLING_ATTRIBUTES = ("itemprop", "rel", "data-role", "data-hook", "data-testid", "data-test", "data-qa", "property")
TELLING_VALUE = re.compile(r"[A-Za-z][A-Za-z:_-]{1,40}")
STRUCTURE = pick("main article ul ol table li td th dd dt tr h1 h2 h3 h4 figure section form dl tbody p")
MOST_CANDIDATES = 160
MOST_TRIED = 2000  # elements that a part of a selector is held against
MOST_ANCESTORS = 7
MOST_OPTIONS = 40  # selectors of one page that are tried together with those of another
MOST_MEMBERS = 100  # of a list
GOOD = 0.9


@dataclass(frozen=True, slots=True)
class Simple:
    """One compound selector: tag, classes, attributes, place among siblings."""

    tag: str = ""
    classes: tuple[str, ...] = ()
    attribute: tuple[str, str, str] | None = None  # name, operator, value
    id: str = ""
    nth: int = 0

    def css(self) -> str:
        text = self.tag + (f"#{self.id}" if self.id else "")
        text += "".join(f".{escape(name)}" for name in self.classes)
        if self.attribute:
            name, operator, value = self.attribute
            text += f"[{name}{operator}{quote(value)}]" if operator else f"[{name}]"
        return text + (f":nth-child({self.nth})" if self.nth else "")

    def cost(self) -> float:
        cost = 1.5 if not (self.classes or self.attribute or self.id) else 1.0
        cost += sum(0.01 * len(name) + (1.5 if UTILITY.match(name) else 0.0) for name in self.classes) + 0.4 * max(
            0, len(self.classes) - 1
        )
        if self.attribute:
            cost += 2.5 if self.attribute[1] == "*=" else -0.4
        return cost + (5.0 if self.nth else 0.0)

    def matches(self, tree: Tree, i: int) -> bool:
        if self.tag and tree.tags[i] != self.tag:
            return False
        node = tree.nodes[i]
        if self.id and node.get("id") != self.id:
            return False
        if self.classes:
            names = str(node.get("class") or "").split()
            if not all(name in names for name in self.classes):
                return False
        if self.attribute and not match_attribute(node.get(self.attribute[0]), *self.attribute[1:]):
            return False
        return not self.nth or tree.places[i] == self.nth

    def find(self, tree: Tree, start: int, end: int) -> Iterator[int]:
        """Indices between start and end that match, of the first `MOST_TRIED` that might."""
        if self.classes:
            pool = slice_between(min((tree.by_class.get(name, []) for name in self.classes), key=len), start, end)
        elif self.tag:
            pool = slice_between(tree.by_tag.get(self.tag, []), start, end)
        else:
            pool = list(range(start, min(end, start + MOST_TRIED)))
        return (i for i in pool[:MOST_TRIED] if self.matches(tree, i))


@dataclass(frozen=True, slots=True)
class Chain:
    """Compounds from the outside in; `direct[n]` says that part n+1 is a child of part n."""

    parts: tuple[Simple, ...]
    direct: tuple[bool, ...] = ()

    def css(self) -> str:
        text = self.parts[0].css()
        for part, child in zip(self.parts[1:], self.direct, strict=True):
            text += f" > {part.css()}" if child else f" {part.css()}"
        return text

    def cost(self) -> float:
        return sum(part.cost() for part in self.parts) + 0.6 * (len(self.parts) - 1)

    def find(self, tree: Tree, scope: int, most: int = 1000) -> list[int]:
        """The first that `element.css(...)` finds inside the element `scope`, itself included."""
        found = self.parts[-1].find(tree, scope, tree.ends[scope])
        return list(islice((i for i in found if self._fits(tree, i, scope, len(self.parts) - 2)), most))

    def _fits(self, tree: Tree, i: int, scope: int, part: int) -> bool:
        while part >= 0:
            child = self.direct[part]
            parent = tree.parents[i]
            while parent >= scope and not self.parts[part].matches(tree, parent):
                if child:
                    return False
                parent = tree.parents[parent]
            if parent < scope:
                return False
            i, part = parent, part - 1  # the nearest fitting ancestor; enough for selectors made from real chains
        return True


@dataclass(frozen=True, slots=True)
class Case:
    """What a selector should find inside one element of one page."""

    tree: Tree
    scope: int
    targets: frozenset[int]
    harmless: frozenset[int] = frozenset()  # found too without harm, such as a second link to the same page
    banned: frozenset[int] = frozenset()  # never found, such as a link that acts
    most: int = MOST_TRIED  # found at most, where it spares a page


def escape(name: str) -> str:
    return re.sub(r"([^\w-])", r"\\\1", name)


def quote(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def match_attribute(value: str | None, operator: str, wanted: str) -> bool:
    if value is None:
        return False
    if operator == "=":
        return value == wanted
    if operator == "*=":
        return wanted in value
    if operator == "$=":
        return value.endswith(wanted)
    return True


# -- which selector ---------------------------------------------------------------------------------------------------


def aim(cases: Sequence[Case], *, first: bool = False, spare: Sequence[Case] = ()) -> str:
    """The best selector that finds the targets of all cases, or nothing.

    `first`: only the first element found counts, as for a text; any of the targets will do. `spare`: pages on which it
    should find nothing, and finds no more than their `most`.
    """
    ranked = rank(cases, first=first, spare=spare, only_best=True)
    return ranked[0].css() if ranked else ""


def aim_each(cases: Sequence[Case]) -> str:
    """The first element that a selector finds is a target in every case; where no single one does, two or three with
    commas between them, none of which finds anything earlier."""
    cases = [case for case in cases if case.targets][:3]
    whole = aim(cases, first=True)
    if whole or len(cases) < 2:
        return whole
    options = [rank([case], first=True)[:MOST_OPTIONS] for case in cases]
    for chains in islice(product(*options), MOST_OPTIONS**2):
        if all(finds_first(chains, case) for case in cases):
            return ", ".join(dict.fromkeys(chain.css() for chain in chains))
    return options[0][0].css() if options[0] else ""


def finds_first(chains: Sequence[Chain], case: Case) -> bool:
    found = [first for chain in chains for first in chain.find(case.tree, case.scope, 1)]
    return bool(found) and min(found) in case.targets


def rank(cases: Sequence[Case], *, first: bool, spare: Sequence[Case] = (), only_best: bool = False) -> list[Chain]:
    """Selectors that find the targets of all cases, the best first. `only_best`: without those that cannot be it."""
    best = float("inf")
    cases = [case for case in cases if case.targets]
    seen: dict[Chain, float | None] = {}
    for case in cases[:3]:
        for target in sorted(case.targets)[:2] if not first else sorted(case.targets)[:4]:
            for chain in islice(list_chains(case, target), MOST_CANDIDATES):
                if chain in seen or (only_best and chain.cost() >= best):
                    continue
                cost = seen[chain] = rate(chain, cases, first, spare)
                best = min(best, cost) if cost is not None else best
    return sorted((chain for chain, cost in seen.items() if cost is not None), key=lambda chain: seen[chain] or 0.0)


def rate(chain: Chain, cases: Sequence[Case], first: bool, spare: Sequence[Case]) -> float | None:
    """A cost, low is good; None if it does not do the work."""
    hits = wanted = found_count = 0
    for case in cases:
        found = chain.find(case.tree, case.scope, 3 if first else 2 * len(case.targets) + len(case.harmless) + 20)
        if first:
            hits += bool(found) and found[0] in case.targets
            wanted += 1
            found_count += max(1, min(len(found), 3)) if found else 1
        else:
            if len(case.targets) >= MOST_MEMBERS:  # longer lists are looked at in part
                found = [i for i in found if i <= max(case.targets)]
            if not case.banned.isdisjoint(found):
                return None
            hits += len(case.targets.intersection(found))
            wanted += len(case.targets)
            found_count += len([i for i in found if i in case.targets or i not in case.harmless])
    if not wanted or hits < GOOD * wanted:
        return None
    extra = max(0, found_count - hits)
    if not first and extra > 0.5 * hits + 1:
        return None
    bare = first and len(chain.parts) == 1 and chain.parts[0] == Simple(tag=chain.parts[0].tag)
    if bare and chain.parts[0].tag not in ("h1", "main", "article"):
        extra += hits  # whatever comes first on a page
    stray = 0
    for case in spare:
        found = chain.find(case.tree, case.scope)
        if len(found) > case.most or not case.banned.isdisjoint(found):
            return None
        stray += len(found[:1])
    return (
        chain.cost()
        + (1.0 if first else 4.0) * min(extra, 2 * hits) / max(1, hits)
        + (3.0 if stray else 0.0)
        + 3 * (wanted - hits)
    )


def list_chains(case: Case, target: int) -> Iterator[Chain]:
    """Selectors that find the target, simple ones first."""
    tree = case.tree
    own = list(list_simple(tree, target))
    above = [each for each in tree.ancestors(target) if each >= case.scope][:MOST_ANCESTORS]
    for simple in own:
        yield Chain((simple,))
    telling = [(depth, each) for depth, each in enumerate(above) for _ in (0,)]
    named = [(depth, simple) for depth, each in telling for simple in list_named(tree, each)]
    for depth, outer in named:
        for simple in own[:6]:
            yield Chain((outer, simple), (False,))
            if depth == 0:
                yield Chain((outer, simple), (True,))
    if above and tree.tags[above[0]] in STRUCTURE:
        for depth, outer in named:
            if depth >= 1:
                yield Chain((outer, Simple(tag=tree.tags[above[0]]), own[-1]), (False, True))
    placed = [Simple(tag=tree.tags[target], nth=tree.places[target])]
    for step, each in enumerate(above[:3]):
        simple = Simple(tag=tree.tags[each], nth=tree.places[each])
        inner = own[-1]
        yield Chain((simple, inner), (step == 0,))
        for depth, outer in named:
            if depth > step:
                yield Chain((outer, simple, inner), (False, step == 0))
    for depth, outer in named[:8]:
        yield Chain((outer, placed[0]), (depth == 0,))


def list_simple(tree: Tree, i: int) -> Iterator[Simple]:
    """Compounds that describe one element, the telling ones first, its bare tag last."""
    node, tag = tree.nodes[i], tree.tags[i]
    for name in TELLING_ATTRIBUTES:
        value = str(node.get(name) or "")
        if TELLING_VALUE.fullmatch(value) and value not in ("nofollow", "noopener", "noreferrer"):
            yield Simple(tag=tag, attribute=(name, "=", value))
    yield from list_named(tree, i)
    if tag == "a":
        for part in list_address_parts(str(node.get("href") or "")):
            yield Simple(tag=tag, attribute=("href", "*=", part))
    yield Simple(tag=tag)


def list_named(tree: Tree, i: int) -> Iterator[Simple]:
    """By id and by classes."""
    tag, identity = tree.tags[i], str(tree.nodes[i].get("id") or "")
    if NAME.fullmatch(identity) and is_stable_class(identity):
        yield Simple(tag="", id=identity)
    names = sorted(tree.classes[i], key=lambda name: (bool(UTILITY.match(name)), len(tree.by_class[name])))[:4]
    for name in names:
        yield Simple(tag=tag, classes=(name,))
    for position, name in enumerate(names[:3]):
        for other in names[position + 1 : 4]:
            yield Simple(tag=tag, classes=(name, other))
    if tag in STRUCTURE and not names:
        yield Simple(tag=tag)


def list_address_parts(href: str) -> Iterator[str]:
    """Parts of an address that are the same on every page of its kind: `/product/`, `viewtopic.php?`, `?tid=`."""
    path, _, query = href.split("#", 1)[0].partition("?")
    path = re.sub(r"^https?://[^/]*", "", path)
    if query:
        script = path.rsplit("/", 1)[-1]
        if script and not re.search(r"\d", script):
            yield script + "?"
        for pair in query.split("&")[:3]:
            name, mark, value = pair.partition("=")
            if mark and re.fullmatch(r"[A-Za-z_]{1,20}", name):
                yield f"{name}={value}" if re.fullmatch(r"[A-Za-z]+/[A-Za-z/]+", value) else f"{name}="
    for part in path.split("/")[:-1]:
        if re.fullmatch(r"[A-Za-z][A-Za-z_-]{0,20}", part):
            yield f"/{part}/"
    script = path.rsplit("/", 1)[-1]
    found = re.match(r"([A-Za-z]+[-_])\d", script)
    if found:
        yield found[1]
