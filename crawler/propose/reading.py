"""From fields to selectors: in come the pages that show a listing each and those that list them, out comes a `Read`."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from crawler.cards import Read
from crawler.numbers import find_price
from crawler.propose.aim import Case, Chain, Simple, aim, aim_each, escape, list_named, quote
from crawler.propose.description import aim_label, find_description
from crawler.propose.facts import Facts
from crawler.propose.fields import (
    Shown,
    find_archives,
    find_bodies,
    find_icons,
    find_images,
    find_poster,
    find_price_element,
    find_seller,
    find_title,
    is_icon,
    list_headings,
    picture_attribute,
)
from crawler.propose.groups import Group, find_authors
from crawler.propose.links import Shape
from crawler.propose.tree import Tree
from crawler.propose.words import ARCHIVE_ENDS

GENERIC_ARCHIVES = (".zip", ".rar", ".7z", ".tar.gz", ".tgz", ".tar", ".tar.xz")
MOST_IMAGE_SELECTORS = 5
MOST_TILES = 12


def read_details(pages: list[Shown], lists: Sequence[Tree], shape: Shape | None, forum: bool) -> Read | None:
    """Selectors for pages that show one listing each; None where not even titles can be found."""
    icons = find_icons([page.tree for page in pages], 2 if forum else 4)
    bodies = find_bodies(pages) if forum else {}
    for number, page in enumerate(pages):
        if not forum:
            page.posts = ()
        others = [each.tree for each in pages if each is not page]
        page.common = frozenset().union(*map(list_headings, [*lists, *others]))
        page.title = find_title(page)
        if forum:
            page.seller = find_poster(page)
            page.description = next(iter(bodies.get(number, {}).values()), -1)
        else:
            page.price = find_price_element(page)
            page.seller = find_seller(page)
            page.description = find_description(page)
        page.images = find_images(page, shape, icons)
    shown = [page for page in pages if page.title >= 0]
    if not shown:
        return None
    listing, scopes = find_container(shown, lists)
    title = aim_text(shown, scopes, "title")
    if not title:
        return None
    body = aim_bodies(pages, shown, scopes, bodies) if forum else ""
    read = Read(
        listing=listing,
        title=title,
        seller=aim_text(shown, scopes, "seller"),
        price=aim_text(shown, scopes, "price"),
        description=body or aim_label(shown) or aim_text(shown, scopes, "description"),
        image=aim_images(shown, scopes, body, icons),
        archive=aim_archives(shown, scopes),
    )
    posts = aim([Case(page.tree, 0, frozenset(page.posts)) for page in shown]) if forum else ""
    return keep_off_lists(read, lists, posts)


def aim_text(pages: Sequence[Shown], scopes: Sequence[int], name: str) -> str:
    shown = [(page.tree, scope, getattr(page, name)) for page, scope in zip(pages, scopes, strict=True)]
    cases = [Case(tree, scope, frozenset({i})) for tree, scope, i in shown if i >= 0 and tree.contains(scope, i)]
    exact = aim(cases, first=True)
    return exact or aim_each(
        [Case(case.tree, case.scope, list_same(case.tree, case.scope, *case.targets)) for case in cases]
    )


def list_same(tree: Tree, scope: int, i: int) -> frozenset[int]:
    """The element and those around and inside it that hold the same text."""
    same = {i}
    for above in tree.ancestors(i, 4):
        if above <= scope or tree.texts[above] != tree.texts[i] or tree.tags[above] in ("li", "td", "tr"):
            break
        same.add(above)
    same.update(each for each in range(i + 1, min(tree.ends[i], i + 6)) if tree.texts[each] == tree.texts[i])
    return frozenset(same)


def keep_off_lists(read: Read, lists: Sequence[Tree], posts: str) -> Read:
    """A list page must show no listing of its own: where it would, the container asks for what only listings have."""
    if not any(shows_listing(tree, read.listing, read.title) for tree in lists):
        return read
    for inner in (posts, read.price, read.description, read.image.split("::")[0], read.seller):
        if inner and "," not in inner and "~" not in inner and not any(tree.root.css(inner) for tree in lists):
            return replace(read, listing=f"{read.listing}:has({inner})")
    return read


def shows_listing(tree: Tree, listing: str, title: str) -> bool:
    return any(element.css(title) for element in tree.root.css(listing)[:20])


# -- the element around a listing -------------------------------------------------------------------------------------


def find_container(pages: Sequence[Shown], lists: Sequence[Tree]) -> tuple[str, list[int]]:
    """(selector, the element it finds on each page): the smallest stable one around all fields."""
    inner = [find_common(page) for page in pages]
    best: tuple[float, str, list[int]] | None = None
    for page, common in zip(pages[:3], inner, strict=False):
        for depth, i in enumerate([common, *page.tree.ancestors(common)]):
            for simple in list_containers(page.tree, i):
                chain = Chain((simple,))
                scopes = [pick_scope(chain, each.tree, want) for each, want in zip(pages, inner, strict=True)]
                if -1 in scopes:
                    continue
                strays = sum(bool(chain.find(tree, 0)) for tree in lists)
                cost = 0.35 * depth + simple.cost() + 1.5 * bool(strays) + (1.0 if simple.tag in ("td", "tr") else 0.0)
                if best is None or cost < best[0]:
                    best = cost, chain.css(), scopes
    if best is not None and best[0] < 9:
        return best[1], best[2]
    bodies = [next(iter(page.tree.by_tag["body"]), 0) for page in pages]
    return "body", bodies


def list_containers(tree: Tree, i: int) -> Iterable[Simple]:
    if tree.tags[i] in ("main", "article"):
        yield Simple(tag=tree.tags[i])
    if tree.tags[i] in ("html", "tr", "tbody", "span", "p", "a", "h1", "h2"):
        return
    for simple in list_named(tree, i):
        if simple.id or simple.classes:
            yield simple


def pick_scope(chain: Chain, tree: Tree, wanted: int) -> int:
    """The one element found, if it is around all fields; -1 otherwise."""
    found = chain.find(tree, 0)
    return found[0] if len(found) == 1 and tree.contains(found[0], wanted) else -1


def find_common(page: Shown) -> int:
    """The deepest element around all fields."""
    tree = page.tree
    parts = [page.title, page.seller, page.price, page.description, *page.images[:100], *page.posts]
    parts += find_archives(tree, 0)[:20] if not page.posts else []
    known = [part for part in parts if part >= 0 and not tree.aside[part]] or [page.title]
    low, high = min(known), max(known)
    i = low
    while i >= 0 and not tree.contains(i, high):
        i = tree.parents[i]
    return tree.parents[i] if i in known and tree.parents[i] >= 0 else max(0, i)


# -- texts of posts, pictures, archives -------------------------------------------------------------------------------


def aim_bodies(
    pages: Sequence[Shown], shown: Sequence[Shown], scopes: Sequence[int], bodies: dict[int, dict[int, int]]
) -> str:
    """One selector for the texts of all posts."""
    cases = []
    for number, page in enumerate(pages):
        if page in shown and bodies.get(number):
            scope = scopes[[id(each) for each in shown].index(id(page))]
            cases.append(Case(page.tree, scope, frozenset(bodies[number].values())))
    return aim(cases)


def aim_images(pages: Sequence[Shown], scopes: Sequence[int], body: str, icons: frozenset[str]) -> str:
    """Selectors of the pictures' addresses, one for each place they stand at."""
    inside = [find_inside(page.tree, scope, body) for page, scope in zip(pages, scopes, strict=True)] if body else []
    kinds: dict[tuple[str, str], list[Case]] = defaultdict(list)
    for number, (page, scope) in enumerate(zip(pages, scopes, strict=True)):
        places: dict[tuple[str, str], set[int]] = defaultdict(set)
        for i in page.images:
            if not page.tree.contains(scope, i) or (body and i in inside[number]):
                continue
            places[describe_place(page.tree, i)].add(i)
        for key, targets in places.items():
            kinds[key].append(Case(page.tree, scope, frozenset(targets)))
    found = list_body_images(pages, inside, body, icons) if body else []
    for (attribute, _place), cases in sorted(kinds.items(), key=lambda item: -sum(len(c.targets) for c in item[1])):
        selector = aim(cases)
        if selector:
            around = ":has(img)" if attribute == "href" else ""  # links to other files may look the same
            found.append(f"{selector}{around}::attr({attribute})")
    return ", ".join(list(dict.fromkeys(found))[:MOST_IMAGE_SELECTORS])


