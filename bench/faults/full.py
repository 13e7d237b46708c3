"""A state folder on a small disk that is filled to its last byte again and again while pictures are taken in. Meanwhile
people withdraw; afterwards all goes on by itself."""

import contextlib
import subprocess
import time
from pathlib import Path
from uuid import UUID

from bench.children import Process
from bench.faults.deployment import Deployment
from bench.faults.material import LEAVER, write_material
from bench.faults.place import Place
from bench.faults.tally import ERASURE_SECONDS, WITHDRAWAL_SECONDS, count_mails_left

FILLS = 10
DISK = "400m"
FULL_SECONDS = 6.0  # at least, each time
BACK_SECONDS = 30.0  # in which all goes on after room was made
RESERVE_SECONDS = 30.0  # in which `up` has its reserve again
PICTURES = 30  # taken in during each fill


def run(place: Place) -> None:
    parts = [
        write_material(place.folder / f"full-{number:02}", PICTURES, seed=1000 + number) for number in range(FILLS)
    ]
    disk = place.folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(disk)], check=True)
    deployment = place.make_deployment("disk/home")
    with deployment.running():
        deployment.enrol_people()
        people = deployment.enrol({f"leaver-{number}": LEAVER for number in range(FILLS)})
        deadline = time.monotonic() + place.limit(1e9)
        filling = Filling(deployment, disk, people)
        for part in parts:
            if time.monotonic() < deadline:
                filling.fill_once(part)
        filling.report(place)
        deployment.wait_settled()
        found = deployment.list_rows()
    place.compare_alone("full", parts[: len(filling.back)], found)


class Filling:
    def __init__(self, deployment: Deployment, disk: Path, people: dict[UUID, str]) -> None:
        self.deployment, self.disk, self.people = deployment, disk, people
        self.waiting = list(people)
        self.withdrawals: list[float] = []
        self.back: list[float] = []  # seconds until an ingest works again and nothing waits
        self.said_ok = self.unnamed = self.late = 0

    def fill_once(self, material: Path) -> None:
        """Fill the disk while the material is taken in, let somebody leave, make room, and wait until all is done."""
        self.deployment.wait_until((self.deployment.home / "run/reserve").exists, RESERVE_SECONDS, "no reserve")
        ingest = self.deployment.start_ingest(material, material.name)
        time.sleep(1.0 + len(self.back) * 0.15)  # at another moment each time
        filler = fill(self.disk)
        started = time.monotonic()
        self._leave()
        self.said_ok += self.deployment.ask_health() == "ok"
        code, told = self.deployment.run("status")
        self.unnamed += code != 0 or "disk_full: " not in told
        while time.monotonic() - started < FULL_SECONDS:
            self.deployment.check()
            time.sleep(0.1)
        filler.unlink()
        self.back.append(self._come_back(ingest, material))

    def _leave(self) -> None:
        """Withdrawn, erased and told while the disk is full."""
        subject_id = self.waiting.pop()
        self.withdrawals.append(self.deployment.withdraw(subject_id))
        started = time.monotonic()
        while time.monotonic() - started < ERASURE_SECONDS:
            with self.deployment.connect() as conn:
                query = "select 1 from delivery where kind = 'receipt' and state = 'done' and subject_id = %s"
                if conn.execute(query, [subject_id]).fetchone():
                    return
            time.sleep(0.2)
        self.late += 1

    def _come_back(self, ingest: Process, material: Path) -> float:
        """The seconds from when there is room until the material is taken in and worked off."""
        started = time.monotonic()
        ingest.wait(60)
        while self.deployment.ingest(material, material.name):
            if time.monotonic() - started > 2 * BACK_SECONDS:
                break
            time.sleep(0.5)
        self.deployment.wait_settled(4 * BACK_SECONDS)
        return time.monotonic() - started

    def report(self, place: Place) -> None:
        tally, report = place.tally, place.report
        left = [subject_id for subject_id in self.people if subject_id not in self.waiting]
        tally.withdrawals += self.withdrawals
        tally.note_withdrawn(self.deployment, left)
        tally.touched += count_mails_left(self.deployment, [self.people[each] for each in left])
        report.add("full.fills", len(self.back), f"of a disk of {DISK}", bar="" if place.seconds else f">= {FILLS}")
        report.add("full.health_said_ok", self.said_ok, "times while it was full", bar="== 0")
        report.add("full.not_named", self.unnamed, "times `status` did not name it", bar="== 0")
        slowest = max(self.withdrawals, default=0.0)
        report.add("full.withdrawal_slowest", slowest, "s", bar=f"<= {WITHDRAWAL_SECONDS}")
        report.add("full.not_erased", self.late, f"not within {ERASURE_SECONDS:.0f} s while full", bar="== 0")
        slowest = max(self.back, default=0.0)
        report.add("full.back_slowest", slowest, "s from room to all done", bar=f"<= {BACK_SECONDS}")


def fill(folder: Path) -> Path:
    """To the last byte, as whoever fills a disk does."""
    path = folder / "filler"
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(1 << 16)):
            pass
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(64)):
            pass
    return path
