"""What runs inside the reader: in come pages over one socket, out come records. Started by `crawler/reader.py`.

It has no network, cannot write a file or start a program as far as the kernel allows that to be forbidden,
and dies of a page that takes too much.
"""

import gc
import json
import pickle
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from parsel import Selector

from crawler.bodies import read_letters
from crawler.cards import Card
from crawler.inside import find_inside, join_parts
from crawler.kinds import parse_answer
from crawler.kinds.reading import NOTHING
from crawler.reader import (
    CPU_SECONDS,
    ENDS,
    GOES_ON,
    GROWN,
    LEAST_MEMORY,
    MEMORY_A_BYTE,
    MOST_MEMORY,
    Line,
    Pictures,
    ReadPage,
    Request,
    Unread,
)
from crawler.verdicts import Verdict, judge_page
from vault import lockdown
from vault.records import Listing

UNLIMITED = resource.RLIM_INFINITY
MOST_KEPT, MOST_PICTURE_BYTES = 1000, 64 << 20  # pictures of one page that may become samples
LOOK_PAGES, LONG_BODY = 50, 256 << 10


def look_through(body: bytes, request: Request, most: int) -> Pictures:
    """The pictures that lie in a page and in what is kept beside it."""
    found = find_inside(join_parts((read_letters(body, request.media_type), request.beside)))
    showing = [each for each in found if not each.is_small]
    kept, size = [], 0
    for each in showing[:most]:
        size += len(each.content)
        if size <= MOST_PICTURE_BYTES:
            kept.append(each)
    chosen = {each.sha256 for each in kept}
    return Pictures(
        kept=tuple(kept),
        digests=tuple(each.sha256 for each in showing),
        others=tuple((each.md5, each.sha256) for each in found if each.sha256 not in chosen),
    )


def read_page(body: bytes, request: Request, card: Card, pictures: Pictures) -> ReadPage:
    if not request.is_read:
        return ReadPage(parsed=NOTHING, verdict=Verdict.CONTENT, letters=0, problem="")
    reading = parse_answer(body, request.url, request.media_type, card, seen=request.seen)
    verdict = judge_page(reading.root, reading.text, reading.parsed, request.known, reading.said)
    parsed = reading.parsed
    if pictures.kept and parsed.listings:
        listings = share_pictures(parsed.listings, reading.places, pictures, card.budget.images_per_listing)
        parsed = replace(parsed, listings=listings)
    return ReadPage(
        parsed=parsed,
        verdict=verdict,
        letters=len(reading.text),
        problem=reading.problem,
        truncated=reading.truncated,
        passed_over=dict(reading.passed_over),
    )


def share_pictures(
    listings: Sequence[Listing], places: Sequence[Any], pictures: Pictures, most: int
) -> tuple[Listing, ...]:
    """Each listing with the pictures that lie in its part of the page; the first one with those that lie in none."""
    kept = {each.sha256: each for each in pictures.kept}
    shown: list[dict[str, None]] = [{} for _ in listings]
    if len(listings) > 1:
        for number, place in enumerate(places[: len(listings)]):
            inside = find_inside(show_place(place))
            shown[number] = {each.sha256: None for each in inside if each.sha256 in kept}
    known = {digest for each in shown for digest in each}
    shown[0] |= {digest: None for digest in kept if digest not in known}
    return tuple(
        replace(listing, pictures=tuple(each)[:most]) for listing, each in zip(listings, shown, strict=True)
    )  # fmt: skip


def show_place(place: Any) -> bytes:
    """The letters of a part of a page: its text and its attributes, or its JSON."""
    if not isinstance(place, Selector):
        return json.dumps(place, default=str).encode("utf-8", "replace")
    parts = [part for element in place.root.iter() for part in (element.text, *element.attrib.values()) if part]
    return join_parts(part.encode("utf-8", "replace") for part in parts)


def count_memory(size: int) -> int:
    """Bytes that reading a page of this size may take; the same for all that are not long."""
    return min(LEAST_MEMORY + MEMORY_A_BYTE * (size - size % LONG_BODY), MOST_MEMORY)


def name_overspent(size: int) -> Unread:
    return Unread(code=Verdict.CUT.value, text=f"reading it takes more than {count_memory(size) >> 20} MB")


def find_place(exc: BaseException) -> str:
    """The last line of ours that an error went through: never its message, which may hold a page's words."""
    place, step = "?", exc.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        if "/crawler/" in code.co_filename:
            place = f"{code.co_filename.rpartition('/crawler/')[2]}:{step.tb_lineno}"
        step = step.tb_next
    return place


class Limits:
    """What one page may take: past its seconds the kernel ends us, past its bytes Python says so."""

    def __init__(self) -> None:
        self._begun = lockdown.mapped_bytes()
        self._memory = 0
        self._pages = 0

    def begin(self, size: int) -> None:
        memory = count_memory(size)
        if memory != self._memory:
            resource.setrlimit(resource.RLIMIT_AS, (self._begun + memory, UNLIMITED))
            self._memory = memory
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)

    def has_grown(self, size: int) -> bool:
        """Is so much kept of the pages before that the next would have less? Looked at now and then."""
        self._pages += 1
        if self._pages % LOOK_PAGES and size < LONG_BODY:
            return False
        return lockdown.mapped_bytes() - self._begun > GROWN

    def lift(self) -> None:
        """For the answer to a page that has taken all."""
        resource.setrlimit(resource.RLIMIT_AS, (UNLIMITED, UNLIMITED))


def serve(line: Line) -> None:
    """Answer until the other side hangs up, or too much is kept."""
    card: Card = pickle.loads(line.receive())  # noqa: S301  of our own parent
    gc.freeze()  # what was imported stays
    limits, ends = Limits(), False
    while not ends:
        request: Request = pickle.loads(line.receive())  # noqa: S301
        body = line.receive()
        size = len(body) + len(request.beside)
        limits.begin(size)
        pictures: Pictures | None = None
        try:
            pictures = look_through(body, request, MOST_KEPT)
            line.send(pickle.dumps(pictures))
            said: ReadPage | Unread = read_page(body, request, card, pictures)
            ends = limits.has_grown(size)
        except MemoryError:
            limits.lift()
            said, ends = name_overspent(size), True
        except OSError:  # the other side hung up
            raise
        except Exception as exc:  # what a page contains may break libraries in ways nobody foresaw
            said, ends = Unread(code="page_unreadable", text=f"{type(exc).__name__} in {find_place(exc)}"), False
        if pictures is None:
            line.send(pickle.dumps(None))
        line.send((ENDS if ends else GOES_ON) + pickle.dumps(said))


def lock_down() -> None:
    lockdown.leave_namespaces()
    lockdown.forbid_new_privileges()
    lockdown.deny_files(reading=False)
    for what in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC):
        resource.setrlimit(what, (0, 0))


if __name__ == "__main__":
    lock_down()
    try:
        serve(Line(socket.socket(fileno=sys.stdin.fileno())))
    except (EOFError, OSError):
        sys.exit(0)
