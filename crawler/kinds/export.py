"""What a person exported from a messenger or mailbox: Telegram Desktop's JSON and HTML, and mail.

A message that shows a picture or an archive, or that claims a number of faces, is a listing; pictures sent together
are one. Messages that follow each other within seconds, from one author, were sent together.
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from urllib.parse import quote, urlsplit

from crawler.cards import Card
from crawler.kinds import mail, telegram
from crawler.kinds.reading import (
    LONGEST_PLACE,
    NOTHING,
    TOO_COMPLEX,
    Message,
    Reading,
    is_archive,
    is_handed_in,
    is_picture,
)
from crawler.listing import make_listing
from crawler.numbers import find_price, parse_count
from crawler.pages import ParsedPage, open_tree
from vault.records import Listing

MOST_LISTINGS = 20_000  # of one document
TOGETHER_SECONDS = 2
MOST_LINES, LONGEST_LINE = 20, 300  # of a message, in which a claim or a price is looked for


@dataclass(frozen=True, kw_only=True, slots=True)
class Post:
    """Messages that were sent together."""

    first: Message
    text: str
    files: tuple[str, ...]
    last_at: int | None


def parse_export(body: bytes, url: str, content_type: str, card: Card, seen: dt.date | None) -> Reading:
    kind = content_type.split(";")[0].strip().lower()
    chats = telegram.Chats(body)
    messages: Iterable[Message]
    some = cut = False
    if kind == "message/rfc822":
        messages, problem, truncated = mail.list_messages(body), "", mail.is_truncated(body)
    elif kind == "application/json":
        messages, problem, truncated = chats, "no Telegram export: it has no list of messages", False
    else:
        tree = open_tree(body, url, content_type)
        if tree is None:
            return TOO_COMPLEX
        messages, cut = telegram.list_shown_messages(tree.root), tree.cut
        problem, truncated = "no Telegram export: it shows no message", telegram.ends_early(body)
    listings: dict[str, Listing] = {}
    passed: Counter[str] = Counter()
    for post in join_messages(count_left_out(messages, passed)):
        some = True
        listing = read_post(post, url, card.read.passwords)
        if listing is not None:
            if len(listings) == MOST_LISTINGS:
                cut = True
                break
            address = listing.url if listing.url not in listings else f"{listing.url}-{len(listings)}"
            listings[address] = replace(listing, url=address)
    parsed = ParsedPage(listings=tuple(listings.values()), links=(), cut=cut)
    return Reading(
        parsed=parsed if some else NOTHING,
        text=f"{len(listings)} offers",
        problem="" if some else problem,
        passed_over=passed,
        truncated=truncated or chats.truncated,
    )


def count_left_out(messages: Iterable[Message], passed: Counter[str]) -> Iterator[Message]:
    """The same messages; what they show and cannot be read is counted."""
    for message in messages:
        passed.update(message.left_out)
        yield message


def join_messages(messages: Iterable[Message]) -> Iterable[Post]:
    """Messages as posts: those with files of one author that follow each other closely and have one text at most."""
    post: Post | None = None
    for message in messages:
        if post is not None and belongs(message, post):
            text = post.text or message.text
            post = replace(post, text=text, files=(*post.files, *message.files), last_at=message.at)
            continue
        if post is not None:
            yield post
        post = Post(first=message, text=message.text, files=message.files, last_at=message.at)
    if post is not None:
        yield post


def belongs(message: Message, post: Post) -> bool:
    first = post.first
    close = post.last_at is not None and message.at is not None and 0 <= message.at - post.last_at <= TOGETHER_SECONDS
    same = (message.author, message.forwarded, message.place) == (first.author, first.forwarded, first.place)
    return close and same and bool(message.files and post.files) and not (message.text and post.text)


def read_post(post: Post, url: str, passwords: tuple[str, ...]) -> Listing | None:
    """A listing, if there is anything in it: a picture, an archive, a claim."""
    message = post.first
    images = tuple(join_handed_in(url, name) for name in post.files if is_picture(name))
    archives = tuple(join_handed_in(url, name) for name in post.files if is_archive(name))
    lines = [line.strip()[:LONGEST_LINE] for line in post.text.splitlines() if line.strip()][:MOST_LINES]
    claimed = next((line for line in lines if parse_count(line) is not None), "")
    images, archives = tuple(filter(None, images)), tuple(filter(None, archives))
    if not (images or archives or claimed):
        return None
    return make_listing(
        url=f"{url}#{quote(message.name)}" if message.name else url,
        title=message.subject or next(iter(lines), "") or message.place or "(no text)",
        seller=message.forwarded or message.author,
        description=post.text,
        price_text=next(filter(None, map(find_price, lines)), ""),
        count_text=claimed,
        date_text=dt.datetime.fromtimestamp(message.at, dt.UTC).date().isoformat() if message.at is not None else "",
        images=images,
        archives=archives,
        passwords=passwords,
    )


def join_handed_in(url: str, name: str) -> str:
    """The address of a file that a document names beside itself; nothing for one that lies elsewhere. A name that
    begins with `?` is a part of the document."""
    if name.startswith("?"):
        return f"{url}&{name[1:]}" if urlsplit(url).query else f"{url}{name}"
    parts = name[:LONGEST_PLACE].split("/")
    if not name or "\\" in name or any(part in ("", ".", "..") for part in parts):
        return ""
    try:
        joined = f"{url.split('?')[0].rpartition('/')[0]}/{quote(name[:LONGEST_PLACE])}"
        return joined if is_handed_in(joined) else ""
    except UnicodeEncodeError:  # half of a surrogate pair: no file has that name
        return ""
