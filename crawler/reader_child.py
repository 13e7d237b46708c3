"""What runs inside the reader: in come pages over one socket, out come records. Started by `crawler/reader.py`.

It has no network, cannot write a file or start a program as far as the kernel allows that to be forbidden,
and dies of a page that takes too much.
"""

import gc
import pickle
import resource
import signal
import socket
import sys

from crawler.cards import Card
from crawler.kinds import parse_answer
from crawler.reader import (
    CPU_SECONDS,
    ENDS,
    GOES_ON,
    GROWN,
    LEAST_MEMORY,
    MEMORY_A_BYTE,
    MOST_MEMORY,
    Line,
    ReadPage,
    Request,
    Unread,
)
from crawler.verdicts import Verdict, judge_page
from vault import lockdown

NOTHING = resource.RLIM_INFINITY
LOOK_PAGES, LONG_BODY = 50, 256 << 10


def read_page(body: bytes, request: Request, card: Card) -> ReadPage:
    reading = parse_answer(body, request.url, request.media_type, card, seen=request.seen)
    verdict = judge_page(reading.root, reading.text, reading.parsed, request.known, reading.said)
    return ReadPage(
        parsed=reading.parsed,
        verdict=verdict,
        letters=len(reading.text),
        problem=reading.problem,
        truncated=reading.truncated,
        passed_over=dict(reading.passed_over),
    )


def answer(body: bytes, request: Request, card: Card) -> ReadPage | Unread:
    """Within the limits of one page, see `limit`."""
    try:
        return read_page(body, request, card)
    except MemoryError:
        pass  # told when what it holds has been let go
    except Exception as exc:  # what a page contains may break libraries in ways nobody foresaw
        return Unread(code="page_unreadable", text=f"{type(exc).__name__} in {find_place(exc)}")
    return Unread(code=Verdict.CUT.value, text=f"reading it takes more than {count_memory(body) >> 20} MB")


def count_memory(body: bytes) -> int:
    """Bytes that reading a page may take; the same for all that are not long."""
    return min(LEAST_MEMORY + MEMORY_A_BYTE * (len(body) - len(body) % LONG_BODY), MOST_MEMORY)


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

    def begin(self, body: bytes) -> None:
        memory = count_memory(body)
        if memory != self._memory:
            resource.setrlimit(resource.RLIMIT_AS, (self._begun + memory, NOTHING))
            self._memory = memory
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)

    def has_grown(self, body: bytes) -> bool:
        """Is so much kept of the pages before that the next would have less? Looked at now and then."""
        self._pages += 1
        if self._pages % LOOK_PAGES and len(body) < LONG_BODY:
            return False
        return lockdown.mapped_bytes() - self._begun > GROWN

    def lift(self) -> None:
        """For the answer to a page that has taken all."""
        resource.setrlimit(resource.RLIMIT_AS, (NOTHING, NOTHING))


def serve(line: Line) -> None:
    """Answer until the other side hangs up, or too much is kept."""
    card: Card = pickle.loads(line.receive())  # noqa: S301  of our own parent
    gc.freeze()  # what was imported stays
    limits, ends = Limits(), False
    while not ends:
        request: Request = pickle.loads(line.receive())  # noqa: S301
        body = line.receive()
        limits.begin(body)
        found = answer(body, request, card)
        ends = isinstance(found, Unread) or limits.has_grown(body)
        if ends:
            limits.lift()
        line.send((ENDS if ends else GOES_ON) + pickle.dumps(found))


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
