"""Telegram Desktop's exports: `result.json` of one chat or of an account, and `messages*.html`; out come messages.

The JSON is read message by message, so that a channel of years costs no memory.
"""

import codecs
import datetime as dt
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from parsel import Selector

from crawler.kinds.reading import Message, read_lines
from crawler.listing import LONGEST_TEXT

LISTS = re.compile(rb'(?<!\\)"messages"\s*:\s*\[')
NAME = re.compile(rb'"name"\s*:\s*("(?:[^"\\]|\\.){0,400}")')
TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*+"|[{}\[\]"]', re.DOTALL)
NAME_REACH = 2000  # bytes before its messages in which a chat's name stands
PIECE = 64 << 10
LONGEST_MESSAGE = 1 << 20  # letters of JSON
FILES = ("photo", "file")
NOT_THERE = "(File "  # "(File not included. Change data exporting settings to download.)"
NOT_INCLUDED = "not in the export"
END_OF_PAGE = b"</html>"
SHOWN_TIME = re.compile(r"(\d{2})\.(\d{2})\.(\d{4}) (\d{2}):(\d{2}):(\d{2})")


class Chats:
    """The messages of every chat in a `result.json`, in its order. `truncated`, once they were read: the file ends
    early, or in the middle of a list something else than a message begins."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.truncated = False

    def __iter__(self) -> Iterator[Message]:
        body, end, depth = self._body, 0, 0
        for found in LISTS.finditer(body):
            if found.start() < end:  # inside a message
                continue
            depth += count_depth(body[end : found.end()])
            place = find_chat(body, end, found.start())
            values = Values(body, found.end())
            for value in values:
                if isinstance(value, dict) and value.get("type", "message") == "message":
                    yield read_message(value, place)
            end = values.end
            self.truncated = self.truncated or values.broken
        self.truncated = self.truncated or depth + count_depth(body[end:]) != 0


def count_depth(text: bytes) -> int:
    """How many braces and brackets of a piece of JSON are left open; a string that does not end counts, too."""
    depth = 0
    for found in TOKENS.finditer(text):
        if found[0] == b'"':  # what follows is in it; to try each quote behind it would take for ever
            return depth + 1
        depth += 1 if found[0] in (b"{", b"[") else -1 if found[0] in (b"}", b"]") else 0
    return depth


def find_chat(body: bytes, first: int, last: int) -> str:
    names = NAME.findall(body, max(first, last - NAME_REACH), last)
    try:
        return str(json.loads(names[-1])) if names else ""
    except ValueError:
        return ""


class Values:
    """The values of a JSON list that begins behind `start`, one after the other; `end`: how far they reach; `broken`:
    they end without the list's end."""

    def __init__(self, body: bytes, start: int) -> None:
        self._body = body
        self.end = start
        self.broken = False

    def __iter__(self) -> Iterator[Any]:
        decoder, letters = json.JSONDecoder(), codecs.getincrementaldecoder("utf-8")("replace")
        window, at, read, more = "", 0, self.end, PIECE
        while True:
            while at < len(window) and window[at] in " \t\r\n,":
                at += 1
            if window[at : at + 1] == "]":
                self.end = max(self.end, read - len(window[at:].encode("utf-8", "replace")))
                return
            try:
                value, at = decoder.raw_decode(window, at)
            except (ValueError, RecursionError) as exc:
                if read >= len(self._body) or len(window) - at > LONGEST_MESSAGE or isinstance(exc, RecursionError):
                    self.end, self.broken = read, True  # what was looked at is not looked at again
                    return
                window, at = window[at:] + letters.decode(self._body[read : read + more]), 0
                read, more = (
                    min(read + more, len(self._body)),
                    2 * more,
                )  # so that no byte is tried more than a few times
                continue
            more = PIECE
            yield value


def read_message(value: dict[str, Any], place: str) -> Message:
    names = [name for each in FILES if isinstance(name := value.get(each), str)]
    return Message(
        name=f"message{value.get('id', '')}"[:40],
        author=read_text(value.get("from")) or read_text(value.get("actor")),
        forwarded=read_text(value.get("forwarded_from")),
        place=place,
        at=read_time(value),
        text=read_text(value.get("text")),
        files=tuple(name for name in names if not name.startswith(NOT_THERE)),
        left_out=(NOT_INCLUDED,) * sum(name.startswith(NOT_THERE) for name in names),
    )


def read_text(value: Any) -> str:
    """Telegram writes a text as one string, or as a list of strings and objects with a `text`."""
    if isinstance(value, str):
        return value[: 2 * LONGEST_TEXT]
    if isinstance(value, list):
        parts = [
            part if isinstance(part, str) else part.get("text") if isinstance(part, dict) else "" for part in value
        ]
        return "".join(part for part in parts if isinstance(part, str))[: 2 * LONGEST_TEXT]
    return ""


def read_time(value: dict[str, Any]) -> int | None:
    """Seconds, of use only beside another message's."""
    unix = value.get("date_unixtime")
    if isinstance(unix, str) and unix.isdigit() and len(unix) < 16:
        return int(unix)
    try:
        return int(dt.datetime.fromisoformat(str(value.get("date"))).replace(tzinfo=dt.UTC).timestamp())
    except (ValueError, OverflowError):
        return None


def list_shown_messages(root: Selector) -> Iterator[Message]:
    """The messages of one `messages*.html`. A `joined` one has its author from the one before."""
    place = show(root.css(".page_header .text"))
    author = forwarded = ""
    outer = None
    for shown in root.css("div.message.default"):
        if outer is not None and any(above is outer for above in shown.root.iterancestors("div")):
            continue  # Telegram writes no message into another; reading each with all that it holds takes for ever
        outer = shown.root
        joined = "joined" in shown.root.get("class", "").split()
        name = show(shown.xpath("./div[contains(@class, 'body')]/div[@class='from_name']"))
        author = name or (author if joined else "")
        inner = shown.css("div.forwarded.body")
        if inner:
            own = inner.css(".from_name").xpath("text()").get() or ""
            forwarded = " ".join(own.split()) or (forwarded if joined else "")
        else:
            forwarded = ""
        links = shown.css("a.photo_wrap::attr(href), a.media_file::attr(href), a.media_photo::attr(href)").getall()
        yield Message(
            name=shown.root.get("id", "")[:40],
            author=author,
            forwarded=forwarded,
            place=place,
            at=read_shown_time(shown.css(".date.details::attr(title)").get() or ""),
            text="\n".join(
                read_lines(text.root)[: 2 * LONGEST_TEXT]
                for text in shown.css("div.body > div.text, div.forwarded div.text")[:5]
            ),
            files=tuple(unquote(link) for link in links[:20]),
        )


def ends_early(body: bytes) -> bool:
    """Does a `messages*.html` lack its end?"""
    return not body.rstrip().lower().endswith(END_OF_PAGE)


def show(found: Any) -> str:
    return " ".join(" ".join(found[0].xpath(".//text()").getall()).split()) if found else ""


def read_shown_time(title: str) -> int | None:
    found = SHOWN_TIME.search(title)
    if found is None:
        return None
    day, month, year, hour, minute, second = map(int, found.groups())
    try:
        return int(dt.datetime(year, month, day, hour, minute, second, tzinfo=dt.UTC).timestamp())
    except ValueError:
        return None
