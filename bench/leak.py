"""How fast is a leak searched, from files to alerts? A folder of labelled faces as zip archives in one listing, people
enrolled from it, then the clock from the start of `ingest` until the last face is decided and the last alert committed.
What comes after it, the comparison with other datasets before messages leave, is stated beside it.

    .venv/bin/python -m bench.leak --folder FOLDER                     (each picture once)
    .venv/bin/python -m bench.leak --folder FOLDER --images 170000     (with repeats, each encoded anew)
    .venv/bin/python -m bench.leak --quick

Servers, workers and clock are those of `./facewarden up`, on the cores of this machine; the bench only writes the
archives beforehand (kept in bench/out) and looks at the rows. A repeat is cut, scaled and encoded anew, so that no
digest is seen twice. Shares of time are those of the workers' turns; processor time is read from the processes at the
end.
"""

import argparse
import io
import json
import os
import random
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import psutil
from PIL import Image

from bench.children import look_after, make_pool
from bench.report import ROOT, Report, add_folder, add_options, find_folder
from cli.commands.demo import ORGANISATION
from cli.commands.enrol import enrol
from cli.commands.up import start_base, start_parts
from cli.demo.outcome import is_settled
from cli.setup import prepare_keys
from cli.supervisor import Child, Supervisor
from crawler.approval import DemoApprovers
from crawler.ingest import run_ingest
from matcher.calibration import is_calibration_name
from vault.keys import Keys, load_keys
from vault.settings import Settings, load_settings
from vault.store import Connection, connect
from vault.store.deployment import DeploymentKind
from vault.store.status import count_live_templates, count_states
from vault.store.subjects import confirm_consent, find_subject
from vault.terminal import Screen
from workers.faces.engine import load_engine

A_ARCHIVE = 2500  # pictures
QUICK_IMAGES, QUICK_PEOPLE = 3000, 50
CARD = """name = "leak"
kind = "folder"
[why]
purpose = "Measure how fast a leak is searched"
legal_basis = "Made by the bench from the folder it was given"
valid_until = 2099-12-31
"""
POLL_SECONDS = 0.25
PATIENCE_SECONDS = 3600.0


# -- the leak ----------------------------------------------------------------------------------------------------------


def write_archives(folder: Path, out: Path, images: int, processes: int) -> Path:
    """Zip archives of `images` pictures of the folder, each one as it is, then encoded anew; kept for the next run."""
    pictures = sorted(folder.rglob("*.jpg"))
    if not pictures:
        raise SystemExit(f"no .jpg in {folder}")
    offer = out / f"leak-{images}" / "offer"
    jobs = [
        (offer / f"part-{start // A_ARCHIVE:03}.zip", start, [pictures[at % len(pictures)] for at in
         range(start, min(start + A_ARCHIVE, images))], len(pictures))
        for start in range(0, images, A_ARCHIVE)
    ]  # fmt: skip
    offer.mkdir(parents=True, exist_ok=True)
    with make_pool(processes) as pool:
        list(pool.map(write_archive, [job for job in jobs if not job[0].exists()]))
    return offer.parent


def write_archive(job: tuple[Path, int, list[Path], int]) -> None:
    path, start, pictures, once = job
    temporary = path.with_suffix(".tmp")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as package:
        for number, picture in enumerate(pictures, start):
            data = picture.read_bytes() if number < once else encode_anew(picture, number)
            package.writestr(f"{number:06}.jpg", data)
    temporary.rename(path)


def encode_anew(path: Path, number: int) -> bytes:
    """What a reseller makes of a picture: up to 6 % cut off each side, scaled to 80-120 %, JPEG of quality 60-95."""
    lots = random.Random(number)
    picture = Image.open(path).convert("RGB")
    width, height = picture.size
    left, top, right, bottom = (round(lots.uniform(0, 0.06) * side) for side in (width, height, width, height))
    picture = picture.crop((left, top, width - right, height - bottom))
    scale = lots.uniform(0.8, 1.2)
    out = io.BytesIO()
    picture.resize((round(picture.width * scale), round(picture.height * scale))).save(
        out, "JPEG", quality=lots.randint(60, 95)
    )
    return out.getvalue()


# -- the people --------------------------------------------------------------------------------------------------------


