"""Clocks that are wrong: workers whose machines are 40 days ahead and an hour behind, then the database's clock that
jumps 40 days ahead and back. Nothing expires, `status` says why nothing is done, and all goes on when they agree."""

import time

from bench.faults.database import Clock, run_postgres, run_worker
from bench.faults.deployment import Deployment, count, resume, stop
from bench.faults.material import write_material
from bench.faults.place import Place

DAY = 86_400
WRONG = {"ahead": 40 * DAY, "behind": -3600}
PICTURES = 60
WRONG_SECONDS = 10.0
START_SECONDS = 60.0
BACK_SECONDS = 60.0


def run(place: Place) -> None:
    if not Clock.is_possible():
        place.report.add("clocks.not_run", 1, "no C compiler (cc) here", bar="== 0")
        return
    parts = [write_material(place.folder / f"clocks-{number}", PICTURES, seed=5000 + number) for number in range(3)]
    place.made += 1
    clock = Clock(place.folder, "database")
    with run_postgres(place.folder / "clocks-db", place.port + place.made, environ=clock.environ) as url:
        deployment = place.make_deployment("clocks", environ={"DATABASE_URL": url})
        with deployment.running():
            deployment.enrol_people()
            before = count_kept(deployment)
            for (name, shift), part in zip(WRONG.items(), parts, strict=False):
                try_worker(place, deployment, name, Clock(place.folder, name, shift), part.name)
                deployment.ingest(part, part.name)
                deployment.wait_settled()
            ingest = deployment.start_ingest(parts[-1], parts[-1].name)
            time.sleep(2.0)
            clock.set(40 * DAY)
            named = wait_named(deployment)
            clock.set(0)
            started = time.monotonic()
            ingest.wait(120)
            deployment.ingest(parts[-1], parts[-1].name)
            deployment.wait_settled()
            back = time.monotonic() - started
            lost = sum(number < before[name] for name, number in count_kept(deployment).items())
            found = deployment.list_rows()
    report = place.report
    report.add("clocks.database.not_named", int(not named), "`status` did not say why", bar="== 0")
    report.add("clocks.database.back", round(back, 1), "s until all was done", bar=f"<= {BACK_SECONDS}")
    report.add("clocks.expired", lost, "tables with fewer rows than before", bar="== 0")
    place.compare_alone("clocks", parts, found)


def try_worker(place: Place, deployment: Deployment, name: str, clock: Clock, source: str) -> None:
    """A worker on a machine with a wrong clock, while there is work that nobody else does."""
    part = place.folder / source
    right = deployment.find_pids("worker")
    with run_worker(deployment, f"worker-{name}", environ=clock.environ):
        for pid in right:
            stop(pid)
        deployment.ingest(part, part.name)
        named = wait_named(deployment)
        for pid in right:
            resume(pid)
        log = deployment.home / "logs" / f"worker-{name}.log"
        turns = log.read_text(encoding="utf-8", errors="replace").count('"turn"')
    place.report.add(f"clocks.{name}.not_named", int(not named), "`status` did not say why", bar="== 0")
    place.report.add(f"clocks.{name}.turns", turns, "turns of the worker with the wrong clock", bar="== 0")


def wait_named(deployment: Deployment) -> bool:
    """Does `status` come to name the clock?"""
    started = time.monotonic()
    while time.monotonic() - started < START_SECONDS:
        code, told = deployment.run("status")
        if code == 0 and "clock_" in told:
            time.sleep(WRONG_SECONDS)
            return True
        deployment.check()
    return False


def count_kept(deployment: Deployment) -> dict[str, int]:
    """What a wrong clock could take for expired."""
    with deployment.connect() as conn:
        return {
            "keys": count(conn, "select count(*) from key where kind = 'subject' and wrapped is not null"),
            "links": count(conn, "select count(*) from link"),
            "people": count(conn, "select count(*) from live_consent"),
            "templates": count(conn, "select count(*) from template where state = 'done'"),
        }
