"""Addresses of the pages of one listing: in comes one of them, out come the first page's address and the number.

`read.page_parameter` of a card is a parameter of the query (`page`), a part of the path that only further pages have
(`/page-{n}`, from `/` on), or one that the first page has too, with the number 1 (`-{n}-1.html`).
"""

import functools
import re
from urllib.parse import parse_qsl, urlsplit


def split_number(url: str, parameter: str) -> tuple[str, int]:
    """(address of the first page, which page this is). An address without a number is the first page; 0 and 1 are."""
    if not parameter:
        return url, 1
    if "{n}" in parameter:
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
    places = list(make_part(parameter).finditer(parts.path))
    if not places:
        return url, 1
    place = places[-1]
    first = "" if parameter.startswith("/") else parameter.replace("{n}", "1")
    path = parts.path[: place.start()] + first + parts.path[place.end() :]
    return parts._replace(path=path or "/").geturl(), read_number(place[1])


@functools.lru_cache(maxsize=64)
def make_part(parameter: str) -> re.Pattern[str]:
    before, after = parameter.split("{n}")
    return re.compile(f"{re.escape(before)}([0-9]{{1,9}}){re.escape(after)}" + ("" if after else "(?![0-9])"))


def read_number(text: str) -> int:
    return max(1, int(text)) if re.fullmatch("[0-9]{1,9}", text) else 1
