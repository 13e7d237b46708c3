"""What runs inside the reader: in come pages over one socket, out come records. Started by `crawler/reader.py`.

It has no network, cannot write a file or start a program as far as the kernel allows that to be forbidden,
and dies of a page that takes too much.
"""

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


def answer(body: bytes, request: Request, card: Card, begun: int) -> ReadPage | Unread:
    """Within the limits of one page: past its seconds the kernel ends us. `begun`: bytes mapped at the start."""
    memory = min(LEAST_MEMORY + MEMORY_A_BYTE * len(body), MOST_MEMORY)
    resource.setrlimit(resource.RLIMIT_AS, (begun + memory, NOTHING))
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        return read_page(body, request, card)
    except MemoryError:
        return Unread(code=Verdict.CUT.value, text=f"reading it takes more than {memory >> 20} MB")
    except Exception as exc:  # what a page contains may break libraries in ways nobody foresaw
        return Unread(code="page_unreadable", text=f"{type(exc).__name__} in {find_place(exc)}")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (NOTHING, NOTHING))


def find_place(exc: BaseException) -> str:
    """The last line of ours that an error went through: never its message, which may hold a page's words."""
    place, step = "?", exc.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        if "/crawler/" in code.co_filename:
            place = f"{code.co_filename.rpartition('/crawler/')[2]}:{step.tb_lineno}"
        step = step.tb_next
    return place


def serve(line: Line) -> None:
    """Answer until the other side hangs up."""
    card: Card = pickle.loads(line.receive())  # noqa: S301  of our own parent
    begun, grown = lockdown.mapped_bytes(), 0
    while grown < GROWN:
        request: Request = pickle.loads(line.receive())  # noqa: S301
        line.send(pickle.dumps(answer(line.receive(), request, card, begun)))
        grown = lockdown.mapped_bytes() - begun
        line.send(GOES_ON if grown < GROWN else ENDS)


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
