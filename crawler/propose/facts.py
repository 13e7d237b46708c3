"""What a page says of itself for machines: in comes a tree, out come JSON-LD, microdata and OpenGraph as one record.

Nothing here is believed: it says what to look for in the page, since a card's selectors read elements.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lxml.html import HtmlElement

from crawler.propose.tree import Tree

MOST_SCRIPT = 400_000  # characters of JSON-LD
MOST_SCRIPTS = 40
MOST_SCOPES = 150  # microdata items
MOST_NODES = 4000
MOST_DEPTH = 6  # of nested microdata items
MOST_METAS = 400
SCRIPT_EDGE = re.compile(
    r"^\s*(?:<!--|/\*\s*<!\[CDATA\[\s*\*/|//\s*<!\[CDATA\[)|(?:-->|/\*\s*\]\]>\s*\*/|//\s*\]\]>)\s*$"
)
ITEMS = {"product": "shop", "offer": "shop", "productgroup": "shop", "individualproduct": "shop",
         "discussionforumposting": "forum", "qapage": "forum", "question": "forum", "imageobject": "gallery",
         "photograph": "gallery", "imagegallery": "gallery"}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """`count` items are described; the fields are those of the first."""

    kind: str = ""  # shop, forum, gallery, or nothing
    count: int = 0
    title: str = ""
    seller: str = ""
    price: str = ""
    currency: str = ""
    description: str = ""
    images: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()  # json-ld, microdata, opengraph

    @property
    def price_text(self) -> str:
        return f"{self.price} {self.currency}".strip() if self.price else ""


def find_facts(tree: Tree) -> Facts:
    items: list[dict[str, Any]] = []
    sources: list[str] = []
    for name, found in (("json-ld", read_scripts(tree)), ("microdata", read_microdata(tree))):
        told = [item for item in walk(found) if type_of(item) in ITEMS]
        if told:
            sources.append(name)
            items += told
    graph = read_graph(tree)
    if graph.get("og:title"):
        sources.append("opengraph")
    products = [item for item in items if ITEMS[type_of(item)] != "gallery"] or items
    offers = {"offer"}
    whole = [item for item in products if type_of(item) not in offers] or products
    if not whole:
        return facts_of_graph(graph, sources)
    item = whole[0]
    offer = next(walk(item.get("offers")), item)
    return Facts(
        kind=ITEMS[type_of(item)],
        count=len({name_of(each) for each in whole}),
        title=name_of(item) or graph.get("og:title", ""),
        seller=text_of(offer.get("seller"))
        or text_of(item.get("author"))
        or text_of(item.get("seller"))
        or text_of(item.get("brand")),
        price=text_of(offer.get("price")) or text_of(offer.get("lowPrice")),
        currency=text_of(offer.get("priceCurrency")),
        description=text_of(item.get("description")) or text_of(item.get("text")) or text_of(item.get("articleBody")),
        images=tuple(list_images(item.get("image"))) or tuple(filter(None, [graph.get("og:image", "")])),
        sources=tuple(sources),
    )


def facts_of_graph(graph: dict[str, str], sources: list[str]) -> Facts:
    kind = "shop" if "product" in graph.get("og:type", "") or graph.get("product:price:amount") else ""
    return Facts(
        kind=kind,
        count=int(bool(kind)),
        title=graph.get("og:title", ""),
        price=graph.get("product:price:amount", "") or graph.get("og:price:amount", ""),
        currency=graph.get("product:price:currency", "") or graph.get("og:price:currency", ""),
        description=graph.get("og:description", ""),
        images=tuple(filter(None, [graph.get("og:image", "")])),
        sources=tuple(sources),
    )


def read_scripts(tree: Tree) -> list[Any]:
    scripts = [i for i in tree.by_tag["script"] if tree.get(i, "type").lower() == "application/ld+json"]
    if len(scripts) > MOST_SCRIPTS or sum(len(tree.nodes[i].text or "") for i in scripts) > MOST_SCRIPT:
        scripts = []
    found: list[Any] = []
    for i in scripts:
        try:
            found.append(json.loads(SCRIPT_EDGE.sub("", tree.nodes[i].text or ""), strict=False))
        except (ValueError, RecursionError):
            continue  # not JSON, or deeper than Python follows
    return found


def read_microdata(tree: Tree) -> list[Any]:
    if not 0 < sum(1 for node in tree.nodes if node.get("itemscope") is not None) <= MOST_SCOPES or tree.cut:
        return []
    return [
        read_item(node) for node in tree.nodes if node.get("itemscope") is not None and node.get("itemprop") is None
    ]


def read_item(scope: HtmlElement, depth: int = 0) -> dict[str, Any]:
    """One microdata item (HTML standard, section 5.2.5): its type, and its properties, nested items among them."""
    found: dict[str, Any] = {}
    stack = list(reversed(scope))
    while stack and depth < MOST_DEPTH:
        node = stack.pop()
        name, nested = node.get("itemprop"), node.get("itemscope") is not None
        if name:
            found.setdefault(name.split()[0], read_item(node, depth + 1) if nested else read_value(node))
        if not nested:
            stack += reversed(node)
    return {"type": scope.get("itemtype", ""), "properties": found}


def read_value(node: HtmlElement) -> str:
    """What a property says: the attribute that its element keeps it in, else its text."""
    for name in ("content", "src", "href", "datetime"):
        if node.get(name):
            return str(node.get(name))
    return " ".join("".join(node.itertext()).split())[:5000]


def read_graph(tree: Tree) -> dict[str, str]:
    """OpenGraph (ogp.me): the first value of each property."""
    found: dict[str, str] = {}
    for i in tree.by_tag["meta"][:MOST_METAS]:
        name, value = tree.get(i, "property"), tree.get(i, "content")
        if name.startswith(("og:", "product:")) and value:
            found.setdefault(name, value[:5000])
    return found


def walk(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a JSON value, outer before inner; microdata items as if they were JSON-LD."""
    stack, seen = [value], 0
    while stack and seen < MOST_NODES:
        each = stack.pop()
        seen += 1
        if isinstance(each, dict):
            inner = each.get("properties")
            yield {**inner, "@type": each.get("type", "")} if isinstance(inner, dict) else each
            stack += reversed(list((inner if isinstance(inner, dict) else each).values())[:200])
        elif isinstance(each, list):
            stack += reversed(each[:500])


def type_of(item: dict[str, Any]) -> str:
    kind = item.get("@type", "")
    kinds = kind if isinstance(kind, list) else [kind]
    texts = [each for each in kinds[:5] if isinstance(each, str)]
    names = [each.rsplit("/", 1)[-1].rsplit("#", 1)[-1].lower() for each in texts]
    return next((name for name in names if name in ITEMS), "")


def name_of(item: dict[str, Any]) -> str:
    return text_of(item.get("name")) or text_of(item.get("headline"))


def text_of(value: Any) -> str:
    """The text in a JSON-LD value: itself, its name, or the first of a list."""
    for _ in range(4):
        if isinstance(value, list):
            value = value[0] if value else ""
        elif isinstance(value, dict):
            inner = value.get("properties")
            value = (inner if isinstance(inner, dict) else value).get("name", "")
        else:
            break
    return " ".join(str(value).split())[:5000] if isinstance(value, str | int | float) else ""


def list_images(value: Any) -> Iterator[str]:
    for each in (value if isinstance(value, list) else [value])[:50]:
        if isinstance(each, str):
            yield each
        elif isinstance(each, dict):
            yield text_of(each.get("contentUrl") or each.get("url"))
