"""A bench ends at once, with an error, when a process ends that it still needs."""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import pytest

from bench.children import (
    ChildDied,
    check_children,
    check_process,
    check_restarts,
    keep_alive,
    look_after,
    make_pool,
    run_watched,
    stop_process,
)
from bench.disturb import find_ports, list_pids, run_demo
from bench.embed import Turn, run_both
from cli.supervisor import Supervisor
from vault.settings import Settings

SECONDS = 10.0  # within which a bench must have ended
SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@contextlib.contextmanager
def ending_soon() -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < SECONDS


@contextlib.contextmanager
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(SLEEP)
    try:
        yield process
    finally:
        stop_process(process)


def die(number: int) -> int:
    """The second dies, the others work for a long time."""
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)
    return number


def die_alone(number: int) -> Turn:
    """The first dies before all are together; the second waits for it."""
    from bench.embed import _together

    if number == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    _together[0].wait()
    return Turn(started=0.0, ended=1.0, pictures=1)


def test_a_pool_ends_when_a_process_of_it_is_killed() -> None:
    with ending_soon(), pytest.raises(BrokenProcessPool), make_pool(2) as pool:
        list(pool.map(die, range(4)))


def test_processes_that_begin_together_do_not_wait_for_one_that_is_dead() -> None:
    with ending_soon(), pytest.raises(BrokenProcessPool):
        run_both(die_alone, [0, 1])


def test_a_command_ends_when_a_server_that_it_needs_is_killed() -> None:
    with sleeper() as server, keep_alive(partial(check_process, server)):
        check_children()
        threading.Timer(0.5, server.kill).start()
        with ending_soon(), pytest.raises(ChildDied, match="-9"):
            run_watched(SLEEP, 60)
    check_children()


def test_a_command_ends_in_its_time() -> None:
    with ending_soon(), pytest.raises(subprocess.TimeoutExpired):
        run_watched(SLEEP, 0.5)


def test_what_a_command_says_is_kept_however_much_it_is() -> None:
    code, told = run_watched([sys.executable, "-c", "print('x' * 1_000_000); raise SystemExit(3)"], 60)
    assert (code, told) == (3, "x" * 1_000_000 + "\n")


def test_a_process_that_was_started_again_counts_as_dead_unless_it_was_killed_by_the_plan(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    processes = [{"name": "worker-1", "restarts": 1}, {"name": "web", "restarts": 0}]
    (tmp_path / "run/processes.json").write_text(json.dumps({"processes": processes}))
    with open(tmp_path / "run/lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        check_restarts(tmp_path, Counter({"worker-1": 1}))
        with pytest.raises(ChildDied, match="worker-1"):
            check_restarts(tmp_path, Counter())


@pytest.mark.parametrize("keep", [True, False])
def test_a_supervisor_of_a_bench_starts_nothing_again(settings: Settings, tmp_path: Path, keep: bool) -> None:
    supervisor = Supervisor(settings=settings.replace("", home=tmp_path / "home"))
    with supervisor.running():
        child = supervisor.start_command("status", "status", ["no-such-command"], keep=keep)
        assert child.process is not None
        child.process.wait()
        with pytest.raises(ChildDied, match="status ended with 2"):
            look_after(supervisor)


def test_a_demo_ends_when_a_process_of_it_is_killed_that_the_plan_left_alone(tmp_path: Path) -> None:
    home, killed = tmp_path / "home", list[float]()

    def kill_clock() -> None:
        while not (pids := list_pids(home, "clock")):
            time.sleep(0.1)
        os.kill(pids[0], signal.SIGKILL)
        killed.append(time.monotonic())

    threading.Thread(target=kill_clock, daemon=True).start()
    with pytest.raises(ChildDied, match="clock"):
        run_demo(home, find_ports(), [])
    assert time.monotonic() - killed[0] < SECONDS
