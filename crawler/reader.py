"""Reading pages in a process of its own: in come bytes as they were received, out comes what a page says,
or a typed reason.

A page may hang the reader, kill it or fill its memory. It has so many seconds of processor time and so
much memory; one that takes more is ended, and the next page has a new reader. Answers are checked: a
reader can answer with records of pages and with nothing else.
"""

import contextlib
import datetime as dt
import io
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from crawler.acts import LeftAlone
from crawler.cards import Card
from crawler.inside import Inside
from crawler.pages import ParsedPage
from crawler.verdicts import Known, Verdict
from vault.log import get_logger
from vault.quiet import QUIET
from vault.records import Listing, Said

ROOT = Path(__file__).resolve().parents[1]
CPU_SECONDS = 10.0  # of one page, whatever it holds
WAIT_SECONDS = 300.0  # in which a machine that is busy with other things gives it those
# address space of one page beyond what the reader starts with
LEAST_MEMORY = 160 << 20
MEMORY_A_BYTE = 12  # of the page: as bytes, as text, as a tree, as the words of its text
MOST_MEMORY = 640 << 20
GROWN = 64 << 20  # a reader that keeps so much more than it began with is replaced
ENDS, GOES_ON = b"\0", b"\1"  # the first byte of an answer
AHEAD_BYTES = 64 << 10  # of pages that are sent before the first of them is answered; a socket holds more
PIECE_BYTES = 1 << 20
OUR_SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # say nothing of a page

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A page to be read. `known`: what it was before; `seen`: its day; `beside`: what else is kept of it, in which
    pictures may lie; `is_read`: not only looked through for pictures."""

    url: str
    media_type: str
    known: Known
    seen: dt.date
    beside: bytes = b""
    is_read: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures:
    """Pictures that lie in a page. `kept`: with their content, as many as may become samples; `digests`: SHA-256 of all
    that could show a face; `others`: MD5 and SHA-256 of all but the kept ones, for the gate."""

    kept: tuple[Inside, ...] = ()
    digests: tuple[str, ...] = ()
    others: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """What came of a page. `pictures`: None where it could not be looked through for them."""

    pictures: Pictures | None
    said: "ReadPage | Unread"


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadPage:
    """What a page says, and what it is. `letters`: of the text that a reader sees; `problem`: why nothing
    could be read;
    `truncated`, `passed_over`: as in `Reading`."""

    parsed: ParsedPage
    verdict: Verdict
    letters: int
    problem: str
    truncated: bool = False
    passed_over: Mapping[str, int] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Unread:
    """Why there is no answer: `code` of the page's row, and words for it. `final`: another try is no use."""

    code: str
    text: str
    final: bool = True


class ReaderGone(Exception):
    """The reader ended over a page, by this signal (0: by itself; None: it is there and does not answer), after it had
    found these pictures in it."""

    def __init__(self, number: int | None, pictures: Pictures | None) -> None:
        super().__init__("no answer" if number is None else f"signal {number}" if number else "it ended")
        self.signal, self.pictures = number, pictures


class Reader:
    """The reader of one card's pages. Use as a context manager; not for several threads at once."""

    def __init__(self, card: Card) -> None:
        self._card = card
        self._process: subprocess.Popen[bytes] | None = None
        self._line: Line | None = None

    def __enter__(self) -> Self:
        self._start()  # it is ready by the time the first page has come
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def read(self, body: bytes, request: Request) -> Read:
        """One page. Raises OSError, where no reader can be started."""
        return self.read_all([(request, body)])[0]

    def read_all(self, pages: Sequence[tuple[Request, bytes]]) -> list[Read]:
        """Each of them. A page whose reader died is read once more, by a new one and by itself. Raises OSError."""
        found: list[Read] = []
        while len(found) < len(pages):
            try:
                self._ask(take_group(pages[len(found) :]), found)
            except ReaderGone as exc:
                found.append(self._ask_again(*pages[len(found)], exc))
        return found

    def _ask_again(self, request: Request, body: bytes, died: ReaderGone) -> Read:
        log.warning("a page ended its reader", signal=died.signal)
        if died.signal not in (signal.SIGPROF, None):
            found: list[Read] = []
            try:
                self._ask([(request, body)], found)
                return found[0]
            except ReaderGone as exc:
                log.warning("a page ended its reader once more", signal=exc.signal)
                died = ReaderGone(exc.signal, exc.pictures or died.pictures)
        return Read(pictures=died.pictures, said=name_end(died))

    def stop(self) -> None:
        """End the reader, whatever it is at. Another one is started when the next page comes."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._line is not None:
            self._line.close()
        self._process = self._line = None

    @property
    def pid(self) -> int:
        """The reader's process id, 0 where there is none."""
        return self._process.pid if self._process else 0

    def _start(self) -> "Line":
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "crawler.reader_child"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # a traceback may hold what stands on a page
                start_new_session=True,
                # no address, no secret of ours
                env={**QUIET, "PYTHONPATH": str(ROOT), "PATH": os.defpath, "LANG": "C.UTF-8"},
            )
        ours.settimeout(WAIT_SECONDS)
        self._line = Line(ours)
        self._line.send(pickle.dumps(self._card))
        return self._line

    def _ask(self, pages: Sequence[tuple[Request, bytes]], found: list[Read]) -> None:
        """Add what comes of each page, first its pictures, then what it says. Raises ReaderGone, OSError."""
        line = self._line or self._start()
        pictures: Pictures | None = None
        try:
            line.send(*(part for request, body in pages for part in (pickle.dumps(request), body)))
            for _ in pages:
                pictures = open_pictures(line.receive())
                answer = line.receive()
                found.append(Read(pictures=pictures, said=open_said(answer[1:])))
                pictures = None
                if answer[:1] == ENDS:
                    self.stop()
                    return
        except (OSError, EOFError, pickle.UnpicklingError) as exc:
            raise ReaderGone(self._take_apart(), pictures) from exc

    def _take_apart(self) -> int | None:
        """End a reader that does not answer; the signal that it died of before, if it did."""
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        code = self._process.poll()
        self.stop()
        return None if code is None else max(0, -code)


