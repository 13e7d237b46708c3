"""Does a proposed card harvest a program that was not written here? Each program has a file of its own beside this one:
in a venv and under a hash lock of its own it is filled through its own code with drawn pictures, started, looked at,
crawled with the proposed card, and compared with what went in. Nothing of a program is kept here but its lock.
"""

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.children import check_process, check_restarts, keep_alive, run_watched, stop_process
from bench.servers import make_demo
from cli.supervisor import ROOT, read_state
from crawler.propose import MOST_PAGES, Proposal, SavedPage, propose_card, write_card
from vault.settings import Servers, Settings
from vault.store import connect

FIRST_PORT = 9100
START_SECONDS = 180.0
CRAWL_SECONDS = 3600.0
# Stands before each seed, in the program's own environment: arguments, Django, and a picture for every number.
SEED_HEAD = r'''
import hashlib, io, json, random, sys
import django
django.setup()
from PIL import Image, ImageDraw

number_of_things, per_thing, seed, out = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
draw_lots = random.Random(seed)

def draw(number):
    """A drawn face, another one for every number."""
    lots = random.Random(f"{seed}:{number}")
    image = Image.new("RGB", (200, 240), tuple(lots.randrange(256) for _ in range(3)))
    pen = ImageDraw.Draw(image)
    pen.ellipse((40, 40, 160, 200), fill=tuple(lots.randrange(120, 256) for _ in range(3)))
    for x in (75, 115):
        pen.ellipse((x, 95, x + 14, 107), fill=(lots.randrange(90), 20, 20))
    pen.arc((75, 135, 125, 170), 20, 160, fill=(120, 30, 30), width=lots.randrange(2, 7))
    pen.text((5, 5), str(number), fill=(0, 0, 0))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=85)
    return data.getvalue()
'''


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """A Django project: how it is made and filled, and what a harvest of it is compared with.

    `make_project` leaves `manage.py` in the folder `project`. `seed` runs after SEED_HEAD and leaves at `out` what is
    in the program, which `compare` gets with the rows of the crawl; `is_whole` says whether nothing was missed.
    """

    name: str
    project: str
    lock: Path
    settings: str
    seed: str
    make_project: Callable[[Path, Path, int], None]  # interpreter, project, port
    compare: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]
    is_whole: Callable[[dict[str, Any]], bool]

    def environ(self, python: Path, project: Path) -> dict[str, str]:
        return clean_environment(
            PATH=f"{python.parent}:{os.environ['PATH']}",
            DJANGO_SETTINGS_MODULE=self.settings,
            PYTHONPATH=str(project),
        )


def find_port(first: int) -> int:
    for port in range(first, first + 200):
        with contextlib.suppress(OSError), socket.socket() as each:
            each.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no free port")


def clean_environment(**more: str) -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ} | more


# -- the program ------------------------------------------------------------------------------------------------------


