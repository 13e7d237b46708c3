"""Processes stopped (SIGSTOP) while they hold a transaction, a lock or claimed rows; meanwhile people withdraw.

Which statements a process is stopped at is learnt by trying: it is stopped, its session is looked at, and if it is at
nothing that was not hit before it goes on and is tried again a moment later.
"""

import random
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from bench.children import Process
from bench.faults.deployment import Deployment, count, read_clock, resume, stop
from bench.faults.material import SHOWN_PEOPLE, write_material
from bench.faults.place import Place
from bench.faults.tally import WITHDRAWAL_SECONDS, Outage, count_mails_left
from vault.store import Connection
from vault.store.bundles import ask_bundle

WITHDRAWN = 50
A_STOP = 3  # people who withdraw during each stop, one of them by the command
SHORT, LONG = 5.0, 45.0  # seconds: the second is longer than all limits of sessions and leases
LONG_EVERY = 8  # stops
TRY_SECONDS = 4.0  # that a process is tried for something new
BEFORE_LOOK = 0.03  # seconds after a stop, for what was on its way to the database
INGEST_SECONDS = 120.0
AFTER_SECONDS = 60.0  # in which erasures and receipts must be done after the last stop
ROLES = ("worker", "people", "worker", "clock", "web")
PICTURES = 150  # taken in before each stop
WORK_SECONDS = 60.0  # until there is something to work at
PEER = re.compile(r" (\d+) \* (\d+) .*?pid=(\d+)")  # inode, its peer, owner
CLAIMS = "claimed rows, no transaction"


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """What a stopped process holds: the statement its session is at, and the strongest lock."""

    statement: str
    lock: str

    @property
    def kind(self) -> str:
        return f"{self.statement} [{self.lock}]"


def run(place: Place) -> None:
    deployment = place.make_deployment("stopped")
    with deployment.running():
        deployment.enrol_people()
        Stopping(place, deployment).run()


