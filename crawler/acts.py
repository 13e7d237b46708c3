"""A crawl reads and never acts: in comes an address found on a site, out comes why it is left alone, or nothing.

To ask for an address may vote, buy, subscribe or log out, on many sites by GET. Such links show it by a token (a key of
the session that is to prove that a person clicked) or by what they say is done, in a parameter, a value, a script or a
part of the path. The words are in `acts.toml`. Whatever is not known to act is read.
"""

import dataclasses
import functools
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, unquote_plus

from crawler.visits import names_visit
from vault.letters import count_of
from vault.toml import read_record
from vault.urls import looks_random, show_url

PAIR = tuple[str, str]
FREE = frozenset[tuple[str, str | None]]  # parameters with the value that is meant, or None for any
MOST_PIECES = 200  # of a query that are looked at
LONGEST_WORD = 30  # letters of a verb and its object written together
LONG_VALUE = 24  # letters of a random value under a name that does not say what it is
HEX = re.compile(r"(?<![0-9a-f])[0-9a-f]{32,}(?![0-9a-f])|(?<![0-9A-F])[0-9A-F]{32,}(?![0-9A-F])")
UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
SHORT_NUMBER = re.compile(r"[0-9]{1,6}")
NUMBER = re.compile(r"[0-9]+|[0-9a-fA-F]{8,}|[0-9a-fA-F-]{36}")
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+|[^\W\d_a-zA-Z]+")
NUMBERED = re.compile(r"[^.]+\.[0-9]+")  # /forums/buy.12/: a title and its number
YEAR = re.compile(r"(?:19|20)[0-9]{2}\Z")
MARKS = re.compile(r"[\W_]+")
PARTS = re.compile(r"[/.:,|!]+")
STATIC_ACTS = frozenset(("delete", "remove", "logout", "unsubscribe", "addtocart", "markread", "vote"))
ALWAYS_ACTS = frozenset(("logout", "logoff", "signout", "unsubscribe", "addtocart", "markread", "delete"))


class ActKind(StrEnum):
    """Why an address is not asked for."""

    ACTION = "action"
    TOKEN = "token"  # noqa: S105


KIND_TEXT = {ActKind.ACTION: "that would do something", ActKind.TOKEN: "with a token of the session"}
LOGINS = ("login", "logon", "logging", "signin", "登录", "登陆", "denglu", "anmelden", "vhod", "connexion")
MOST_KNOWN = 100_000  # addresses that are told from each other


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftAlone:
    """A link that is not followed. `word`: what gave it away; `shown`: its address without values."""

    kind: ActKind
    word: str
    shown: str

    @property
    def is_login(self) -> bool:
        """Does it lead to a login, so that a page which redirects to it is behind one?"""
        return self.kind is ActKind.ACTION and any(each in self.word for each in LOGINS)


class Tally:
    """Counts the addresses that are left alone, each once, with one example of each kind."""

    def __init__(self) -> None:
        self._known: set[int] = set()
        self.counts: Counter[ActKind] = Counter()
        self.examples: dict[ActKind, LeftAlone] = {}

    def note(self, found: Iterable[LeftAlone]) -> None:
        for each in found:
            mark = hash((each.word, each.shown))
            if mark not in self._known:
                self.counts[each.kind] += 1
                self.examples.setdefault(each.kind, each)
                if len(self._known) < MOST_KNOWN:
                    self._known.add(mark)

    def show(self) -> list[str]:
        """A line for each kind."""
        links = {kind: count_of(count, "link") for kind, count in self.counts.items()}
        return [
            f"left alone: {links[kind]} {KIND_TEXT[kind]}, for example {each.word}: {each.shown}"
            for kind, each in sorted(self.examples.items())
        ]


@dataclass(frozen=True, kw_only=True, slots=True)
class WordLists:
    """The lists of `acts.toml`, each of words between spaces."""

    token: str
    no_token: str
    cursor: str
    identifier: str
    token_path: str
    action_name: str
    place_name: str
    mild_place: str
    text_name: str
    text_path: str
    strong: str
    weak: str
    value: str
    anywhere: str
    script: str
    area: str
    trailing: str
    verb: str
    mild: str
    object: str
    new_object: str
    before_verb: str
    reading: str
    reading_end: str
    static_end: str
    script_end: str


