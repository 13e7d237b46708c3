"""Runs the scenarios one after the other and holds what they measured against the bounds. Exit code 1 where one was
missed, and at once where a process ended that the plan did not kill. Needs root, for mounts and network namespaces;
what it mounts is seen by itself only and is gone with it."""

import argparse
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.children import ChildDied
from bench.faults import away, clocks, costly, full, kills, slow, stopped, vanished
from bench.faults.deployment import TookTooLong
from bench.faults.place import Place
from bench.faults.tally import Tally
from bench.report import ROOT, Report

PRIVATE = "FAULTS_IN_NAMESPACE"
FIRST_PORT = 9700
Scenario = Callable[[Place], None]
SCENARIOS: dict[str, Scenario] = {
    "stopped": stopped.run,
    "kills": kills.run,
    "full": full.run,
    "away": away.run,
    "costly": costly.run,
    "clocks": clocks.run,
    "slow": slow.run,
    "vanished": vanished.run,
}  # fmt: skip


class Interrupted(BaseException):
    """Somebody asked us to stop."""


def enter_namespace(arguments: list[str]) -> None:
    """Run again where mounts are our own. Does not return."""
    unshare = shutil.which("unshare")
    if unshare is None:
        raise SystemExit("bench.faults needs unshare, of util-linux")
    argv = [unshare, "--mount", "--propagation", "private", sys.executable, "-m", "bench.faults", *arguments]
    os.chdir(ROOT)
    os.execve(unshare, argv, {**os.environ, PRIVATE: "1"})


def interrupt(*_: object) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    raise Interrupted


def run_scenarios(place: Place, scenarios: Mapping[str, Scenario]) -> None:
    """Each one, with what it missed or why it ended early; a process that died ends them all."""
    for name, scenario in scenarios.items():
        started = time.monotonic()
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            scenario(place)
        except ChildDied as exc:
            place.report.add(f"{name}.died", 1, str(exc), bar="== 0")
            return
        except TookTooLong as exc:
            place.report.add(f"{name}.stuck", 1, str(exc), bar="== 0")
        place.report.add(f"{name}.seconds", round(time.monotonic() - started, 1), "s in all")


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.faults", description=__doc__)
    parser.add_argument("--only", choices=SCENARIOS, action="append", help="this one (again: this one too)")
    parser.add_argument(
        "--seconds", type=float, help="shorter: so long at most is a fault repeated (default: see each)"
    )
    parser.add_argument("--port", type=int, default=FIRST_PORT, help="the first of 20 that are used")
    parser.add_argument("--keep", type=Path, help="leave state folders and logs in this folder")
    parser.add_argument("--json", type=Path, help="write machine, load and figures to this file")
    return parser.parse_args(arguments)


def main(arguments: list[str], scenarios: Mapping[str, Scenario] = SCENARIOS) -> int:
    args = parse(arguments)
    if os.getuid():
        print("bench.faults mounts folders and makes network namespaces: run it as root", file=sys.stderr)
        return 2
    if os.environ.get(PRIVATE) is None:
        enter_namespace(arguments)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, interrupt)
    report = Report("faults", args).describe(load_before=os.getloadavg())
    folder = args.keep or Path(tempfile.mkdtemp(prefix="facewarden-faults-"))
    place = Place(folder=folder, port=args.port, seconds=args.seconds, report=report, tally=Tally())
    try:
        run_scenarios(place, {name: each for name, each in scenarios.items() if name in (args.only or scenarios)})
        place.tally.add_to(report)
    except Interrupted:
        print("stopped", file=sys.stderr)
        return 130
    finally:
        with contextlib.suppress(OSError):
            if args.keep is None:
                shutil.rmtree(folder, ignore_errors=True)
    report.describe(load_after=os.getloadavg())
    report.show()
    report.write(args.json)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
