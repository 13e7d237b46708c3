"""Does a proposed card harvest a real forum? Starts django-spirit (own venv, hash lock, SQLite), fills it through its
own views with threads and uploaded pictures, proposes a card from what it serves, crawls it, counts.

    .venv/bin/python -m bench.spirit
    .venv/bin/python -m bench.spirit --threads 200 --images 3 --json bench/out/spirit.json

Nothing of Spirit is kept in this repository but `spirit.lock`, made by
    uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header spirit.in
with `django-spirit==0.14.3` in spirit.in.
"""

import argparse
import contextlib
import datetime as dt
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cli.supervisor import ROOT, read_state
from crawler.approval import load_approver_key, make_approver_key, sign_card, trust_approver
from crawler.propose import MOST_PAGES, Proposal, SavedPage, propose_card, write_card
from vault.settings import Servers, Settings
from vault.store import connect

LOCK = Path(__file__).with_name("spirit.lock")
FIRST_PORT = 9100
START_SECONDS = 180.0
CRAWL_SECONDS = 3600.0
LOCAL_SETTINGS = """
from .dev import *
ALLOWED_HOSTS = ["127.0.0.1", "testserver"]
ST_RATELIMIT_ENABLE = False
ST_SITE_URL = "http://127.0.0.1:{port}/"
HAYSTACK_SIGNAL_PROCESSOR = "haystack.signals.BaseSignalProcessor"
"""
# Runs inside Spirit's own environment: people, threads, answers, pictures, all through Spirit's own views.
SEED = r'''
import hashlib, io, json, random, sys
import django
django.setup()
from django.contrib.auth import get_user_model
from django.core.files.base import ContentFile
from django.test import Client
from PIL import Image, ImageDraw
from spirit.category.models import Category
from spirit.topic.models import Topic

threads, per_thread, seed, out = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
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

Category.objects.get_or_create(title="Datasets", defaults={"description": "offers"})
categories = list(Category.objects.filter(is_private=False, is_removed=False).exclude(pk=1))
clients = []
for number in range(6):
    user = get_user_model().objects.create_user(f"seller{number}", f"s{number}@example.org", "x")
    if number % 2:
        user.st.avatar.save("pic.jpg", ContentFile(draw(f"avatar{number}")))
    client = Client()
    client.force_login(user)
    clients.append(client)

def upload(client, number):
    data = draw(number)
    file = io.BytesIO(data)
    file.name = f"sample{number}.jpg"
    answer = client.post("/comment/upload/", {"image": file}, HTTP_X_REQUESTED_WITH="XMLHttpRequest")
    digests.append(hashlib.sha256(data).hexdigest())
    return f"![sample {number}]({answer.json()['url']})"

titles, digests, sellers = [], [], []
for number in range(threads):
    client, seller = clients[number % 6], f"seller{number % 6}"
    kind = draw_lots.choice(("Selfies", "KYC set", "Faces", "Liveness frames"))
    title = f"{kind} {draw_lots.randrange(2, 90) * 100} pcs, lot {number}"
    pictures = [upload(client, number * per_thread + each) for each in range(per_thread)]
    first = pictures[: max(1, per_thread - 1)] if number % 4 else []
    text = f"Fresh set number {number}, price on request.\n\n" + " ".join(first)
    category = categories[number % len(categories)].pk
    answer = client.post("/topic/publish/", {"title": title, "comment": text, "category": category})
    assert answer.status_code == 302, answer.content[-3000:]
    topic = Topic.objects.get(title=title)
    late = pictures[len(first):]
    answers = 24 if number % 10 == 5 else 1 + number % 3
    for each in range(answers):
        last = each == answers - 1
        text = f"Answer {each} to {number}: still there? " + (" ".join(late) if last else "thanks")
        answer = clients[(number + each + 1) % 6].post(f"/comment/{topic.pk}/publish/", {"comment": text})
        assert answer.status_code == 302, answer.content[-3000:]
    titles.append(title)
    sellers.append(seller)
with open(out, "w") as file:
    json.dump({"titles": titles, "digests": digests, "sellers": sellers}, file)
'''


def find_port(first: int) -> int:
    for port in range(first, first + 200):
        with contextlib.suppress(OSError), socket.socket() as each:
            each.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no free port")


def clean_environment(**more: str) -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ} | more


# -- the forum --------------------------------------------------------------------------------------------------------


def make_venv(folder: Path, lock: Path) -> Path:
    """An interpreter with what this lock names; kept between runs as long as the lock is the same."""
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


