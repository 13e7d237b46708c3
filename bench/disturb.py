"""Does the chain lose anything when it is disturbed? Runs the demo twice over the same markets, once left alone, once
with workers, Redis and PostgreSQL killed under it, and holds the rows of both runs against each other.

    .venv/bin/python -m bench.disturb
    .venv/bin/python -m bench.disturb --faces DIR --people 50 --images 2000 --json bench/out/disturb.json
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.children import check_restarts, wait_watched
from cli.supervisor import ROOT, read_state
from vault.settings import Servers, Settings
from vault.steps import BrokerGone, connect_redis

RUN_SECONDS = 900.0
PORTS = 4  # the dashboard's and the markets'


def find_ports() -> int:
    """The first of four neighbouring ports of loopback on which nobody listens."""
    begin: int = os.getpid() * PORTS % 8000  # so that two who look at the same time do not find the same
    for first in (20_000 + (begin + step) % 12_000 for step in range(0, 12_000, PORTS)):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + PORTS):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
        return first
    raise RuntimeError("no free ports")


def start_demo(
    home: Path, port: int, options: list[str], more: dict[str, str] | None = None
) -> "subprocess.Popen[bytes]":
    """A demo to its end, in an environment of little; `more`: settings beside."""
    argv = [sys.executable, "-P", "-m", "cli", "demo", "--exit", "--home", str(home), "--port", str(port), *options]
    environ = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    environ |= {**(more or {}), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(argv, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def run_demo(
    home: Path,
    port: int,
    options: list[str],
    plan: list[str] | None = None,
    span: float = 0.0,
    more: dict[str, str] | None = None,
) -> Counter[str]:
    """One demo to its end; `plan` names what is done to it, spread over `span` seconds of its crawl. What was done.
    Raises ChildDied when a process of it ends that the plan did not kill, RuntimeError when the demo fails."""
    disturber = Disturber(home=home, plan=plan or [], span=span)
    process = start_demo(home, port, options, more)
    told = wait_watched(process, RUN_SECONDS, disturber.look)
    if process.returncode not in (0, 1):
        raise RuntimeError(f"the demo ended with {process.returncode}: {told[-2000:]}")
    return disturber.done


@dataclass
class Disturber:
    """Carries out the plan while the demo crawls and matches."""

    home: Path
    plan: list[str]
    span: float
    done: Counter[str] = field(default_factory=Counter)
    killed: Counter[str] = field(default_factory=Counter)
    started: float | None = None

    def look(self, _process: object) -> None:
        """Do what is due. Raises ChildDied."""
        check_restarts(self.home, self.killed)
        if self.started is None and list_pids(self.home, "crawl"):
            self.started = time.monotonic()
        number = self.done.total()
        if self.started is None or number == len(self.plan):
            return
        if time.monotonic() >= self.started + self.span * (number + 1) / (len(self.plan) + 1):
            self._act(self.plan[number])

    def _act(self, what: str) -> None:
        """Do it once, or later if there is nothing to do it to just now."""
        if what == "flush":
            self.done[what] += flush_redis(self.home)
            return
        role = {"workers": "worker", "postgres": "postgres", "redis": "redis"}[what]
        killed = kill_role(self.home, role)
        self.killed.update(killed)
        self.done[what] += bool(killed)


def flush_redis(home: Path) -> bool:
    """Forget all that waits in the Redis of a running deployment. False if it does not answer."""
    state = read_state(home)
    if state is None:
        return False
    settings = Settings(home=home, key_file=home / "none", servers=Servers(redis_url=state["redis_url"]))
    with contextlib.suppress(BrokerGone):
        return bool(connect_redis(settings).flushall())
    return False


def kill_role(home: Path, role: str) -> list[str]:
    """kill -9 of all processes of a role; the names of those that were there."""
    killed = []
    for each in (read_state(home) or {"processes": []})["processes"]:
        if each["role"] == role and each["pid"]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each["pid"], signal.SIGKILL)
                killed.append(each["name"])
    return killed


def list_pids(home: Path, role: str) -> list[int]:
    state = read_state(home)
    return [each["pid"] for each in state["processes"] if each["role"] == role and each["pid"]] if state else []


def make_plan(kills: int, flushes: int, databases: int) -> list[str]:
    """Kills of all workers with the flushes and the database's death spread among them."""
    plan = ["workers"] * kills
    for number, what in enumerate(["flush"] * flushes + ["postgres"] * databases):
        plan.insert(1 + 2 * number, what)
    return plan


def read_rows(path: Path) -> Counter[str]:
    """The rows that a demo wrote with --results."""
    return Counter(map(json.dumps, json.loads(path.read_text(encoding="utf-8"))))


def compare(folder: Path, options: list[str], plan: list[str]) -> dict[str, Any]:
    """Figures of both runs, what was done to the second, and the rows in which they differ."""
    port = find_ports()
    runs: dict[str, Any] = {}
    for name in ("alone", "disturbed"):
        files = ["--results", str(folder / f"{name}.rows"), "--json", str(folder / f"{name}.json")]
        span = runs["alone"]["stages"]["crawl and match"] if runs else 0.0
        done = run_demo(folder / name, port, [*options, *files], plan if runs else None, span)
        runs[name] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    alone, disturbed = (read_rows(folder / f"{name}.rows") for name in runs)
    return {
        "rows": alone.total(),
        "lost": sorted((alone - disturbed).elements()),
        "extra": sorted((disturbed - alone).elements()),
        "done": dict(done),
        "alone": runs["alone"],
        "disturbed": runs["disturbed"],
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, help="real faces, one folder a person (default: the small demo)")
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=5, help="how often all workers are killed")
    parser.add_argument("--flushes", type=int, default=2, help="how often Redis is emptied")
    parser.add_argument("--databases", type=int, default=1, help="how often PostgreSQL is killed")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(arguments)
    options = []
    if args.faces:
        options = ["--faces", str(args.faces), "--people", str(args.people), "--images", str(args.images)]
        options += ["--seed", str(args.seed)]
    folder = Path(tempfile.mkdtemp(prefix="facewarden-disturb-"))
    try:
        table = compare(folder, options, make_plan(args.kills, args.flushes, args.databases))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for name in ("rows", "done"):
        print(f"{name:12} {table[name]}")
    for name in ("lost", "extra"):
        print(f"{name:12} {len(table[name])}", *table[name][:5], sep="\n  ")
    for name in ("seconds", "found_alerts", "false_alerts"):
        print(f"{name:12} {table['alone'][name]} alone, {table['disturbed'][name]} disturbed")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(table, indent=1, ensure_ascii=False), encoding="utf-8")
    return int(bool(table["lost"] or table["extra"]))


if __name__ == "__main__":
    sys.exit(main())
