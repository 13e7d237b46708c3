"""Addresses of the pages of one listing: in comes one of them, out come the first page's address and the number.

`read.page_parameter` of a card is a parameter of the query (`page`), a part of the path that only further pages have
(`/page-{n}`), or one that the first page has too, with the number that stands there (`-{n=1}-1.html`).
"""

import functools
import re
from urllib.parse import parse_qsl, urlsplit

NUMBER = re.compile(r"\{n(?:=(?P<first>[01]))?\}")
NAME = re.compile(r"[\w.\[\]-]{1,50}")
PART = re.compile(r"(?=.{2,100}\Z)[^\s{}?#]*\{n(?:=[01])?\}[^\s{}?#]*")


def check_page_parameter(text: str) -> None:
    """Raises ValueError for what is neither a parameter's name nor a part of a path with a number in it."""
    if not NAME.fullmatch(text) and not (PART.fullmatch(text) and NUMBER.sub("", text)):
        raise ValueError('a name such as "page", or a part of the path such as "/page-{n}" or "-{n=1}.html"')


def split_number(url: str, parameter: str) -> tuple[str, int]:
    """(address of the first page, which page this is). An address without a number is the first page; 0 and 1 are."""
    if not parameter:
        return url, 1
    if NUMBER.search(parameter):
        return _split_path(url, parameter)
    parts = urlsplit(url)
    pieces = parts.query.split("&")
    rest = [piece for piece in pieces if piece.split("=", 1)[0] != parameter]
    if len(rest) == len(pieces):
        return url, 1
    value = dict(parse_qsl(parts.query)).get(parameter, "")
    return parts._replace(query="&".join(rest)).geturl(), read_number(value)


def _split_path(url: str, parameter: str) -> tuple[str, int]:
    parts = urlsplit(url)
    places = list(make_pattern(parameter).finditer(parts.path))
    if not places:
        return url, 1
    place, marked = places[-1], NUMBER.search(parameter)
    first = marked["first"] if marked else None
    kept = "" if first is None else NUMBER.sub(first, parameter)
    path = parts.path[: place.start()] + kept + parts.path[place.end() :]
    return parts._replace(path=path or "/").geturl(), read_number(place[1])


@functools.lru_cache(maxsize=64)
def make_pattern(parameter: str) -> re.Pattern[str]:
    """A part of a path with any number in it; `page-{n}` is not found in `homepage-2`."""
    before, after = (re.escape(part) for part in NUMBER.sub("\n", parameter).split("\n"))
    start = "(?<![A-Za-z0-9])" if parameter[0].isalnum() else ""
    return re.compile(f"{start}{before}([0-9]{{1,9}})(?![0-9]){after}")


def read_number(text: str) -> int:
    return max(1, int(text)) if re.fullmatch("[0-9]{1,9}", text) else 1