def enrol_people(conn: Connection, keys: Keys, settings: Settings, folder: Path, people: int) -> list[str]:
    """So many people, of those that no calibration has used, each with their first picture as another encoder leaves
    it; confirmed. Returns their names."""
    names = [each.name for each in sorted(folder.iterdir()) if each.is_dir() and not is_calibration_name(each.name)]
    chosen = random.Random(1).sample(names, min(people, len(names)))
    for number, name in enumerate(chosen):
        photo = encode_anew(sorted((folder / name).glob("*.jpg"))[0], -number)
        address = f"person-{number}@example.org"
        enrol(conn, keys, settings, address, photo, recorded_by="bench")
        subject_id = find_subject(conn, keys, address)
        assert subject_id is not None
        confirm_consent(conn, subject_id)
    return chosen


def wait_for_templates(conn: Connection, settings: Settings, supervisor: Supervisor) -> int:
    """Returns how many people are searched for."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while {"ready", "running"} & count_states(conn).get("template", {}).keys():
        look_after(supervisor)
        if time.monotonic() > deadline:
            raise SystemExit("the enrolments do not become templates: see the workers' logs")
        time.sleep(POLL_SECONDS)
    return count_live_templates(conn, settings.faces.pack)


# -- the clock ---------------------------------------------------------------------------------------------------------


def start_ingest(supervisor: Supervisor, leak: Path, card: Path) -> Child:
    """By this file and not by the command, which no demo's deployment lets be used."""
    argv = [sys.executable, "-P", "-m", "bench.leak", "--ingest", str(leak), str(card)]
    return supervisor.start(Child(name="ingest", role="ingest", argv=argv, environ=supervisor.environ(), keep=False))


def ingest(leak: Path, card: Path) -> int:
    """In a process of its own, with the settings of its environment."""
    return run_ingest(load_settings(), leak, card, lambda line: print(line, flush=True))


def run_leak(supervisor: Supervisor, conn: Connection, leak: Path, images: int, console: Screen) -> dict[str, Any]:
    """Ingest and wait for the last row. Returns seconds and what the rows say."""
    settings = supervisor.settings
    card = settings.home / "leak.toml"
    card.write_text(DemoApprovers(conn, load_keys(settings.key_file)).sign(CARD), encoding="utf-8")
    (before,) = conn.execute("select clock_timestamp()").fetchone() or (None,)
    started, told = time.monotonic(), 0.0
    running = start_ingest(supervisor, leak, card)
    while running.running or not is_decided(conn):
        look_after(supervisor)
        elapsed = time.monotonic() - started
        if elapsed - told > 10:
            told, done = elapsed, count_states(conn).get("sample", {}).get("done", 0)
            console.print(f"  {elapsed:4.0f} s  {done:,} of {images:,} samples, {done / elapsed:.0f} a second")
        if elapsed > PATIENCE_SECONDS:
            raise SystemExit("the leak does not come to an end: see the logs")
        time.sleep(POLL_SECONDS)
    seconds = time.monotonic() - started
    while not is_settled(states := count_states(conn)):
        look_after(supervisor)
        time.sleep(POLL_SECONDS)
    if running.exit_code:
        raise SystemExit(f"ingest ended with {running.exit_code}: see ingest.log")
    row = conn.execute(
        """select extract(epoch from max(created_at) - %(before)s), count(*),
                  (select extract(epoch from max(matched_at) - %(before)s) from match),
                  (select count(*) from face
                   where score >= 0.6 and least(width, height) >= 24 and outcome <> 'low_quality'),
                  (select count(*) from sample where kind = 'image' and state = 'done'),
                  (select count(*) from match), (select count(*) from match where held is not null)
           from alert""",
        {"before": before},
    ).fetchone()
    assert row is not None
    return {
        "seconds": seconds,
        "settled_after_s": time.monotonic() - started,
        "last_alert_s": float(row[0] or 0),
        "alerts": row[1],
        "last_match_s": float(row[2] or 0),
        "faces": row[3],
        "samples": row[4],
        "matches": row[5],
        "held": row[6],
        "states": states,
    }


def is_decided(conn: Connection) -> bool:
    """Is every page read, every sample opened, every face decided? Asked often, so it counts nothing."""
    row = conn.execute(
        """select exists (select 1 from sample where state in ('ready', 'running'))
               or exists (select 1 from face where attempts > 0 and state in ('ready', 'running'))
               or exists (select 1 from face where attempts = 0 and state = 'ready')
               or exists (select 1 from page where state in ('ready', 'running'))"""
    ).fetchone()
    return row is not None and not row[0]


def read_turns(home: Path) -> dict[str, float]:
    """Seconds of the workers by step, from what they log."""
    seconds: dict[str, float] = {}
    for path in sorted((home / "logs").glob("worker-*.log")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if '"turn"' in line:
                turn = json.loads(line)
                seconds[turn["step"]] = seconds.get(turn["step"], 0.0) + turn["seconds"]
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))