def make_forum(python: Path, folder: Path, port: int, threads: int, images: int, seed: int) -> dict[str, Any]:
    """A project of Spirit's with its threads; what is in it."""
    environ = clean_environment(PATH=f"{python.parent}:{os.environ['PATH']}")
    folder.mkdir()
    subprocess.run([str(python.parent / "spirit"), "startproject", "forum"], cwd=folder, env=environ, check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    project = folder / "forum"
    (project / "forum/settings/local.py").write_text(LOCAL_SETTINGS.format(port=port), encoding="utf-8")
    environ |= {"DJANGO_SETTINGS_MODULE": "forum.settings.local", "PYTHONPATH": str(project)}
    subprocess.run([str(python), "manage.py", "spiritinstall"], cwd=project, env=environ, check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    truth = folder / "truth.json"
    subprocess.run(
        [str(python), "-c", SEED, str(threads), str(images), str(seed), str(truth)],
        cwd=project, env=environ, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    table: dict[str, Any] = json.loads(truth.read_text(encoding="utf-8"))
    return table


@contextlib.contextmanager
def serve_forum(python: Path, folder: Path, port: int) -> Iterator[str]:
    environ = clean_environment(DJANGO_SETTINGS_MODULE="forum.settings.local", PYTHONPATH=str(folder / "forum"))
    with open(folder / "server.log", "wb") as log:
        argv = [str(python), "manage.py", "runserver", f"127.0.0.1:{port}", "--noreload"]
        process = subprocess.Popen(argv, cwd=folder / "forum", env=environ, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}/"
    try:
        wait_for(lambda: bool(fetch(url).body), process)
        yield url
    finally:
        process.terminate()
        process.wait()


def wait_for(ready: Any, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
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
    """The card with the signature of an approver whom this state folder trusts."""
    home.mkdir(mode=0o700)
    key = home.parent / "bench.key"
    settings = Settings(home=home, key_file=home / "none")
    trust_approver(settings, "bench", make_approver_key(key, ""))
    return sign_card(text, load_approver_key(key, ""), "bench", dt.datetime.now(dt.UTC))


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
        yield
    finally:
        process.terminate()
        process.wait()


def crawl(home: Path, card: Path, pair: str) -> tuple[int, str]:
    argv = [sys.executable, "-P", "-m", "cli", "crawl", str(card), "--lab", pair, "--home", str(home)]
    environ = clean_environment(PYTHONPATH=str(ROOT))
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=CRAWL_SECONDS)
    return done.returncode, done.stdout + done.stderr[-3000:]


def count_rows(home: Path) -> dict[str, Any]:
    state = read_state(home)
    assert state is not None
    settings = Settings(home=home, key_file=home / "none", servers=Servers(database_url=state["database_url"]))
    with connect(settings) as conn:
        newest = """select distinct on (listing_id) listing_id, url, title, seller, description
                    from listing join listing_version using (listing_id) order by listing_id, version desc"""
        listings = conn.execute(newest).fetchall()
        samples = conn.execute("select distinct sha256 from sample where kind = 'image' and sha256 is not null")
        digests = {row[0] for row in samples.fetchall()}
        pages = conn.execute("select kind, state, error_code, count(*) from page group by 1, 2, 3").fetchall()
    return {"listings": listings, "digests": digests, "pages": [list(row) for row in pages]}


def measure(threads: int, images: int, seed: int, venv: Path, keep: Path | None = None) -> dict[str, Any]:
    folder = keep or Path(tempfile.mkdtemp(prefix="facewarden-spirit-"))
    folder.mkdir(exist_ok=True)
    try:
        python = make_venv(venv, LOCK)
        port = find_port(FIRST_PORT)
        started = time.monotonic()
        truth = make_forum(python, folder / "spirit", port, threads, images, seed)
        seeded = time.monotonic()
        with serve_forum(python, folder / "spirit", port) as url:
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
        **compare(truth, rows),
        "proposal": {"pages": looked_at, "seconds": round(proposed - seeded, 2), "weak": list(proposal.weak),
                     "notes": list(proposal.notes), "read": tomllib.loads(write_card(proposal))["read"]},
        "seed_seconds": round(seeded - started, 1),
        "crawl_seconds": round(crawled - begun, 1),
        "crawl_exit": code,
        "crawl_told": told,
        "pages": rows["pages"],
    }  # fmt: skip


def compare(truth: dict[str, Any], rows: dict[str, Any]) -> dict[str, Any]:
    titles, digests = set(truth["titles"]), set(truth["digests"])
    sellers = dict(zip(truth["titles"], truth["sellers"], strict=True))
    found = {title for _, _, title, _, _ in rows["listings"]}
    whole = [row for row in rows["listings"] if "page=" not in row[1]]
    return {
        "threads": len(titles),
        "threads_found": len(titles & found),
        "threads_missed": sorted(titles - found)[:10],
        "listings": len(rows["listings"]),
        "listings_of_first_pages": len(whole),
        "listings_that_are_no_thread": sorted(found - titles)[:10],
        "sellers_right": sum(sellers.get(title) == seller for _, _, title, seller, _ in whole),
        "described": sum(bool(description) for *_, description in whole),
        "images": len(digests),
        "images_found": len(digests & rows["digests"]),
        "images_extra": len(rows["digests"] - digests),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=20)
    parser.add_argument("--images", type=int, default=3, help="of each thread")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--venv", type=Path, default=Path(tempfile.gettempdir()) / "facewarden-spirit-venv")
    parser.add_argument("--keep", type=Path, help="leave everything in this folder")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(arguments)
    table = measure(args.threads, args.images, args.seed, args.venv, args.keep)
    for name, value in table.items():
        print(f"{name:28} {json.dumps(value, ensure_ascii=False)[:600]}")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(table, indent=1, ensure_ascii=False), encoding="utf-8")
    return int(table["threads_found"] < table["threads"] or table["images_found"] < table["images"])


if __name__ == "__main__":
    sys.exit(main())
