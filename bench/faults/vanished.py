"""A worker's host vanishes in the middle of a claim: its network link goes down without a word. Others take over within
a minute, a withdrawal waits for nobody, nothing is done twice."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from bench.children import stop_process
from bench.faults.database import name_database, run_postgres, run_worker
from bench.faults.deployment import Deployment, count, resume, stop
from bench.faults.material import LEAVER, write_material
from bench.faults.place import Place
from bench.faults.tally import WITHDRAWAL_SECONDS, Outage, count_mails_left, count_messages_wrong
from vault.lockdown import die_with_parent

NEAR, FAR = "10.197.0.1", "10.197.0.2"
PICTURES = 200
START_SECONDS = 60.0
TAKEN_OVER_SECONDS = 60.0
LEAVERS = 3
CLAIMED = "select count(*) from sample where state = 'running'"


def run(place: Place) -> None:
    material = write_material(place.folder / "vanished-pictures", PICTURES, seed=6000)
    place.made += 1
    port = place.port + place.made
    with contextlib.ExitStack() as stack:
        host = stack.enter_context(run_host())
        url = stack.enter_context(run_postgres(place.folder / "vanished-db", port, addresses=f"127.0.0.1,{NEAR}"))
        deployment = place.make_deployment("vanished", environ={"DATABASE_URL": url})
        stack.enter_context(deployment.running())
        deployment.enrol_people()
        people = deployment.enrol({f"leaver-{number}": LEAVER for number in range(LEAVERS)})
        inside = ("nsenter", "-t", str(host), "-n", "--")
        stack.enter_context(run_worker(deployment, "worker-far", prefix=inside, database_url=name_database(NEAR, port)))
        wait_for_far(deployment)
        near = deployment.find_pids("worker")
        for pid in near:
            stop(pid)  # so that the claims are the other's
        ingest = deployment.start_ingest(material, material.name)
        with deployment.connect() as conn:
            deployment.wait_until(lambda: count(conn, CLAIMED) > 0, START_SECONDS, "nothing is claimed")
        set_link("down")
        vanished = time.time()
        for pid in near:
            resume(pid)
        seconds = [deployment.withdraw(subject_id) for subject_id in people]
        ingest.wait(120)
        with deployment.connect() as conn:
            waiting = "select count(*) from sample where state in ('ready', 'running')"
            deployment.wait_until(lambda: count(conn, waiting) == 0, 4 * TAKEN_OVER_SECONDS, "nobody took over")
        taken = time.time() - vanished
        deployment.wait_settled()
        set_link("up")
        time.sleep(15)  # the other comes back, with what it had claimed
        place.tally.withdrawals += seconds
        place.tally.note_withdrawn(deployment, list(people), [Outage(begun=vanished, ended=vanished + 30.0)])
        place.tally.touched += count_mails_left(deployment, list(people.values()))
        wrong = count_messages_wrong(deployment)
        found = deployment.list_rows()
    report = place.report
    report.add("vanished.taken_over", round(taken, 1), "s until all was done", bar=f"<= {TAKEN_OVER_SECONDS}")
    report.add("vanished.withdrawal_slowest", max(seconds), "s", bar=f"<= {WITHDRAWAL_SECONDS}")
    report.add("vanished.messages_wrong", wrong, "messages", bar="== 0")
    place.compare_alone("vanished", [material], found)


def wait_for_far(deployment: Deployment) -> None:
    """Until the other host's worker has its session."""
    with deployment.connect() as conn:
        query = "select count(*) from pg_stat_activity where client_addr = %s::inet"
        deployment.wait_until(lambda: count(conn, query, FAR) > 0, START_SECONDS, "the worker does not connect")
    time.sleep(5.0)  # its models are loaded


@contextlib.contextmanager
def run_host() -> Iterator[int]:
    """A network namespace with a link to ours, as long as the block lasts; the pid of the process that holds it."""
    process = subprocess.Popen(
        ["unshare", "--net", "--", "sleep", "infinity"], preexec_fn=lambda: die_with_parent(signal.SIGTERM)
    )
    try:
        wait_for_namespace(process.pid)
        run_ip("link", "add", link_name(), "type", "veth", "peer", "name", "far", "netns", str(process.pid))
        run_ip("addr", "add", f"{NEAR}/30", "dev", link_name())
        set_link("up")
        inside = ("nsenter", "-t", str(process.pid), "-n", "ip")
        for words in (
            ("addr", "add", f"{FAR}/30", "dev", "far"),
            ("link", "set", "far", "up"),
            ("link", "set", "lo", "up"),
        ):
            subprocess.run([*inside, *words], check=True)
        yield process.pid
    finally:
        stop_process(process)  # the link goes with the namespace


def wait_for_namespace(pid: int) -> None:
    ours = Path("/proc/self/ns/net").readlink()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}/ns/net").readlink() == ours:
        if time.monotonic() > deadline:
            raise RuntimeError("no network namespace can be made here")
        time.sleep(0.05)


def link_name() -> str:
    return f"fw{os.getpid() % 1_000_000}"


def set_link(state: str) -> None:
    run_ip("link", "set", link_name(), state)


def run_ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
