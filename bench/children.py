"""Children of a bench: whatever it started must live until the bench ends it, or the bench ends at once with an error.

In come processes, supervisors and state folders, out comes ChildDied. Pools are those of `concurrent.futures`, which
raise BrokenProcessPool; `multiprocessing.Pool` waits for ever for a worker that was killed.
"""

import contextlib
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from cli.supervisor import Child, Supervisor, read_state

LOOK_SECONDS = 0.1  # between looks at the children
STOP_SECONDS = 60.0

Process = subprocess.Popen[Any]
Check = Callable[[], object]  # raises ChildDied
Watch = Callable[[Process], object]

_checks: list[Check] = []


class ChildDied(RuntimeError):
    """A process ended that the bench still needed."""


@contextlib.contextmanager
def keep_alive(*checks: Check) -> Iterator[None]:
    """As long as the block lasts, `check_children` and whoever calls it make these checks too."""
    _checks.extend(checks)
    try:
        yield
    finally:
        for check in checks:
            _checks.remove(check)


def check_children() -> None:
    """Raises ChildDied if a process that is needed has ended."""
    for check in tuple(_checks):
        check()


def check_process(process: Process) -> None:
    """Raises ChildDied if it has ended."""
    if process.poll() is not None:
        raise ChildDied(f"{process.args!r} ended with {process.returncode}")


def check_restarts(home: Path, planned: Counter[str]) -> None:
    """Raises ChildDied if `up` on this state folder has started a process again more often than the plan killed it."""
    for entry in (read_state(home) or {"processes": ()})["processes"]:
        if entry["restarts"] > planned[entry["name"]]:
            raise ChildDied(f"{entry['name']} ended and was started again: see {home / 'logs'}")


def look_after(supervisor: Supervisor) -> list[Child]:
    """`Supervisor.poll` for a bench that kills nothing: the children that ended well. Raises ChildDied for any other,
    also for one that the supervisor starts again."""
    ended = supervisor.poll()
    for child in (*ended, *supervisor.children.values()):
        if child.exit_code or child.restarts or (child.keep and child.exit_code is not None):
            raise ChildDied(f"{child.name} ended with {child.exit_code}: see {supervisor.settings.home / 'logs'}")
    return ended


def stop_process(process: Process) -> None:
    """Ask it to end; kill it if it does not."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_watched(process: Process, seconds: float, watch: Watch = lambda _process: None) -> str:
    """Wait until it ends while all that is needed lives; what it said to our pipes. `watch` is called with the process
    several times a second. It is killed where we end otherwise. Raises ChildDied, subprocess.TimeoutExpired."""
    deadline = time.monotonic() + seconds
    try:
        while True:
            try:
                parts = process.communicate(timeout=LOOK_SECONDS)
                return "".join(
                    part if isinstance(part, str) else part.decode("utf-8", "replace") for part in parts if part
                )
            except subprocess.TimeoutExpired:
                check_children()
                watch(process)
                if time.monotonic() > deadline:
                    raise
    except BaseException:
        process.kill()
        process.communicate()
        raise


def run_watched(
    argv: Sequence[str], seconds: float, *, watch: Watch = lambda _process: None, **options: Any
) -> tuple[int, str]:
    """Run a command to its end in the same way; its exit code and all that it said."""
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    told = wait_watched(process, seconds, watch)
    return process.returncode, told


def make_pool(
    processes: int, start: Callable[..., object] | None = None, arguments: Sequence[Any] = ()
) -> ProcessPoolExecutor:
    """Fresh processes, each begun with `start(*arguments)`. Their futures raise BrokenProcessPool when one dies."""
    return ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=start, initargs=tuple(arguments))
