"""What the dashboard's doors tell and bear, on a server of its own with real processes.

Who is enrolled: bursts of requests for a new link, for enrolled and unknown addresses in random turn, each burst from a
network of its own. How well do the times of answers tell the two apart? AUC 0.5 is not at all, 1 or 0 is always.

Load: ten times as many visitors as are answered at a time, each from a network of its own, ask again as soon as they
are answered. How late are pages, what is refused, and is `/health` still answered?

    .venv/bin/python -m bench.doors --json bench/out/doors.json
    .venv/bin/python -m bench.doors --only enrolled --pairs 100
"""

import argparse
import concurrent.futures
import contextlib
import itertools
import random
import socket
import sys
import tempfile
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from bench.disturb import find_ports
from bench.report import Report, add_options
from cli.setup import prepare_database, prepare_keys
from cli.supervisor import Supervisor
from dashboards.limits import AT_ONCE
from vault.keys import Keys, load_keys
from vault.settings import Settings
from vault.store import Connection, connect
from vault.store.subjects import confirm_consent, save_subject

BURST = 30  # requests for one address
LATER = (0.5, 2.0)  # seconds after a burst, when an unrelated page is asked for
WATCH_SECONDS = 13.0  # from a request until its answer's last trace: the beat, the jitter and a sweep each
BAR = 0.15  # how far an AUC may be from a half
SECONDS = 60.0  # of load
TIMES = 10  # visitors for each request that is answered at a time
MOST_READ_SECONDS = 1.0


