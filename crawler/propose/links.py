"""Addresses that look alike: in come the links of one column, out comes the shape that others of their kind have."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from crawler.acts import find_act
from crawler.propose.tree import Tree
from crawler.propose.words import PAGE_WORDS, PERSON, split_words

PART = re.compile(r"\d+|[^\W\d_]+")
MOST_JUDGED = 4000  # links of a page


@dataclass(frozen=True, slots=True)
class Shape:
    """Host, path segments (None where they differ) and query names that the addresses share."""

    host: str
    segments: tuple[str | None, ...]
    names: frozenset[str]

    def fits(self, url: str) -> bool:
        host, segments, names = take_apart(url)
        return (
            host == self.host
            and len(segments) == len(self.segments)
            and names >= self.names
            and all(mine is None or mine == other for mine, other in zip(self.segments, segments, strict=True))
        )

    @property
    def is_telling(self) -> bool:
        """Says more than "one segment, whatever it is"."""
        return any(self.segments) or bool(self.names)


def take_apart(url: str) -> tuple[str, tuple[str, ...], frozenset[str]]:
    try:
        parts = urlsplit(url)
        names = frozenset(f"{name}={value}" if "/" in value else name for name, value in parse_qsl(parts.query)[:10])
    except ValueError:
        return "", (), frozenset()
    segments = tuple(parts.path.strip("/").split("/"))
    return parts.netloc.lower(), segments, names


def find_shape(urls: Sequence[str]) -> Shape | None:
    """What most of the addresses have in common; None for fewer than two."""
    taken = [take_apart(url) for url in urls[:200]]
    if not taken:
        return None
    (host, length), _ = Counter((host, len(segments)) for host, segments, _ in taken).most_common(1)[0]
    alike = [each for each in taken if (each[0], len(each[1])) == (host, length)]
    if len(set(alike)) < 2 and len(alike) < 2:
        segments: tuple[str | None, ...] = tuple(
            None if re.search(r"\d", part) or number == length - 1 else part for number, part in enumerate(alike[0][1])
        )
    else:
        segments = tuple(column[0] if len(set(column)) == 1 else None for column in zip(*(s for _, s, _ in alike)))  # noqa: B905
    names = frozenset.intersection(*(names for _, _, names in alike))
    return Shape(host, segments, names)


def is_personal(url: str) -> bool:
    """Does the address lead to a person's page?"""
    parts = urlsplit(url)
    return bool(
        split_words(*parts.path.split("/")[:4], *(name for name, _ in parse_qsl(parts.query)[:4])) & (PERSON | {"u"})
    )


def is_page_of(url: str, current: str) -> bool:
    """Could this be another page of the same list: the same address but for a number or a word such as `page`?"""
    one, other = urlsplit(url), urlsplit(current)
    if one.netloc.lower() != other.netloc.lower() or url == current:
        return False
    differing = count_parts(one.path, one.query)
    differing.subtract(count_parts(other.path, other.query))
    odd = [part for part, count in differing.items() if count and not part.isdigit() and part not in PAGE_WORDS]
    return not odd and any(part.isdigit() for part, count in differing.items() if count > 0)


def count_parts(path: str, query: str) -> Counter[str]:
    return Counter(part.lower() for part in PART.findall(f"{path} {query}"[:2000]))


def page_number(url: str, current: str) -> int:
    """The number that `url` has and `current` has not; 0 if there is none."""
    one, other = urlsplit(url), urlsplit(current)
    extra = count_parts(one.path, one.query)
    extra.subtract(count_parts(other.path, other.query))
    return max(
        (int(part) for part, count in extra.items() if count > 0 and part.isdigit() and len(part) < 8), default=0
    )


def list_acts(tree: Tree) -> frozenset[int]:
    """The links of a page that a crawl leaves alone."""
    return frozenset(i for i in tree.by_tag["a"][:MOST_JUDGED] if (url := tree.link(i)) and find_act(url) is not None)