def read_processor(supervisor: Supervisor) -> dict[str, float]:
    """Processor seconds by role so far, children included (and the dead ones that were waited for)."""
    seconds: dict[str, float] = {}
    for child in supervisor.children.values():
        if child.process is None:
            continue
        try:
            top = psutil.Process(child.process.pid)
            processes = [top, *top.children(recursive=True)]
        except psutil.Error:
            continue
        for process in processes:
            try:
                times = process.cpu_times()
                boxed = process.pid != top.pid and child.role == "worker"
            except psutil.Error:
                continue
            spent = times.user + times.system + times.children_user + times.children_system
            if process.pid == top.pid and child.role == "worker":
                spent = times.user + times.system
            role = "box" if boxed else child.role
            seconds[role] = seconds.get(role, 0.0) + spent
    return seconds


def weigh_workers(supervisor: Supervisor) -> float:
    """MB that the heaviest worker has for itself (unique set size; its box is another process)."""
    workers = [child.process.pid for child in supervisor.children.values() if child.role == "worker" and child.process]
    return max(psutil.Process(pid).memory_full_info().uss for pid in workers) / 1e6


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_folder(parser)
    parser.add_argument(
        "--images", type=int, default=0, help="in all; more than there are: encoded anew (default: each once)"
    )
    parser.add_argument("--people", type=int, default=200, help="enrolled")
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--keep", type=Path, help="leave the state folder here, logs and all")
    parser.add_argument("--ingest", nargs=2, type=Path, metavar=("FOLDER", "CARD"), help=argparse.SUPPRESS)
    add_options(parser)
    args = parser.parse_args(arguments)
    if args.ingest:
        return ingest(*args.ingest)
    args.folder = find_folder(args.folder)
    console = Screen(highlight=False)
    people = QUICK_PEOPLE if args.quick else args.people
    images = args.images or (QUICK_IMAGES if args.quick else sum(1 for _ in args.folder.rglob("*.jpg")))
    console.print(f"writing archives of {images:,} pictures")
    leak = write_archives(args.folder, ROOT / "bench/out", images, len(os.sched_getaffinity(0)))
    report = Report("leak", args)
    with tempfile.TemporaryDirectory(prefix="facewarden-leak-") as temporary:
        home = (args.keep or Path(temporary)) / "home"
        settings = Settings(home=home, key_file=home.with_name("home.key")).replace("faces", runtime=args.runtime)
        settings = settings.replace("organisation", **ORGANISATION)
        supervisor = Supervisor(settings=settings)
        with supervisor.running():
            settings = start_base(supervisor, console, DeploymentKind.DEMO)
            keys = prepare_keys(settings)
            engine = load_engine(settings)  # chooses the runtime before the clock starts
            report.settings(engine.describe()).hold_settings()
            del engine
            start_parts(supervisor, ("worker", "people"))
            with connect(settings) as conn:
                conn.autocommit = True
                enrol_people(conn, keys, settings, args.folder, people)
                templates = wait_for_templates(conn, settings, supervisor)
                console.print(f"{templates} people enrolled; ingest begins")
                before = read_processor(supervisor), read_turns(home)
                found = run_leak(supervisor, conn, leak, images, console)
                processor = {k: v - before[0].get(k, 0.0) for k, v in read_processor(supervisor).items()}
                turns = {k: v - before[1].get(k, 0.0) for k, v in read_turns(home).items()}
                memory = weigh_workers(supervisor)
    seconds = found["seconds"]  # of deciding every face; the last alert and the last match are stated beside it
    report.describe(folder=str(args.folder.name), images=images, people=templates, **found)
    report.describe(
        worker_seconds_by_step={step: round(spent, 1) for step, spent in turns.items()},
        processor_seconds_by_role={role: round(spent, 1) for role, spent in processor.items()},
    )
    bf16 = engine_has_bf16()
    report.add("leak.images_per_second", found["samples"] / seconds, "images/s", bar=f">= {300 if bf16 else 190}")
    report.add("leak.faces_per_image", found["faces"] / max(found["samples"], 1), "faces", bar=">= 1.15")
    report.add("leak.seconds", seconds, "s")
    report.add("leak.worker_private_mb", memory, "MB", bar="<= 500")
    report.show()
    report.write(args.json)
    return report.exit_code


def engine_has_bf16() -> bool:
    from workers.faces.runtimes import Runtime, list_runtimes

    return Runtime.OPENVINO_BF16 in list_runtimes()


if __name__ == "__main__":
    sys.exit(main())
