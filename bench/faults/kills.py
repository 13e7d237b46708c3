"""kill -9 of any process of `up`, and of the ingest beside it, at random; Redis is emptied now and then. Meanwhile
people withdraw.

Erasures and messages are counted from when what they need runs again: their process, the sweeper, both servers.
"""

import random
import time
from uuid import UUID

from bench.children import Process
from bench.disturb import flush_redis
from bench.faults.deployment import Deployment
from bench.faults.material import LEAVER
from bench.faults.place import Place
from bench.faults.tally import (
    WITHDRAWAL_SECONDS,
    Outage,
    count_mails_left,
    count_messages_wrong,
    count_orphans,
)

SECONDS = 300.0
PAUSES = (0.5, 4.0)  # seconds between kills
FLUSH = "flush"
INGEST = "ingest"
WITHDRAW_EVERY = 12.0  # seconds
BACK_SECONDS = 30.0  # in which a process that was killed must be back
NEEDED = ("people", "clock", "postgres", "redis")  # by erasures and messages
VICTIMS = ("worker-1", "worker-2", "people", "clock", "web", "crawler", "postgres", "redis", INGEST, FLUSH)


def run(place: Place) -> None:
    expected = place.expected
    seconds = place.limit(SECONDS)
    deployment = place.make_deployment("kills")
    with deployment.running():
        deployment.enrol_people()
        names = {f"leaver-{number}": LEAVER for number in range(int(seconds / WITHDRAW_EVERY) + 1)}
        killing = Killing(deployment, deployment.enrol(names))
        killing.run(place, seconds)
        done = deployment.ingest(place.material)
        place.report.add("kills.ingest_exit", done, "exit code of the last ingest", bar="== 0")
        place.report.add("kills.settled_after", round(deployment.wait_settled(), 1), "s")
        killing.report(place)
        differing = place.tally.compare(expected, deployment.list_rows())
        place.report.add("kills.rows_differing", differing, "rows", bar="== 0")
        place.report.add("kills.messages_wrong", count_messages_wrong(deployment), "messages", bar="== 0")
        place.report.add("kills.orphans", count_orphans(deployment), "files, keys, torn files", bar="== 0")


class Killing:
    """`people`: who can withdraw, with names."""

    def __init__(self, deployment: Deployment, people: dict[UUID, str]) -> None:
        self.deployment, self.people = deployment, people
        self.waiting = list(people)
        self.seconds: list[float] = []
        self.outages: list[Outage] = []
        self.down: dict[str, tuple[float, int]] = {}  # since when, and the pid that was killed
        self.counts = dict.fromkeys(VICTIMS, 0)
        self.ingest: Process | None = None
        self.chance = random.Random(1)

    def run(self, place: Place, seconds: float) -> None:
        """Kill until the time is over, then wait until everything is back."""
        until = time.monotonic() + seconds
        kill_at = withdraw_at = time.monotonic()
        while time.monotonic() < until:
            self.deployment.check()
            self._note_back()
            if self.ingest is None or self.ingest.poll() is not None:
                self.ingest = self.deployment.start_ingest(place.material)
            if time.monotonic() >= kill_at:
                self._kill(self.chance.choice(VICTIMS))
                kill_at = time.monotonic() + self.chance.uniform(*PAUSES)
            if time.monotonic() >= withdraw_at and self.waiting:
                self.seconds.append(self.deployment.withdraw(self.waiting.pop(), killed=True))
                withdraw_at += WITHDRAW_EVERY
            time.sleep(0.05)
        self.deployment.wait_until(lambda: not self._note_back(), BACK_SECONDS, "a process is not back")
        if self.ingest is not None:
            self.ingest.wait()

    def _kill(self, what: str) -> None:
        if what == FLUSH:
            self.counts[what] += flush_redis(self.deployment.home)
        elif what == INGEST:
            if self.ingest is not None and self.ingest.poll() is None:
                self.ingest.kill()
                self.counts[what] += 1
        elif pid := self.deployment.kill(what):
            self.counts[what] += 1
            since, _ = self.down.get(what, (time.time(), 0))
            self.down[what] = (since, pid)

    def _note_back(self) -> bool:
        """Is anything still away? Keeps the outages of what is needed."""
        for name, (since, pid) in list(self.down.items()):
            if self.deployment.is_back(name, pid):
                if name in NEEDED:
                    self.outages.append(Outage(begun=since, ended=time.time()))
                del self.down[name]
        return bool(self.down)

    def report(self, place: Place) -> None:
        report, tally = place.report, place.tally
        left = [subject_id for subject_id in self.people if subject_id not in self.waiting]
        tally.withdrawals += self.seconds
        tally.note_withdrawn(self.deployment, left, self.outages)
        tally.touched += count_mails_left(self.deployment, [self.people[each] for each in left])
        report.describe(killed=self.counts)
        report.add("kills.kills", sum(self.counts.values()), "of any process, and flushes")
        late = sum(each > WITHDRAWAL_SECONDS for each in self.seconds)
        report.add("kills.withdrawals", len(self.seconds), "beside the kills")
        report.add("kills.withdrawals_late", late, f"> {WITHDRAWAL_SECONDS:.0f} s", bar="== 0")