def describe_place(tree: Tree, i: int) -> tuple[str, str]:
    attribute = "href" if tree.tags[i] == "a" else picture_attribute(tree, i) or "src"
    named = next((tree.classes[each][0] for each in [i, *tree.ancestors(i, 4)] if tree.classes[each]), "")
    return attribute, named


def find_inside(tree: Tree, scope: int, selector: str) -> set[int]:
    """Indices of everything inside the elements that a selector finds."""
    places = {node: i for i, node in enumerate(tree.nodes)}
    outer = [places[each.root] for each in tree.root.css(selector)[:500] if each.root in places]
    return {i for start in outer if tree.contains(scope, start) for i in range(start + 1, tree.ends[start])}


def list_body_images(pages: Sequence[Shown], inside: list[set[int]], body: str, icons: frozenset[str]) -> list[str]:
    """Pictures inside the text of posts; asked for even where the pages looked at have none."""
    attributes: dict[str, int] = defaultdict(int)
    links: list[Case] = []
    unwanted: dict[str, None] = {}
    for page, within in zip(pages, inside, strict=True):
        tree = page.tree
        for i in page.images:
            if i in within and tree.tags[i] == "img":
                attributes[picture_attribute(tree, i) or "src"] += 1
        anchors = frozenset(i for i in page.images if i in within and tree.tags[i] == "a")
        if anchors:
            links.append(Case(tree, 0, anchors))
        for i in tree.by_tag["img"]:
            if i in within and is_icon(tree, i, icons):
                unwanted |= dict.fromkeys(describe_icon(tree, i))
    no = "".join(f":not({each})" for each in list(unwanted)[:4])
    found: list[str] = []
    for attribute in sorted(attributes, key=lambda name: name == "src") or ["src"]:
        if links:
            found += [f"{body} > img{no}::attr({attribute})", f"{body} :not(a) > img{no}::attr({attribute})"]
        else:
            other = (
                "" if len(attributes) < 2 or attribute != "src" else f":not([{next(iter(set(attributes) - {'src'}))}])"
            )
            found.append(f"{body} img{no}{other}::attr({attribute})")
    if links:
        selector = aim(links)
        if selector:
            found.insert(0, f"{selector}:has(img)::attr(href)")
    return found


