"""Workers that run an eighth of the time: stopped and continued every few milliseconds, as on a machine that is eight
times slower. No lease is lost, nothing is tried twice, nothing refused."""

import contextlib
import re
import threading
import time
from collections.abc import Iterator

from bench.faults.deployment import Deployment, count, resume, stop
from bench.faults.material import write_material
from bench.faults.place import Place

SHARE = 1 / 8
CYCLE_SECONDS = 0.4  # 50 ms of work in each
PICTURES, FEWER = 200, 60
LOST = re.compile(r"lease was lost")


def run(place: Place) -> None:
    material = write_material(place.folder / "slow-pictures", FEWER if place.seconds else PICTURES, seed=4000)
    deployment = place.make_deployment("slow")
    with deployment.running():
        deployment.enrol_people()
        with slowed(deployment):
            deployment.ingest(material, material.name)
            seconds = deployment.wait_settled()
        lost = sum(len(LOST.findall(path.read_text(errors="replace"))) for path in deployment.list_logs())
        with deployment.connect() as conn:
            tried = count(conn, "select count(*) from sample where attempts > 1")
            tried += count(conn, "select count(*) from face where attempts > 1")
            done = count(conn, "select count(*) from sample where kind = 'image' and state = 'done'")
        found = deployment.list_rows()
    report = place.report
    report.add(
        "slow.done", done, f"pictures at a duty cycle of {SHARE}", bar=f">= {len(list(material.rglob('*.jpg')))}"
    )
    report.add("slow.seconds_of_work", round(seconds, 1), "s after ingest")
    report.add("slow.leases_lost", lost, "said by a log", bar="== 0")
    report.add("slow.tried_twice", tried, "rows", bar="== 0")
    place.compare_alone("slow", [material], found)


@contextlib.contextmanager
def slowed(deployment: Deployment) -> Iterator[None]:
    """All workers and their boxes, as long as the block lasts."""
    ended = threading.Event()
    thread = threading.Thread(target=slow_down, args=(deployment, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def slow_down(deployment: Deployment, ended: threading.Event) -> None:
    pids: list[int] = []
    looked = 0.0
    while not ended.is_set():
        if time.monotonic() - looked > 1.0:
            pids, looked = deployment.find_pids("worker"), time.monotonic()
            pids = [*pids, *deployment.list_children(pids)]
        for pid in pids:
            stop(pid)
        time.sleep(CYCLE_SECONDS * (1 - SHARE))
        for pid in pids:
            resume(pid)
        time.sleep(CYCLE_SECONDS * SHARE)
