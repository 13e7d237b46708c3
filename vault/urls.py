"""Addresses as logs, rows and the ledger show them: in comes an address or a text with addresses, out comes the same
without what could be a token: values of the query, user and password, fragment, and random letters in the path."""

import re
from urllib.parse import unquote

HIDDEN = "…"
SHORTEST_RANDOM = 20  # letters; a shorter part of a path is shown
LEAST_NEIGHBOURS = 14  # pairs of letters or digits side by side; fewer say nothing
LEAST_CHANGES = 0.22  # of these, the share that changes its kind: 0.4 in random letters, 0.2 in CamelCaseWords
RANDOM_HEX = re.compile(r"[0-9a-f]{20,}|[0-9A-F]{20,}")
ALPHABET = re.compile(r"[A-Za-z0-9+/=._~-]+")
CHANGE = re.compile(r"(?<=[a-z])[A-Z0-9]|(?<=[A-Z])[0-9]|(?<=[0-9])[A-Za-z]")
NEIGHBOURS = re.compile(r"(?<=[A-Za-z0-9])[A-Za-z0-9]")
ABSOLUTE = re.compile(r"(?P<head>[A-Za-z][A-Za-z0-9+.-]{0,20}://)(?P<rest>[^\s\"'<>\\^`{|}]+)")
BARE = re.compile(r"\b((?:about|blob|data|javascript|magnet|mailto|tel|tg|urn|vbscript|view-source):)[^\s\"'<>]+", re.I)
QUERY = re.compile(r"\?[^\s\"'<>]+")
PAIR = re.compile(r"(?P<mark>[?&;])(?P<name>[^=&;]*)(?P<value>=[^&;]*)?")
MATRIX = re.compile(r";(?P<name>[^=;/]*)=[^;/]*")


def show_url(url: str) -> str:
    """`https://a.example/t/5?page=…&key=…` of an address; the part that names a host is kept but for user and
    password."""
    if found := BARE.match(url):
        return found[1] + HIDDEN
    head, mark, rest = url.partition("://")
    if not mark:
        head, rest = "", url
    place, _, _fragment = rest.partition("#")
    place, question, query = place.partition("?")
    host, slash, path = place.partition("/") if mark else ("", "", place)
    path = "/".join(hide_part(part) for part in MATRIX.sub(rf";\g<name>={HIDDEN}", path).split("/"))
    return f"{head}{mark}{host.rpartition('@')[2]}{slash}{path}{hide_values(question + query) if question else ''}"


def hide_urls(text: str) -> str:
    """A text, such as an error of a library, in which every address is shown by `show_url`."""
    text = BARE.sub(rf"\1{HIDDEN}", ABSOLUTE.sub(lambda found: show_url(found[0]), text))
    return QUERY.sub(lambda found: hide_values(found[0]), text)


def hide_values(query: str) -> str:
    """`?id=…&key=…` of a query with its question mark; what has no name is shown where it is short and no token."""
    return PAIR.sub(lambda found: found["mark"] + hide_pair(found["name"], found["value"]), query)


def hide_pair(name: str, value: str | None) -> str:
    return hide_part(name) + (f"={HIDDEN}" if value and value != "=" else value or "")


def hide_part(part: str) -> str:
    return HIDDEN if looks_random(unquote(part)) else part


def looks_random(text: str, shortest: int = SHORTEST_RANDOM) -> bool:
    """Letters and digits in no order, as tokens have them; words, titles, dates and numbers are none."""
    bare = re.sub(r"\.[A-Za-z][A-Za-z0-9]{0,4}\Z", "", text)  # the end of a file's name
    if len(bare) < shortest or not ALPHABET.fullmatch(bare):
        return False
    found = RANDOM_HEX.search(bare)
    if found and len(found[0]) >= shortest and not (found[0].isdigit() or found[0].isalpha()):
        return True
    neighbours = len(NEIGHBOURS.findall(bare))
    return neighbours >= LEAST_NEIGHBOURS and len(CHANGE.findall(bare)) >= LEAST_CHANGES * neighbours
