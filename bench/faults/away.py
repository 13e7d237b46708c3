"""The folder of blobs is away while pictures are worked at: unmounted, gone, of another deployment, read-only, on a
file system whose server is gone; or no file can be opened any more. Afterwards all goes on by itself, nothing is lost.

A stale file system is a FUSE mount whose server was stopped for good (ENOTCONN, a kind of EIO); ESTALE needs an NFS
server, which is not made here.
"""

import contextlib
import os
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from uuid import uuid4

from bench.faults.deployment import Deployment, count, resume, stop
from bench.faults.material import write_material
from bench.faults.place import Place
from vault.blobs import MARKER

AWAY_SECONDS = 10.0
FEWEST_DESCRIPTORS = 3  # those that are open stay open
BACK_SECONDS = 30.0  # in which the work goes on after the folder is back
WORK_SECONDS = 60.0
PICTURES = 120
LEAST_WAITING = 30  # pictures when the folder goes away
Trouble = Callable[[Deployment], AbstractContextManager[None]]


def run(place: Place) -> None:
    parts = [
        write_material(place.folder / f"away-{name}", PICTURES, seed=2000 + number)
        for number, name in enumerate(TROUBLES)
    ]
    deployment = place.make_deployment("away")
    with blobs_mounted(deployment.home), deployment.running():
        deployment.enrol_people()
        for (name, trouble), part in zip(TROUBLES.items(), parts, strict=True):
            take_away(place, deployment, name, trouble, part)
        found = deployment.list_rows()
    place.compare_alone("away", parts, found)


def take_away(place: Place, deployment: Deployment, name: str, trouble: Trouble, part: Path) -> None:
    """One trouble, from when pictures wait until they are worked off."""
    workers = deployment.find_pids("worker")
    for pid in workers:
        stop(pid)  # until there is work enough
    ingest = deployment.start_ingest(part, part.name)
    wait_for_work(deployment)
    with trouble(deployment):
        for pid in workers:
            resume(pid)
        named = watch(deployment)
        left = count_waiting(deployment)
    started = time.monotonic()
    ingest.wait(120)
    if ingest.returncode:
        deployment.ingest(part, part.name)
    deployment.wait_settled()
    back = time.monotonic() - started
    report = place.report
    report.add(f"away.{name}.waiting", left, "when it was over", bar=">= 1" if name in BLOCKING else "")
    report.add(f"away.{name}.not_named", int(not named), "`status` did not name it", bar="== 0")
    report.add(f"away.{name}.back", round(back, 1), "s until all was done", bar=f"<= {BACK_SECONDS}")


def count_waiting(deployment: Deployment) -> int:
    with deployment.connect() as conn:
        return count(conn, "select count(*) from sample where state in ('ready', 'running')")


def wait_for_work(deployment: Deployment) -> None:
    """Until enough is taken in that some of it will still wait."""
    deployment.wait_until(lambda: count_waiting(deployment) >= LEAST_WAITING, WORK_SECONDS, "nothing is taken in")


def watch(deployment: Deployment) -> bool:
    """Wait; has `status` named the trouble meanwhile?"""
    started, named = time.monotonic(), False
    while time.monotonic() - started < AWAY_SECONDS:
        if not named:
            code, told = deployment.run("status")
            named = code == 0 and "paused: " in told
        deployment.check()
        time.sleep(0.2)
    return named


# -- what is done to the folder ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def blobs_mounted(home: Path) -> Iterator[None]:
    """The folder of blobs lies elsewhere and is mounted to its place."""
    store, blobs = home.with_name(f"{home.name}-store"), home / "blobs"
    home.mkdir(mode=0o700)
    for folder in (store, blobs):
        folder.mkdir(mode=0o700)
    mount("--bind", str(store), str(blobs))
    try:
        yield
    finally:
        unmount(blobs)


@contextlib.contextmanager
def unmounted(deployment: Deployment) -> Iterator[None]:
    """Nothing is there: the folder under the mount is empty."""
    blobs = deployment.home / "blobs"
    unmount(blobs)
    yield
    mount("--bind", str(store_of(deployment)), str(blobs))


@contextlib.contextmanager
def foreign(deployment: Deployment) -> Iterator[None]:
    """The folder of another deployment is mounted over it."""
    other = deployment.home.with_name(f"{deployment.home.name}-other")
    other.mkdir(mode=0o700)
    (other / MARKER).write_text(f"{uuid4()}\n", encoding="ascii")
    mount("--bind", str(other), str(deployment.home / "blobs"))
    yield
    unmount(deployment.home / "blobs")


@contextlib.contextmanager
def gone(deployment: Deployment) -> Iterator[None]:
    """Not even the place to mount it on is there."""
    blobs, moved = deployment.home / "blobs", deployment.home / "run/blobs"
    unmount(blobs)
    blobs.rename(moved)
    yield
    if blobs.exists():  # made anew by a writer, which committed nothing of what it wrote there
        blobs.rename(deployment.home / "run/litter")
    moved.rename(blobs)
    mount("--bind", str(store_of(deployment)), str(blobs))


@contextlib.contextmanager
def read_only(deployment: Deployment) -> Iterator[None]:
    """As a kernel remounts a disk that fails. Pictures can still be read: only their erasure waits."""
    blobs = str(deployment.home / "blobs")
    mount("-o", "remount,bind,ro", blobs)
    yield
    mount("-o", "remount,bind,rw", blobs)


@contextlib.contextmanager
def no_descriptors(deployment: Deployment) -> Iterator[None]:
    """Workers can open no file more."""
    before = {}
    for pid in deployment.find_pids("worker"):
        before[pid] = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (FEWEST_DESCRIPTORS, before[pid][1]))
    yield
    for pid, limits in before.items():
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


@contextlib.contextmanager
def stale(deployment: Deployment) -> Iterator[None]:
    """A FUSE file system whose server is gone lies over it: every call fails with ENOTCONN."""
    blobs = deployment.home / "blobs"
    device = os.open("/dev/fuse", os.O_RDWR)
    mount("-t", "fuse", "-o", f"fd={device},rootmode=40000,user_id=0,group_id=0", "faults", str(blobs), keep=device)
    os.close(device)
    yield
    unmount(blobs)


def store_of(deployment: Deployment) -> Path:
    return deployment.home.with_name(f"{deployment.home.name}-store")


def mount(*words: str, keep: int | None = None) -> None:
    subprocess.run(["mount", *words], check=True, pass_fds=() if keep is None else (keep,))


def unmount(folder: Path) -> None:
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


BLOCKING = {"unmounted", "gone", "foreign", "no_descriptors", "stale"}  # nothing can be read
TROUBLES: dict[str, Trouble] = {
    "unmounted": unmounted,
    "gone": gone,
    "foreign": foreign,
    "read_only": read_only,
    "no_descriptors": no_descriptors,
    **({"stale": stale} if Path("/dev/fuse").exists() else {}),
}