def make_venv(folder: Path, lock: Path) -> Path:
    """The program's own interpreter; kept between runs as long as the lock is the same."""
    python = folder / "bin/python"
    stamp, wanted = folder / "lock.sha256", hashlib.sha256(lock.read_bytes()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run(
        [str(python), "-m", "pip", "install", "-q", "--require-hashes", "--no-deps", "-r", str(lock)], check=True
    )
    stamp.write_text(wanted)
    return python


def fill(program: Program, python: Path, project: Path, arguments: list[str]) -> dict[str, Any]:
    """Runs the program's seed; what is in it then."""
    truth = project.parent / "truth.json"
    subprocess.run(
        [str(python), "-c", SEED_HEAD + program.seed, *arguments, str(truth)],
        cwd=project, env=program.environ(python, project), check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    table: dict[str, Any] = json.loads(truth.read_text(encoding="utf-8"))
    return table


@contextlib.contextmanager
def serve(program: Program, python: Path, project: Path, port: int) -> Iterator[str]:
    with open(project.parent / "server.log", "wb") as log:
        argv = [str(python), "manage.py", "runserver", f"127.0.0.1:{port}", "--noreload"]
        environ = program.environ(python, project)
        process = subprocess.Popen(argv, cwd=project, env=environ, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}/"
    try:
        wait_for(lambda: bool(fetch(url).body), process)
        with keep_alive(partial(check_process, process)):
            yield url
    finally:
        stop_process(process)


def wait_for(ready: Any, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        check_process(process)
        with contextlib.suppress(OSError):
            if ready():
                return
        time.sleep(0.2)
    raise RuntimeError(f"{process.args!r} did not come up")


# -- the card ---------------------------------------------------------------------------------------------------------


def fetch(url: str) -> SavedPage:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return SavedPage(url=answer.url, body=answer.read(), content_type=answer.headers.get("Content-Type", ""))


def propose(url: str) -> tuple[Proposal, int]:
    """The proposal for a place, and how many pages it took."""
    pages = [fetch(url)]
    proposal = propose_card(pages)
    while proposal.wants and len(pages) < MOST_PAGES:
        pages += [fetch(each) for each in proposal.wants]
        proposal = propose_card(pages)
    return proposal, len(pages)


def decide(text: str) -> str:
    """The lines that only a person can fill in, and no others."""
    answers = {"purpose": '"Count what a proposed card harvests"', "legal_basis": '"Our own server, drawn pictures"',
               "valid_until": "2099-12-31", "robots": '"obey"'}  # fmt: skip
    lines = []
    for line in text.splitlines():
        name = line.split(" = ", 1)[0]
        lines.append(f"{name} = {answers[name]}" if name in answers and "DECIDE" in line else line)
    return "\n".join(lines) + "\n[pace]\ndelay = 0.0\nconcurrency = 8\n"


def sign(text: str, home: Path) -> str:
    """The card with the signatures of the approvers of a demo's deployment, which is made in this state folder."""
    return make_demo(home).sign(text)


# -- the crawl --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def run_servers(home: Path, port: int) -> Iterator[None]:
    argv = [sys.executable, "-P", "-m", "cli", "up", "--home", str(home), "--port", str(port), "--only", "crawler"]
    environ = clean_environment(PYTHONPATH=str(ROOT))
    process = subprocess.Popen(argv, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(
            lambda: any(each["role"] == "crawler" for each in (read_state(home) or {}).get("processes", [])), process
        )
        with keep_alive(partial(check_process, process), partial(check_restarts, home, Counter())):
            yield
    finally:
        stop_process(process)


def crawl(home: Path, card: Path, pair: str) -> tuple[int, str]:
    argv = [sys.executable, "-P", "-m", "cli", "crawl", str(card), "--lab", pair, "--home", str(home)]
    code, told = run_watched(argv, CRAWL_SECONDS, env=clean_environment(PYTHONPATH=str(ROOT)))
    return code, told[-3000:]


def count_rows(home: Path) -> dict[str, Any]:
    state = read_state(home)
    assert state is not None
    settings = Settings(home=home, key_file=home / "none", servers=Servers(database_url=state["database_url"]))
    with connect(settings) as conn:
        newest = """select distinct on (listing_id) listing_id, url, title, seller, description, price, currency
                    from listing join listing_version using (listing_id) order by listing_id, version desc"""
        listings = conn.execute(newest).fetchall()
        samples = conn.execute("select distinct sha256 from sample where kind = 'image' and sha256 is not null")
        digests = {row[0] for row in samples.fetchall()}
        pages = conn.execute("select kind, state, error_code, count(*) from page group by 1, 2, 3").fetchall()
    return {"listings": listings, "digests": digests, "pages": [list(row) for row in pages]}


def measure(program: Program, things: int, images: int, seed: int, venv: Path, keep: Path | None) -> dict[str, Any]:
    folder = keep or Path(tempfile.mkdtemp(prefix=f"facewarden-{program.name}-"))
    folder.mkdir(exist_ok=True)
    try:
        python = make_venv(venv, program.lock)
        port = find_port(FIRST_PORT)
        started = time.monotonic()
        project = folder / program.project
        program.make_project(python, project, port)
        truth = fill(program, python, project, [str(things), str(images), str(seed)])
        seeded = time.monotonic()
        with serve(program, python, project, port) as url:
            proposal, looked_at = propose(url)
            proposed = time.monotonic()
            card = folder / "card.toml"
            card.write_text(sign(decide(write_card(proposal)), folder / "home"), encoding="utf-8")
            with run_servers(folder / "home", find_port(port + 1)):
                begun = time.monotonic()
                code, told = crawl(folder / "home", card, urlsplit(url).netloc)
                crawled = time.monotonic()
                rows = count_rows(folder / "home")
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    return {
        **program.compare(truth, rows),
        "proposal": {"pages": looked_at, "seconds": round(proposed - seeded, 2), "weak": list(proposal.weak),
                     "notes": list(proposal.notes), "read": tomllib.loads(write_card(proposal))["read"]},
        "seed_seconds": round(seeded - started, 1),
        "crawl_seconds": round(crawled - begun, 1),
        "crawl_exit": code,
        "crawl_told": told,
        "pages": rows["pages"],
    }  # fmt: skip


def main(program: Program, description: str | None, arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--things", type=int, default=20, help="threads or products")
    parser.add_argument("--images", type=int, default=3, help="of each of them")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--venv", type=Path, default=Path(tempfile.gettempdir()) / f"facewarden-{program.name}-venv")
    parser.add_argument("--keep", type=Path, help="leave everything in this folder")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(arguments)
    table = measure(program, args.things, args.images, args.seed, args.venv, args.keep)
    for name, value in table.items():
        print(f"{name:28} {json.dumps(value, ensure_ascii=False)[:600]}")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(table, indent=1, ensure_ascii=False), encoding="utf-8")
    return int(not program.is_whole(table))