def describe_icon(tree: Tree, i: int) -> list[str]:
    """What tells an icon in a text from a picture: its class, or the folder it lies in."""
    if tree.classes[i]:
        return [f".{escape(tree.classes[i][0])}"]
    folder = tree.get(i, "src").split("?", 1)[0].rpartition("/")[0].rpartition("/")[2]
    return [f"[src*={quote(f'/{folder}/')}]"] if folder.isalpha() else []


def aim_archives(pages: Sequence[Shown], scopes: Sequence[int]) -> str:
    """Links to archives: the ones seen, and whatever ends like one."""
    cases = [
        Case(page.tree, scope, frozenset(find_archives(page.tree, scope)))
        for page, scope in zip(pages, scopes, strict=True)
    ]
    odd = [
        replace_targets(case, [i for i in case.targets if not case.tree.link(i).lower().endswith(ARCHIVE_ENDS)])
        for case in cases
    ]
    found = [f"a[href$={quote(end)}]::attr(href)" for end in GENERIC_ARCHIVES]
    selector = aim([case for case in odd if case.targets])
    if selector:
        found.insert(0, f"{selector}::attr(href)")
    elif any(case.targets for case in odd):
        found = [*(f"a:contains({quote(end)})::attr(href)" for end in (".zip", ".rar", ".7z", ".tar")), *found]
    return ", ".join(found)


def replace_targets(case: Case, targets: Iterable[int]) -> Case:
    return Case(case.tree, case.scope, frozenset(targets))


# -- listings that stand on the list itself ---------------------------------------------------------------------------


def read_tiles(tree: Tree, group: Group) -> Read | None:
    """Selectors for a list whose items are the listings."""
    listing = aim([Case(tree, 0, frozenset(group.members))])
    members = [i for i in group.members if i in group.column.links][:MOST_TILES]
    if not listing or not members:
        return None
    links = [Case(tree, i, frozenset({group.column.links[i]})) for i in members]
    link = aim(links, first=True)
    titles = [Case(tree, i, frozenset({find_tile_title(tree, i, group.column.links[i])})) for i in members]
    title = aim([case for case in titles if -1 not in case.targets], first=True)
    if not link or not title:
        return None
    parts = [make_part(tree, i, group.column.links[i]) for i in members]
    images = [Case(tree, i, frozenset(part.images)) for i, part in zip(members, parts, strict=True) if part.images]
    attribute = describe_place(tree, min(images[0].targets))[0] if images else "src"
    image = aim(images) if images else ""
    return Read(
        listing=listing,
        title=title,
        link=f"{link}::attr(href)",
        price=aim_part(tree, members, [part.price for part in parts]),
        seller=aim_part(tree, members, [part.seller for part in parts]),
        image=f"{image}::attr({attribute})" if image else "",
    )


def find_tile_title(tree: Tree, member: int, link: int) -> int:
    if tree.texts[link] >= 2:
        return link
    headings = [i for i in range(member, tree.ends[member]) if tree.texts[i] >= 4 and tree.tags[i] not in ("style",)]
    return headings[-1] if headings else -1


def make_part(tree: Tree, member: int, title: int) -> Shown:
    """One tile, looked at as if it were a page."""
    part = Shown(tree=tree, facts=Facts(), title=title)
    priced = [i for i in range(member + 1, tree.ends[member]) if tree.texts[i] <= 60 and find_price(tree.text(i, 60))]
    part.price = priced[-1] if priced else -1
    part.seller = next((i for i in find_authors(tree, member) if i != title), -1)
    part.images = [i for i in tree.inside(member, "img") if not is_icon(tree, i, frozenset())]
    return part


def aim_part(tree: Tree, members: Sequence[int], found: Sequence[int]) -> str:
    cases = [Case(tree, member, frozenset({i})) for member, i in zip(members, found, strict=True) if i >= 0]
    return aim(cases, first=True) if len(cases) >= 0.5 * len(members) else ""
