"""`up` as a person starts it, on a state folder of its own, and what is done to it and asked of it from outside."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil

from bench.children import Process, check_process, check_restarts, keep_alive, run_watched, stop_process
from bench.faults.material import ENROLLED, write_card
from bench.programs import clean_environment
from bench.servers import make_demo
from cli.commands.demo import ORGANISATION
from cli.commands.enrol import enrol
from cli.commands.health import fetch_health
from cli.demo.outcome import is_settled, list_results
from cli.demo.people import Person, save_jpeg
from cli.servers import find_running
from cli.supervisor import ROOT, read_state
from crawler.approval import DemoApprovers
from vault.errors import FacewardenError
from vault.keys import Keys, load_keys
from vault.ledger import Kind
from vault.lockdown import die_with_parent
from vault.settings import Settings, child_environment
from vault.steps import Asker, Step
from vault.store import VISIT, Connection, DatabaseError, connect
from vault.store.ledger import write_entry
from vault.store.status import count_states
from vault.store.subjects import confirm_consent, find_subject
from vault.store.withdrawals import withdraw_consent

START_SECONDS = 120.0
SETTLE_SECONDS = 600.0
COMMAND_SECONDS = 300.0
# A new postmaster ends as long as the children of one that was killed hold its memory, and is started again
SPARE = Counter(postgres=5)
QUIET_SECONDS = 1.0  # that nothing must wait before all is taken for done


class TookTooLong(RuntimeError):
    """What must happen by itself did not."""


@dataclass(kw_only=True)
class Deployment:
    """`planned`: how often the plan has killed each process. `prefix`: what `up` is started by."""

    home: Path
    port: int
    workers: int = 2
    prefix: Sequence[str] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    planned: Counter[str] = field(default_factory=Counter)
    process: Process | None = None
    people: dict[UUID, str] = field(default_factory=dict)
    approvers: DemoApprovers | None = None

    @property
    def settings(self) -> Settings:
        """Without the servers' addresses."""
        settings = Settings(home=self.home, key_file=self.home.with_name(self.home.name + ".key"))
        settings = settings.replace("organisation", **ORGANISATION).replace("delivery", alert_minutes=0)
        return settings.replace("web", port=self.port, public_url="")

    @property
    def told(self) -> str:
        """What `up` has said so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def _log(self) -> Path:
        return self.home.with_name(f"{self.home.name}.log")

    @contextlib.contextmanager
    def running(self) -> Iterator["Deployment"]:
        """Started when the block begins, stopped at its end. Raises ChildDied, TookTooLong."""
        self._start()
        assert self.process is not None
        try:
            with keep_alive(partial(check_process, self.process), self.check):
                self.wait_until(lambda: "Ctrl-C stops" in self.told, START_SECONDS, "up has not started")
                self.wait_until(lambda: self.find_pids("people") != [], START_SECONDS, "nothing runs")
                yield self
        finally:
            pids = self.find_pids()
            for pid in (*pids, *self.list_children(pids)):
                resume(pid)
            stop_process(self.process)

    def _start(self) -> None:
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        lines = ["[delivery]", "alert_minutes = 0", "[organisation]"]
        lines += [f"{name} = {json.dumps(value)}" for name, value in ORGANISATION.items()]
        (self.home / "facewarden.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.approvers = make_demo(self.home, self.environ.get("DATABASE_URL", ""))
        options = ["--home", str(self.home), "--port", str(self.port), "--workers", str(self.workers)]
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [*self.prefix, *command("up"), *options], env=self._environ(), stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, preexec_fn=lambda: die_with_parent(signal.SIGTERM),
            )  # fmt: skip

    def _environ(self) -> dict[str, str]:
        return clean_environment(PYTHONPATH=str(ROOT), **self.environ)

    def check(self) -> None:
        """Raises ChildDied."""
        check_restarts(self.home, self.planned)

    def run(self, *words: str, seconds: float = COMMAND_SECONDS) -> tuple[int, str]:
        """A command of ours on this state folder: exit code, and all that it said."""
        argv = [*command(*words), "--home", str(self.home)]
        return run_watched(argv, seconds, env=self._environ())

    def wait_until(self, done: Callable[[], object], seconds: float, why: str) -> float:
        """Returns the seconds that it took. Raises TookTooLong, ChildDied."""
        started = time.monotonic()
        while not done():
            self.check()
            if self.process is not None:
                check_process(self.process)
            if time.monotonic() - started > seconds:
                raise TookTooLong(f"{why} after {seconds:.0f} s")
            time.sleep(0.05)
        return time.monotonic() - started

    # -- its processes ------------------------------------------------------------------------------------------------

    def list_processes(self) -> list[dict[str, Any]]:
        """Name, role and pid of what runs."""
        state = read_state(self.home)
        return [each for each in state["processes"] if each["pid"]] if state else []

    def find_pids(self, *roles: str) -> list[int]:
        """Of these roles, or of all."""
        return [each["pid"] for each in self.list_processes() if not roles or each["role"] in roles]

    def list_children(self, pids: Sequence[int]) -> list[int]:
        """All below these processes: their boxes."""
        found = []
        for pid in pids:
            with contextlib.suppress(psutil.Error):
                found += [child.pid for child in psutil.Process(pid).children(recursive=True)]
        return found

    def list_logs(self) -> list[Path]:
        return sorted((self.home / "logs").glob("*.log"))

    def kill(self, name: str) -> int:
        """kill -9, by the plan; the pid, 0 if it is not there just now."""
        for each in self.list_processes():
            if each["name"] == name and is_alive(each["pid"]):
                self.planned[name] = each["restarts"] + 1 + SPARE[name]
                os.kill(each["pid"], signal.SIGKILL)
                return int(each["pid"])
        return 0

    def is_back(self, name: str, pid: int) -> bool:
        """Does what was killed run again, and answer if it is the database? From then on nothing is spared."""
        for each in self.list_processes():
            if each["name"] == name and each["pid"] != pid and is_alive(each["pid"]):
                if name == "postgres" and not self._answers():
                    return False
                self.planned[name] = each["restarts"]
                return True
        return False

    def _answers(self) -> bool:
        try:
            connect(find_running(self.settings)).close()
            return True
        except (DatabaseError, FacewardenError):
            return False

    # -- its rows -----------------------------------------------------------------------------------------------------

    def connect(self) -> Connection:
        """A connection of our own. Raises ServerError."""
        return connect(find_running(self.settings), patience=10.0)

    @property
    def keys(self) -> Keys:
        return load_keys(self.settings.key_file)

    def enrol_people(self) -> None:
        """The people of the material, confirmed and searched for."""
        self.people = self.enrol({person.name: person for person in ENROLLED})

    def enrol(self, people: Mapping[str, Person]) -> dict[UUID, str]:
        """Enrol people by names that are used in addresses; subject_id -> name once all are searched for."""
        with self.connect() as conn:
            for name, person in people.items():
                photo = save_jpeg(person.portrait, 92)
                enrol(conn, self.keys, self.settings, make_address(name), photo, recorded_by="bench")
            Asker(find_running(self.settings)).ask(Step.MAKE_TEMPLATES)
            found: dict[UUID, str] = {}
            for name in people:
                subject_id = find_subject(conn, self.keys, make_address(name))
                assert subject_id is not None
                found[subject_id] = name
            ready = "select count(*) from template where state = 'done' and subject_id = any(%s)"
            self.wait_until(lambda: count(conn, ready, list(found)) == len(found), 60, "templates are not made")
            for subject_id in found:
                confirm_consent(conn, subject_id)
        return found

    def ingest(self, material: Path, name: str = "faults") -> int:
        """Take in a folder; the exit code."""
        argv, environ = self._ingesting(material, name)
        code, told = run_watched(argv, COMMAND_SECONDS, env=environ)
        if code:
            print(told[-500:], file=sys.stderr)
        return code

    def start_ingest(self, material: Path, name: str = "faults") -> Process:
        """The same, not waited for."""
        argv, environ = self._ingesting(material, name)
        return subprocess.Popen(
            argv, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=lambda: die_with_parent(signal.SIGTERM),
        )  # fmt: skip

    def _ingesting(self, material: Path, name: str) -> tuple[list[str], dict[str, str]]:
        """As `bench.leak` does it: no demo's deployment lets the command be used."""
        assert self.approvers is not None
        card = write_card(self.approvers, self.home.with_name(f"{self.home.name}-{name}.toml"), name)
        argv = [sys.executable, "-P", "-m", "bench.leak", "--ingest", str(material), str(card)]
        return argv, {**child_environment(find_running(self.settings)), "PYTHONPATH": str(ROOT)}

    def wait_settled(self, seconds: float = SETTLE_SECONDS) -> float:
        """Until nothing waits or is at work; the seconds that it took. Raises TookTooLong, ChildDied."""
        quiet = [time.monotonic()]
        started = time.monotonic()

        def is_quiet() -> bool:
            try:
                with self.connect() as conn:
                    if not is_settled(count_states(conn)) or not is_swept(conn):
                        quiet[0] = time.monotonic()
            except (DatabaseError, FacewardenError):
                quiet[0] = time.monotonic()
            return time.monotonic() - quiet[0] > QUIET_SECONDS

        self.wait_until(is_quiet, seconds, "rows still wait")
        return quiet[0] - started

    def list_rows(self) -> Counter[str]:
        """What must be the same in two runs over the same material."""
        with self.connect() as conn:
            return Counter(map(json.dumps, list_results(conn, self.people)))

    def ask_health(self) -> str:
        """The state that /health names; "" if it does not answer."""
        with contextlib.suppress(OSError, ValueError):
            status, text = fetch_health(self.settings)
            return str(json.loads(text)["state"]) if status == 200 else f"{status}"
        return ""

    # -- withdrawal ---------------------------------------------------------------------------------------------------

    def withdraw(self, subject_id: UUID, *, killed: bool = False) -> float:
        """As the web server does it, on a fresh connection; the seconds to the commit. What is refused is tried again,
        which counts, unless the database itself is `killed` now and then: then they count from when it answers."""
        started = time.monotonic()
        deadline = started + SETTLE_SECONDS
        while True:
            try:
                with connect(find_running(self.settings), patience=60.0, limits=VISIT) as conn:
                    if killed:
                        started = time.monotonic()
                    with conn.transaction():
                        if withdraw_consent(conn, subject_id):
                            person = self.keys.digest_text(f"subject:{subject_id}")
                            write_entry(conn, Kind.CONSENT, about=person, what="withdrawn", by="subject")
                seconds = time.monotonic() - started
                Asker(find_running(self.settings)).ask(Step.ERASE_SUBJECTS)
                return seconds
            except (DatabaseError, FacewardenError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def withdraw_by_command(self, subject_id: UUID, name: str) -> float:
        """The seconds from the command's start to the commit."""
        started = time.time()
        code, told = self.run("withdraw", "--address", make_address(name), "--yes", seconds=60)
        if code:
            raise RuntimeError(f"withdraw ended with {code}: {told[-500:]}")
        with self.connect() as conn:
            query = "select extract(epoch from min(withdrawn_at)) from withdrawal where subject_id = %s"
            (at,) = conn.execute(query.encode(), [subject_id]).fetchone() or (None,)
        return float(at or 1e9) - started


def command(*words: str) -> list[str]:
    return [sys.executable, "-P", "-m", "cli", *words]


def make_address(name: str) -> str:
    return f"{name}@faults.example"


def count(conn: Connection, query: str, *values: object) -> int:
    (number,) = conn.execute(query.encode(), values).fetchone() or (0,)
    return int(number)


def read_clock(conn: Connection) -> float:
    """The database's, in seconds since 1970."""
    (now,) = conn.execute("select extract(epoch from clock_timestamp())::float").fetchone() or (0.0,)
    return float(now)


def is_swept(conn: Connection) -> bool:
    """Does everybody who withdrew have an erasure?"""
    query = """select count(*) from withdrawal join subject using (subject_id)
               where not exists (select from erasure where erasure.subject_id = withdrawal.subject_id)"""
    return count(conn, query) == 0


def is_alive(pid: int) -> bool:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def stop(pid: int) -> None:
    """SIGSTOP; its box goes on, and is asked nothing."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)


def resume(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