def name_end(died: ReaderGone) -> Unread:
    """Why a page was not read that ended its reader."""
    if died.signal == signal.SIGPROF:
        return Unread(code=Verdict.CUT.value, text=f"reading it takes more than {CPU_SECONDS:.0f} s")
    final = died.signal is not None and died.signal not in OUR_SIGNALS
    return Unread(code="page_unreadable", text=f"its reader died ({died})", final=final)


def take_group(pages: Sequence[tuple[Request, bytes]]) -> Sequence[tuple[Request, bytes]]:
    """The first of these pages, and as many more as can be sent before any is answered: what lies in the socket's
    buffer makes nobody wait."""
    size = 0
    for number, (request, body) in enumerate(pages):
        size += len(body) + len(request.beside)
        if size > AHEAD_BYTES:
            return pages[: max(1, number)]
    return pages


class Line:
    """Messages over a stream socket, each behind its length."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._come = bytearray()  # received and not yet read

    def send(self, *messages: bytes) -> None:
        parts = [part for each in messages for part in (struct.pack(">Q", len(each)), each)]
        if sum(map(len, parts)) <= 2 * AHEAD_BYTES:
            parts = [b"".join(parts)]
        for part in parts:
            self._sock.sendall(part)

    def receive(self) -> bytes:
        """Raises EOFError where the other side hung up, OSError."""
        return self._exactly(struct.unpack(">Q", self._exactly(8))[0])

    def close(self) -> None:
        self._sock.close()

    def _exactly(self, length: int) -> bytes:
        while len(self._come) < length:
            piece = self._sock.recv(max(AHEAD_BYTES, min(length - len(self._come), PIECE_BYTES)))
            if not piece:
                raise EOFError
            self._come += piece
        data = bytes(memoryview(self._come)[:length])
        del self._come[:length]
        return data


# what an answer is made of, beside plain values and the words of an enumeration
PARTS = {
    (each.__module__, each.__name__): each
    for each in (Pictures, Inside, ReadPage, Unread, ParsedPage, LeftAlone, Listing, Said, Decimal)
}  # fmt: skip


class AnswerUnpickler(pickle.Unpickler):
    """Makes records of pages and nothing else, whatever it is given."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("builtins", "getattr"):  # how the first versions of Python 3.11 spell a word
            return pick_word
        found = PARTS.get((module, name)) or getattr(sys.modules.get(module), name, None)
        if found in PARTS.values() or (isinstance(found, type) and issubclass(found, StrEnum)):
            return found
        raise pickle.UnpicklingError(f"{module}.{name} is no part of an answer")


def pick_word(kind: Any, name: str) -> StrEnum:
    """A member of an enumeration by its name. Raises pickle.UnpicklingError for whatever is none."""
    if isinstance(kind, type) and issubclass(kind, StrEnum) and name in kind.__members__:
        return kind[name]
    raise pickle.UnpicklingError(f"{name} is no word of an answer")


def open_said(data: bytes) -> ReadPage | Unread:
    """Raises pickle.UnpicklingError for whatever is no such answer."""
    said = open_answer(data)
    if not isinstance(said, ReadPage | Unread):
        raise pickle.UnpicklingError("no answer")
    return said


def open_pictures(data: bytes) -> Pictures | None:
    """Raises pickle.UnpicklingError for whatever is no such answer."""
    pictures = open_answer(data)
    if not isinstance(pictures, Pictures | None):
        raise pickle.UnpicklingError("no pictures")
    return pictures


def open_answer(data: bytes) -> Any:
    """Raises pickle.UnpicklingError."""
    try:
        return AnswerUnpickler(io.BytesIO(data)).load()
    except pickle.UnpicklingError:
        raise
    except Exception as exc:  # pickle raises many kinds for what is none
        raise pickle.UnpicklingError(type(exc).__name__) from exc