@functools.cache
def load_words() -> dict[str, frozenset[str]]:
    """The lists by their names, and what follows from them."""
    lists = read_record(WordLists, Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    words = {field.name: frozenset(getattr(lists, field.name).split()) for field in dataclasses.fields(lists)}
    clear = words["verb"] - words["mild"]  # verbs that as a whole value are an order
    return words | {
        "verb_or_act": words["verb"] | words["strong"],
        "act_by_name": words["strong"] | words["weak"] | {"watch", "mark", "unmark"},
        "act_by_value": words["strong"] | words["weak"] | words["value"] | clear,
        "act_by_place": words["strong"] | words["weak"] | words["area"],
        "act_by_mild_place": STATIC_ACTS | words["anywhere"],
        "behind": clear | {"order", "pay"},
        "program": words["script_end"] - {"html", "htm"},
    }


@functools.lru_cache(maxsize=20_000)  # most links of a page stand on the next one too
def find_act(url: str, *, chosen: bool = False, static: bool = False, free: FREE = frozenset()) -> LeftAlone | None:
    """Why this address is left alone, None for one that reads. `chosen`: a selector of the card names it as a picture
    or an archive, so that it may carry a token; `static`: it is a folder that a web server lists; `free`: parameters
    that an approver wrote into the card."""
    place, _, query = url.partition("#")[0].partition("?")
    folders = [part for part in unquote(place.partition("://")[2].partition("/")[2]).split("/") if part]
    pairs = [
        (name, value)
        for name, value in split_query(query)
        if (name, value) not in free and (name, None) not in free and not names_visit(name, value)
    ]
    word = find_action(folders, pairs, static=static)  # of both, what is done says more
    if word:
        return LeftAlone(kind=ActKind.ACTION, word=word, shown=show_url(url))
    word = "" if chosen else find_token(folders, pairs)
    return LeftAlone(kind=ActKind.TOKEN, word=word, shown=show_url(url)) if word else None


def split_query(query: str) -> list[PAIR]:
    """Names and values, whichever of & and ; stands between them."""
    pieces = re.split("[&;]", query, maxsplit=MOST_PIECES)[:MOST_PIECES]
    pairs = (piece.partition("=") for piece in pieces if piece)
    return [(unquote_plus(name), unquote_plus(value)) for name, _, value in pairs]


@functools.lru_cache(maxsize=5000)
def split_words(text: str) -> list[str]:
    return [word.lower() for word in WORD.findall(text)]


@functools.lru_cache(maxsize=5000)
def join_words(text: str) -> str:
    """`Add-To_cart2` as `addtocart2`."""
    return MARKS.sub("", text).lower()


# -- tokens -----------------------------------------------------------------------------------------------------------


def find_token(folders: list[str], pairs: list[PAIR]) -> str:
    """The name of what carries one."""
    words = load_words()
    for name, value in pairs:
        if names_token(name, value) or is_token(name, value):
            return name[:40] or "?"
    before = ""
    for folder in folders:
        parts = folder.split(",") if "," in folder else folder.split(";")
        if before in words["token_path"] and (HEX.search(folder) or looks_random(folder, LONG_VALUE)):
            return before
        if len(folders) == 1 and HEX.fullmatch(folder):
            return "path"
        if any(names_token(*each.partition("=")[::2]) for each in parts[1:] if "=" in each):
            return "path"
        before = join_words(folder)
    return ""


def names_token(name: str, value: str) -> bool:
    """Does a parameter's name say that its value lets somebody in? A key may be a short number: that is an item's."""
    words, whole = load_words(), join_words(name)
    if whole in words["no_token"] or whole in words["cursor"]:
        return False
    if whole == "key" and SHORT_NUMBER.fullmatch(value):
        return False
    parts = split_words(name)
    return not words["token"].isdisjoint([*parts, whole]) or whole.endswith(
        ("token", "csrf", "nonce", "hash", "sesskey", "postkey", "authkey", "formkey", "secret", "signature")
    )


def is_token(name: str, value: str) -> bool:
    """Does a value look like one, under a name that does not say what it is?"""
    words, whole = load_words(), join_words(name)
    if UUID.fullmatch(value) or whole in words["cursor"] or is_identifier(name):
        return False
    told = value if len(value) > 1 else name  # ?0123456789abcdef0123456789abcdef=1
    return HEX.search(told) is not None or looks_random(told, LONG_VALUE)


def is_identifier(name: str) -> bool:
    words = load_words()["identifier"]
    parts = split_words(name)
    return join_words(name) in words or (len(parts) > 1 and len(parts[-1]) > 1 and parts[-1] in words)


# -- actions ----------------------------------------------------------------------------------------------------------


def find_action(folders: list[str], pairs: list[PAIR], *, static: bool = False) -> str:
    """The word that says what would be done."""
    found = (*list_in_path(folders, asked=bool(pairs), static=static), *(act_of_pair(*pair) for pair in pairs))
    return next(filter(None, found), "")


def list_in_path(folders: list[str], *, asked: bool = False, static: bool = False) -> Iterator[str]:
    """A word or nothing for each part of a path. `asked`: a query follows it; `static`: it is a folder on a disk."""
    names = [part for folder in folders for part in split_folder(folder)]
    static = static or (bool(folders) and find_end(folders[-1]) in load_words()["static_end"])
    for number, (name, end) in enumerate(names):
        whole = join_words(name)
        if static:
            yield whole if whole in STATIC_ACTS else ""
        else:
            around = Around([each for each, _ in names[:number]], [each for each, _ in names[number + 1 :]], asked)
            yield act_of_part(name, end, around)


def split_folder(folder: str) -> list[tuple[str, str]]:
    """The names in one part of a path, each with the end of a script's name: index.php; topic,12.0; a;action=b."""
    end = find_end(folder)
    name = folder[: -len(end) - 1] if end in load_words()["script_end"] else folder
    return [(each, end) for each in re.split("[,;=!]", name) if each]


def find_end(name: str) -> str:
    """The letters behind the last dot, `php`."""
    return name.rpartition(".")[2].lower() if "." in name else ""


class Around(NamedTuple):
    """What stands before and behind a part of a path, and whether a query does."""

    before: list[str]
    after: list[str]
    asked: bool

    @property
    def has_object(self) -> bool:
        """Is there anything that could be done something to: a number, a code, a query, a name below a name?"""
        if self.after:
            return all(NUMBER.fullmatch(each) or is_short_code(each) or is_verb_phrase([each]) for each in self.after)
        return self.asked or len(self.before) > 1 or any(map(str.isdigit, "".join(self.before[-1:])))


def act_of_part(name: str, end: str, around: Around) -> str:
    words, whole = load_words(), join_words(name)
    bare = whole if YEAR.search(whole) else whole.rstrip("0123456789")  # reply-12.html, but report-2026.html
    before = around.before[-1] if around.before else ""
    script = end in words["program"]
    if join_words(before) in words["text_path"] or NUMBERED.fullmatch(name):
        return ""
    if bare in words["strong"]:
        return whole
    if bare in words["weak"] and (script or bare != whole or around.has_object):
        return whole
    if not around.after and whole in words["trailing"] and any(map(str.isdigit, before)):
        return whole
    parts = split_words(name)
    if script and (whole in words["script"] or names_door(parts)):
        return whole
    if name.lower().startswith("do_") and is_verb_phrase(parts[1:]):
        return whole
    return whole if names_deed(parts) and (script or len(parts) == 2) else ""


def names_door(parts: list[str]) -> bool:
    """Is one of the words, or the beginning of the first one, where a session begins or ends, or money is paid?"""
    anywhere = load_words()["anywhere"]
    first = parts[0] if parts else ""
    return not anywhere.isdisjoint(parts) or first.startswith(tuple(anywhere)) or first.endswith(tuple(anywhere))


def is_short_code(part: str) -> bool:
    """`a1B2c3`: an item's name without a word in it."""
    return len(part) <= 12 and part.isalnum() and any(map(str.isdigit, part)) and part.isascii()


def names_deed(parts: list[str]) -> bool:
    """A verb and what it is done to: delete_post, sendMessage, mark-all-read; not new-posts, which shows them."""
    words = load_words()
    if len(parts) < 2 or parts[0] not in words["verb"]:
        return False
    objects = words["new_object"] if parts[0] in ("new", "start", "make") else words["object"]
    return parts[-1] in objects and (
        len(parts) == 2 or parts[1] in ("to", "from", "as", "all", "my", "a", "new", "the")
    )


def is_verb_phrase(parts: list[str]) -> bool:
    return bool(parts) and parts[0] in load_words()["verb_or_act"]


def act_of_pair(name: str, value: str) -> str:
    """A parameter whose name says what is done, or whose value does."""
    words, whole = load_words(), join_words(name)
    if whole in words["action_name"]:
        return next(filter(None, map(act_of_value, PARTS.split(value)[:8])), "")
    if whole in words["place_name"] and (found := act_of_place(value, whole)):
        return found
    if not value and re.search("[/,]", name):  # index.php?threads/x.12/watch
        return next(filter(None, list_in_path(name.split("/"))), "")
    if whole in words["text_name"] or whole in words["place_name"]:
        return ""
    if names_act(name, value):
        return whole
    told = join_words(value)
    return told if told in ALWAYS_ACTS or (told in words["strong"] and len(told) > 8) else ""


def names_act(name: str, value: str) -> bool:
    """?vote=5, ?add-to-cart=12, ?do_vote=1, ?markread; not ?order=price, which sorts."""
    words, whole = load_words(), join_words(name)
    if whole in ("order", "orders", "bid", "post", "open", "close", "msg", "gift", "track", "like"):
        return whole == "like" and SHORT_NUMBER.fullmatch(value) is not None
    if whole in words["act_by_name"]:
        return value.lower() not in ("false", "no", "off", "none")
    parts = split_words(name)
    return name.lower().startswith("do_") or names_deed(parts) or whole.endswith(("logout", "logoff", "signout"))


def act_of_place(value: str, name: str) -> str:
    """Where one would be: checkout/cart/add, account/logout, cart."""
    words = load_words()
    parts = [part for part in re.split("[/:.|]", value)[:8] if part]
    for part in parts:
        whole = join_words(part)
        if name in words["mild_place"]:
            if whole in words["act_by_mild_place"]:
                return whole
        elif whole in words["act_by_place"] or names_deed(split_words(part)):
            return whole
    return ""


@functools.lru_cache(maxsize=5000)
def act_of_value(value: str) -> str:
    """What an action is called: reply, addsubscription, rateTopic, do_login; but not view, getNewComment, viewvote."""
    words, whole = load_words(), join_words(value).rstrip("0123456789")
    parts = split_words(value)
    if re.match(r"do_|do[A-Z]", value) or names_door(parts):
        return whole
    if whole in words["act_by_value"]:
        return whole
    if not parts or parts[0] in words["reading"] or starts_with(whole, words["reading"], words["object"]):
        return ""
    if parts[0] == "mark" or starts_with(whole, words["verb"], words["object"]):
        return whole
    if starts_with(whole, words["before_verb"], words["behind"]):
        return whole
    if len(parts) > 1 and parts[0] in words["verb"] and parts[-1] not in words["reading_end"]:
        return "" if parts[0] == "new" and parts[-1] not in words["new_object"] else whole
    return ""


def starts_with(whole: str, firsts: frozenset[str], seconds: frozenset[str]) -> bool:
    """Is it one of the first words and one of the second ones, written together?"""
    cuts = ((whole[:at], whole[at:]) for at in range(2, len(whole) - 1 if len(whole) <= LONGEST_WORD else 0))
    return any(
        first in firsts and first != "new" and (second in seconds or starts_with(second, firsts, seconds))
        for first, second in cuts
    )