class Stopping:
    def __init__(self, place: Place, deployment: Deployment) -> None:
        self.place, self.deployment = place, deployment
        self.hit: Counter[str] = Counter()
        self.names: dict[UUID, str] = {}
        self.waiting: list[UUID] = []  # enrolled, and still to withdraw
        self.left: list[UUID] = []
        self.outages: list[Outage] = []
        self.seconds: list[float] = []
        self.batch = 0
        self.ingest: Process | None = None
        self.found = 0  # of those who left, had been found before

    def run(self) -> None:
        """Stops until WITHDRAWN people have left, or the time is over."""
        deadline = time.monotonic() + self.place.limit(1e9)
        number = 0
        with self.deployment.connect() as conn:
            while len(self.seconds) < WITHDRAWN and time.monotonic() < deadline:
                self._prepare(conn)
                role = ROLES[number % len(ROLES)]
                number += 1
                self._stop_once(conn, role, LONG if number % LONG_EVERY == 0 else SHORT)
            done = "select count(*) from delivery where kind = 'receipt' and state = 'done'"
            self.deployment.wait_until(
                lambda: (conn.execute(done).fetchone() or (0,))[0] >= len(self.left), AFTER_SECONDS, "receipts wait"
            )
        self.deployment.wait_settled()
        self._report(number)

    def _prepare(self, conn: Connection) -> None:
        """Something to work at, and people who may leave."""
        while len(self.waiting) < A_STOP:
            number = len(self.names)
            wanted = range(number, number + A_STOP - len(self.waiting))
            found = self.deployment.enrol({f"leaver-{each}": SHOWN_PEOPLE[each % len(SHOWN_PEOPLE)] for each in wanted})
            self.names |= found
            self.waiting += found
        if self.ingest is not None:
            self.ingest.wait(INGEST_SECONDS)
        self.batch += 1
        folder = write_material(self.place.folder / f"stopped-{self.batch}", PICTURES, seed=self.batch)
        self.ingest = self.deployment.start_ingest(folder, f"stopped-{self.batch}")
        row = conn.execute("select alert_id from alert order by random() limit 1").fetchone()
        if row is not None:
            ask_bundle(conn, row[0], "bench")
        self.deployment.wait_until(lambda: has_work(conn), WORK_SECONDS, "nothing is taken in")

    def _stop_once(self, conn: Connection, role: str, seconds: float) -> None:
        pid = random.choice(self.deployment.find_pids(role))
        leaving = [self.waiting.pop() for _ in range(A_STOP)]
        held = self._stop_at_something(conn, pid)
        begun = read_clock(conn)
        try:
            until = time.monotonic() + seconds
            self.hit.update(each.kind for each in held)
            query = "select count(distinct subject_id) from match where subject_id = any(%s)"
            self.found += count(conn, query, leaving)
            for at, subject_id in enumerate(leaving):
                if at:
                    self.seconds.append(self.deployment.withdraw(subject_id))
                else:
                    name = self.names[subject_id]
                    self.seconds.append(self.deployment.withdraw_by_command(subject_id, name))
            while time.monotonic() < until:
                time.sleep(0.1)
                self.deployment.check()
        finally:
            resume(pid)
        self.left += leaving
        self.outages.append(Outage(begun=begun, ended=read_clock(conn)))

    def _stop_at_something(self, conn: Connection, pid: int) -> list[Held]:
        """Leave the process stopped, at what was not hit before if that can be had in time."""
        deadline = time.monotonic() + TRY_SECONDS
        while True:
            stop(pid)
            time.sleep(BEFORE_LOOK)
            held = list(list_held(conn, pid))
            if any(each.kind not in self.hit for each in held) or (held and time.monotonic() > deadline):
                return held
            if time.monotonic() > deadline:
                return [Held(statement=CLAIMS, lock="none")] if has_claims(conn) else []
            resume(pid)
            time.sleep(random.uniform(0.0, 0.05))

    def _report(self, stops: int) -> None:
        report, tally = self.place.report, self.place.tally
        tally.withdrawals += self.seconds
        tally.note_withdrawn(self.deployment, self.left, self.outages)
        tally.touched += count_mails_left(self.deployment, [self.names[each] for each in self.left])
        report.describe(stopped_at=dict(sorted(self.hit.items())))
        report.add("stopped.stops", stops, f"of {SHORT:.0f} s, some of {LONG:.0f}")
        report.add("stopped.kinds_hit", len(self.hit), "statements and locks", bar=">= 5")
        report.add("stopped.found_before", self.found, "of those who left")
        late = sum(each > WITHDRAWAL_SECONDS for each in self.seconds)
        report.add("stopped.withdrawals", len(self.seconds), "while a process was stopped", bar=self._wanted())
        report.add("stopped.withdrawals_late", late, f"> {WITHDRAWAL_SECONDS:.0f} s", bar="== 0")
        report.add("stopped.withdrawal_slowest", max(self.seconds, default=0.0), "s", bar=f"<= {WITHDRAWAL_SECONDS}")

    def _wanted(self) -> str:
        return "" if self.place.seconds else f">= {WITHDRAWN}"


def list_held(conn: Connection, pid: int) -> Iterator[Held]:
    """Open transactions of the process, by its database sessions."""
    rows = conn.execute(
        """select query, coalesce((select max(mode) from pg_locks
                                   where pg_locks.pid = pg_stat_activity.pid and granted
                                     and mode ~ 'Exclusive|Update' and locktype <> 'virtualxid'), 'reads')
           from pg_stat_activity
           where pid = any(%(pids)s) and xact_start is not null and backend_type = 'client backend'""",
        {"pids": find_sessions(pid)},
    ).fetchall()
    for query, lock in rows:
        yield Held(statement=" ".join(query.split()[:4]), lock=lock)


def find_sessions(pid: int) -> list[int]:
    """Pids of the PostgreSQL backends at the other ends of the process's sockets."""
    lines = subprocess.run(["ss", "-xpnH"], capture_output=True, text=True, check=True).stdout.splitlines()
    ends = {found[1]: (found[2], int(found[3])) for line in lines if (found := PEER.search(line))}
    ours = {peer for peer, owner in ends.values() if owner == pid}
    return [owner for inode, (_peer, owner) in ends.items() if inode in ours]


def has_work(conn: Connection) -> bool:
    return count(conn, "select count(*) from sample where state in ('ready', 'running')") > 0


def has_claims(conn: Connection) -> bool:
    row = conn.execute(
        """select exists (select from sample where state = 'running')
               or exists (select from face where state = 'running')
               or exists (select from delivery where state = 'running')"""
    ).fetchone()
    return bool(row and row[0])