@contextlib.contextmanager
def start_site(workers: int) -> Iterator[Settings]:
    """A running deployment in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="facewarden-doors-") as folder:
        home = Path(folder) / "home"
        settings = Settings(home=home, key_file=home.with_name("home.key")).replace("web", port=find_ports())
        supervisor = Supervisor(settings=settings)
        with supervisor.running():
            keys = prepare_keys(settings)
            settings = supervisor.start_servers()
            prepare_database(settings, keys).close()
            supervisor.start_command("web", "web", ["web"])
            supervisor.start_command("clock", "clock", ["clock"])
            supervisor.start_command("people", "people", ["worker", "--people", "--name", "people"])
            for number in range(workers):
                supervisor.start_command(f"worker-{number}", "worker", ["worker", "--name", f"worker-{number}"])
            wait_for_site(settings)
            yield settings


def wait_for_site(settings: Settings) -> None:
    """Until it answers. Raises OSError after 30 s."""
    deadline = time.monotonic() + 30.0
    while True:
        try:
            ask(settings, "GET", "/health")
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def enrol_people(conn: Connection, keys: Keys, count: int) -> list[str]:
    """Addresses of people who have confirmed; without a picture, so that no step has anything to do with them."""
    addresses = [f"p{number:06}@test.example" for number in random.Random(1).sample(range(10**6), count)]
    with conn.transaction():
        for address in addresses:
            confirm_consent(conn, save_subject(conn, keys, address, "wording", "bench", b"picture", "opencv-zoo"))
        conn.execute("delete from template")
    return addresses


# -- a visitor ---------------------------------------------------------------------------------------------------------


def ask(
    settings: Settings, method: str, path: str, form: str = "", *, source: str = "127.0.0.1"
) -> tuple[float, float, int, bytes]:
    """One request on a connection of its own: seconds to the first byte and to the last, status, body. Raises
    OSError."""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{settings.web.port}\r\nConnection: close\r\n"
    if method == "POST":
        head += f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(form)}\r\n"
    with socket.create_connection(("127.0.0.1", settings.web.port), 30.0, (source, 0)) as sock:
        started = time.perf_counter()
        sock.sendall(f"{head}\r\n{form}".encode())
        answer = sock.recv(65_536)
        first = time.perf_counter() - started
        while part := sock.recv(65_536):
            answer += part
        last = time.perf_counter() - started
    if not answer:
        raise ConnectionResetError("closed without an answer")
    return first, last, int(answer.split(b" ", 2)[1]), answer.partition(b"\r\n\r\n")[2]


def ask_for_link(settings: Settings, address: str, source: str) -> tuple[float, float]:
    first, last, status, _ = ask(
        settings, "POST", "/me/link", urllib.parse.urlencode({"address": address}), source=source
    )
    if status not in (200, 429):
        raise RuntimeError(f"a request was answered with {status}")
    return first, last


def list_networks() -> Iterator[str]:
    """Addresses of loopback, each in a /24 of its own."""
    for high, low in itertools.product(range(1, 250), range(1, 250)):
        yield f"127.{high}.{low}.1"


# -- who is enrolled ---------------------------------------------------------------------------------------------------


def measure_auc(unknown: Sequence[float], known: Sequence[float]) -> float:
    """Of a known and an unknown one drawn at random, how often the known one has the larger value (ties count half)."""
    a, b = np.asarray(unknown), np.asarray(known)
    above = (b[:, None] > a[None, :]).mean()
    return float(above + (b[:, None] == a[None, :]).mean() / 2)


def run_burst(settings: Settings, address: str, source: str) -> dict[str, float]:
    """Times of one burst and of what other visitors feel then, in seconds, and queue lengths."""
    first, last = ask_for_link(settings, address, source)
    seen = {
        "first byte": first,
        "whole answer": last,
        "next request": ask(settings, "GET", "/health", source=source)[1],
    }
    for _ in range(BURST - 1):
        ask_for_link(settings, address, source)
    ended = time.monotonic()
    seen["after the burst"] = ask(settings, "GET", "/health", source=source)[1]
    for later in LATER:
        time.sleep(max(0.0, ended + later - time.monotonic()))
        seen[f"{later} s later"] = ask(settings, "GET", "/me/enter/x", source=source)[1]
    seen |= read_queues(settings, source)
    return seen


def read_queues(settings: Settings, source: str) -> dict[str, float]:
    """Queue lengths as `/metrics` shows them."""
    lines = ask(settings, "GET", "/metrics", source=source)[3].decode().splitlines()
    found = (line.removeprefix("facewarden_queue{step=").partition("} ") for line in lines if "_queue{" in line)
    return {f"queue {step.strip(chr(34))}": float(value) for step, _, value in found}


def watch_answer(settings: Settings, address: str, source: str) -> dict[str, float]:
    """One request for a link, then a look every 30 ms until all of it is over: the mean and the slowest look."""
    ask_for_link(settings, address, source)
    ended, looks = time.monotonic() + WATCH_SECONDS, []
    while time.monotonic() < ended:
        looks.append(ask(settings, "GET", "/me/enter/x", source=source)[1])
        time.sleep(0.03)
    return {"watched, mean": sum(looks) / len(looks), "watched, slowest": max(looks)}


def measure_enrolled(report: Report, settings: Settings, pairs: int, watched: int) -> None:
    """AUCs of everything that can be seen."""
    with connect(settings) as conn:
        known = enrol_people(conn, load_keys(settings.key_file), pairs + watched)
    networks, draw = list_networks(), random.Random(2)
    for measure, addresses in ((run_burst, known[:pairs]), (watch_answer, known[pairs:])):
        seen: dict[str, tuple[list[float], list[float]]] = {}
        for number, address in enumerate(addresses):
            pair = [(1, address), (0, f"q{draw.randrange(10**6):06}@test.example")]
            draw.shuffle(pair)
            for is_known, each in pair:
                for name, value in measure(settings, each, next(networks)).items():
                    seen.setdefault(name, ([], []))[is_known].append(value)
            print(f"\r{measure.__name__} {number + 1}/{len(addresses)}", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        for name, (unknown, enrolled) in seen.items():
            report.add(f"enrolled.off.{name}", abs(measure_auc(unknown, enrolled) - 0.5), "", bar=f"<= {BAR}")
            report.describe(**{name: describe_seen(name, unknown, enrolled)})


def describe_seen(name: str, unknown: Sequence[float], known: Sequence[float]) -> str:
    scale, unit = (1.0, "rows") if name.startswith("queue") else (1e3, "ms")
    medians = [float(np.median(values)) * scale for values in (unknown, known)]
    return f"AUC {measure_auc(unknown, known):.3f}, medians {medians[0]:.2f} and {medians[1]:.2f} {unit}"


# -- load --------------------------------------------------------------------------------------------------------------


def run_visitor(settings: Settings, ends: float, source: str) -> list[tuple[str, int, float]]:
    """Pages and requests for a link until `ends`, without a pause: path, status (0: none came), seconds."""
    seen, draw = [], random.Random(source)
    while (started := time.monotonic()) < ends:
        path = draw.choice(("/", "/", "/me/enter/x", "/static/facewarden.css", "/me/link"))
        method, form = ("POST", f"address=p{draw.randrange(10**6)}%40x.example") if path == "/me/link" else ("GET", "")
        try:
            status = ask(settings, method, path, form, source=source)[2]
        except OSError:
            status = 0
        seen.append((path, status, time.monotonic() - started))
    return seen


def watch_health(settings: Settings, stop: threading.Event) -> list[tuple[int, float]]:
    seen = []
    while not stop.wait(0.5):
        started = time.monotonic()
        try:
            status = ask(settings, "GET", "/health", source="127.0.0.2")[2]
        except OSError:
            status = 0
        seen.append((status, time.monotonic() - started))
    return seen


def measure_load(report: Report, settings: Settings, seconds: float) -> None:
    """Lateness of pages and of `/health` under load, and what was refused."""
    visitors, ends = TIMES * AT_ONCE, time.monotonic() + seconds
    stop = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(visitors + 1) as many:
        health = many.submit(watch_health, settings, stop)
        runs = [many.submit(run_visitor, settings, ends, each) for each in itertools.islice(list_networks(), visitors)]
        seen = [each for run in runs for each in run.result()]
        stop.set()
    healthy = health.result()
    statuses = Counter(status for _, status, _ in seen)
    read = [took for path, status, took in seen if path != "/me/link" and status == 200]
    report.describe(load=f"{visitors} visitors, {len(seen) / seconds:.0f} requests a second", statuses=dict(statuses))
    report.describe(read=f"{len(read) / seconds:.0f} pages a second")
    report.add("load.read_p95", float(np.percentile(read, 95)), "s", bar=f"<= {MOST_READ_SECONDS}")
    report.add("load.unanswered", statuses[0] / len(seen), "", bar="<= 0")
    report.add("load.refused", (statuses[429] + statuses[503]) / len(seen), "")
    report.add("load.health_answered", sum(status == 200 for status, _ in healthy) / len(healthy), "", bar=">= 1")
    report.add("load.health_slowest", max(took for _, took in healthy), "s", bar=f"<= {MOST_READ_SECONDS}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("enrolled", "load"))
    parser.add_argument("--pairs", type=int, default=300, help="bursts for enrolled addresses, and for unknown ones")
    parser.add_argument("--watched", type=int, default=60, help="pairs that are watched until the message has left")
    parser.add_argument("--workers", type=int, default=1)
    add_options(parser)
    args = parser.parse_args(arguments)
    pairs, watched, seconds = (6, 0, 10.0) if args.quick else (args.pairs, args.watched, SECONDS)
    report = Report("doors", args)
    with start_site(args.workers) as settings:
        if args.only != "load":
            measure_enrolled(report, settings, pairs, watched)
        if args.only != "enrolled":
            measure_load(report, settings, seconds)
    report.show()
    report.write(args.json)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
