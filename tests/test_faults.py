"""The bench of faults itself: what it is asked for, what it fails at. Its scenarios are no part of the tests."""

import contextlib
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from bench.children import ChildDied
from bench.disturb import find_ports
from bench.faults.__main__ import PRIVATE, SCENARIOS, main, parse
from bench.faults.deployment import Deployment, TookTooLong, count
from bench.faults.material import write_material
from bench.faults.place import Place
from bench.faults.stopped import find_sessions
from bench.faults.tally import Outage, Tally, measure
from bench.report import Report
from vault.settings import Settings
from vault.store import connect

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="the bench wants root")


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in the namespace that the bench makes for itself."""
    monkeypatch.setenv(PRIVATE, "1")
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def measuring(value: float) -> Callable[[Place], None]:
    def scenario(place: Place) -> None:
        place.report.add(f"fake.{uuid4()}", value, "s", bar="<= 5")

    return scenario


def raising(error: Exception) -> Callable[[Place], None]:
    def scenario(_place: Place) -> None:
        raise error

    return scenario


def test_scenarios_are_named_and_others_refused(capsys: pytest.CaptureFixture[str]) -> None:
    args = parse(["--only", "stopped", "--seconds", "20"])
    assert (args.only, args.seconds) == (["stopped"], 20.0)
    with pytest.raises(SystemExit):
        parse(["--only", "weather"])
    told = capsys.readouterr().err
    assert all(name in told for name in SCENARIOS)


@needs_root
@pytest.mark.parametrize(("value", "code"), [(4.0, 0), (6.0, 1)])
def test_a_missed_bound_fails_the_run_and_stands_in_its_json(
    inside: None, tmp_path: Path, value: float, code: int
) -> None:
    file = tmp_path / "faults.json"
    assert main(["--json", str(file)], {"fake": measuring(value)}) == code
    table = json.loads(file.read_text())
    assert len(table["failed"]) == code
    assert len(table["data"]["load_before"]) == 3


@needs_root
def test_a_process_that_died_ends_the_run_and_what_hangs_does_not(inside: None, tmp_path: Path) -> None:
    file = tmp_path / "faults.json"
    scenarios = {
        "hangs": raising(TookTooLong("rows still wait")),
        "dies": raising(ChildDied("web ended")),
        "later": measuring(1.0),
    }
    assert main(["--json", str(file)], scenarios) == 1
    table = json.loads(file.read_text())
    assert {"hangs.stuck", "dies.died"} <= set(table["failed"])
    assert "web ended" in table["units"]["dies.died"]
    assert not any(name.startswith("fake") for name in table["figures"])


@needs_root
def test_a_run_that_is_asked_to_stop_leaves_nothing(inside: None) -> None:
    folders = list[Path]()

    def stopping(place: Place) -> None:
        folders.append(place.folder)
        (place.folder / "file").write_text("x")
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)

    assert main([], {"stopping": stopping}) == 130
    assert not folders[0].exists()


def test_a_process_of_the_deployment_that_nobody_killed_ends_the_scenario(tmp_path: Path) -> None:
    deployment = Deployment(home=tmp_path / "home", port=find_ports(), workers=1)
    with contextlib.ExitStack() as stack:
        stack.enter_context(deployment.running())
        assert deployment.ask_health() == "ok"
        assert deployment.kill("clock")
        deployment.wait_until(lambda: deployment.find_pids("clock") != [], 10, "the clock is not started again")
        os.kill(deployment.find_pids("web")[0], signal.SIGKILL)
        started = time.monotonic()
        with pytest.raises(ChildDied, match="web"):
            deployment.wait_until(lambda: False, 60, "nothing happened")
        assert time.monotonic() - started < 10
    assert deployment.process is not None
    assert deployment.process.poll() is not None


def test_the_same_seed_makes_the_same_material(tmp_path: Path) -> None:
    def read(name: str, seed: int) -> Counter[bytes]:
        folder = write_material(tmp_path / name, 30, seed)
        return Counter(path.read_bytes() for path in folder.rglob("*.jpg"))

    first = read("a", 1)
    assert first == read("b", 1)
    assert first.total() == len(first) == 30
    assert not first & read("c", 2)


def test_the_sessions_of_a_process_are_found_by_its_sockets(settings: Settings) -> None:
    with connect(settings) as conn:
        assert count(conn, "select pg_backend_pid()") in find_sessions(os.getpid())


def test_rows_that_differ_are_counted_and_those_that_were_quarantined_for_nothing() -> None:
    tally = Tally()
    expected = Counter({'["a", "done"]': 2, '["b", "done"]': 1})
    assert tally.compare(expected, expected) == 0
    assert tally.compare(expected, Counter({'["a", "done"]': 2, '["b", "quarantined"]': 1})) == 2
    assert (tally.differing, tally.quarantined) == (2, 1)


@pytest.mark.parametrize(
    ("start", "end", "seconds"),
    [(0.0, 3.0, 3.0), (5.0, 25.0, 5.0), (12.0, 21.0, 1.0), (21.0, 24.0, 3.0), (0.0, 10.0, 10.0), (12.0, 15.0, 0.0)],
)
def test_what_was_away_does_not_count_as_time_that_an_erasure_took(start: float, end: float, seconds: float) -> None:
    assert measure(start, end, [Outage(begun=10.0, ended=20.0)]) == seconds


def test_late_withdrawals_fail_the_summary() -> None:
    report = Report("faults")
    Tally(withdrawals=[0.1, 5.1], erasures=[9.9], deliveries=[0.2]).add_to(report)
    assert report.failed == ["faults.withdrawals_late", "faults.withdrawal_slowest"]
