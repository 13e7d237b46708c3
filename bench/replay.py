"""Does an exported page replay in somebody else's program? Crawls a page of its own once as HTML and once in the
browser, has an alert's bundle sealed, gives the bundle's records to pywb (own venv, hash lock: it is GPL and no part of
us), and compares what pywb answers with what was archived.

    .venv/bin/python -m bench.replay
    .venv/bin/python -m bench.replay --bundle alert.fwb      (a bundle of yours: every record is asked for)

Nothing of pywb is kept in this repository but `replay.lock`, made by
    uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header replay.in
with `pywb==2.10.0` in replay.in.
"""

import argparse
import contextlib
import http.server
import io
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from warcio.archiveiterator import ArchiveIterator

from bench.children import check_children, check_process, keep_alive, stop_process
from bench.programs import clean_environment, find_port, make_venv, sign, wait_for
from cli.commands.demo import ORGANISATION
from cli.commands.enrol import enrol
from cli.demo.people import list_people, save_jpeg
from cli.supervisor import ROOT, Supervisor
from crawler.browser import find_chromium
from evidence.verify import check_bundle
from vault.log import set_up_logging
from vault.settings import Settings, child_environment
from vault.steps import Step
from vault.store.bundles import ask_bundle
from vault.store.subjects import confirm_consent, find_subject
from workers.app import take_turn
from workers.context import Context

LOCK = Path(__file__).with_name("replay.lock")
FIRST_PORT = 9300
ADDRESS = "ada@test.example"
PAGE = b'<html><body><article><h1>5000 faces</h1><b>10 USD</b><img src="/one.jpg"></article></body></html>'
CARD = """\
name = "replay-{rendering}"
kind = "shop"
rendering = "{rendering}"
[why]
purpose = "A server that this measurement runs"
legal_basis = "Our own server, a public-domain portrait"
valid_until = 2099-12-31
[where]
hosts = ["127.0.0.1:{port}"]
start = ["http://127.0.0.1:{port}/"]
[read]
listing = "article"
title = "h1"
price = "b"
image = "img::attr(src)"
[pace]
delay = 0.0
"""
Record = tuple[str, str, str, bytes]  # type, address, date of 14 digits, body


# -- a bundle ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def serve(picture: bytes) -> Iterator[int]:
    class Market(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = {"/": ("text/html", PAGE), "/one.jpg": ("image/jpeg", picture)}.get(self.path)
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", found[0] if found else "text/plain")
            self.end_headers()
            self.wfile.write(found[1] if found else b"no")

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Market)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


def make_bundle(folder: Path, rendering: str) -> tuple[bytes, bytes]:
    """A sealed bundle about a listing that was crawled in this way, and the picture that it shows."""
    person = next(each for each in list_people() if each.name == "astronaut")
    picture = save_jpeg(person.portrait, 60)
    home = folder / "home"
    card = folder / "card.toml"
    with serve(picture) as port:
        card.write_text(sign(CARD.format(port=port, rendering=rendering), home), encoding="utf-8")
        supervisor = Supervisor(
            settings=Settings(home=home, key_file=folder / "home.key").replace("organisation", **ORGANISATION)
        )
        with supervisor.running():
            settings = supervisor.start_servers()
            context = Context(settings)
            enrol(context.conn, context.keys, settings, ADDRESS, save_jpeg(person.portrait, 92), recorded_by="bench")
            work(context)
            subject_id = find_subject(context.conn, context.keys, ADDRESS)
            assert subject_id is not None
            confirm_consent(context.conn, subject_id)
            argv = [sys.executable, "-P", "-m", "cli", "crawl", str(card), "--lab", f"127.0.0.1:{port}"]
            environ = {**child_environment(settings), "PYTHONPATH": str(ROOT)}
            subprocess.run(argv, env=environ, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            work(context)
            (alert_id,) = context.conn.execute("select alert_id from alert").fetchone() or (None,)
            assert alert_id is not None, "nobody was found"
            ask_bundle(context.conn, alert_id, "bench")
            work(context)
            context.close()
            (file,) = (home / "bundles").iterdir()
            return file.read_bytes(), picture


def work(context: Context) -> None:
    while sum(take_turn(context, step) for step in Step):
        pass


def read_records(bundle: bytes) -> tuple[bytes, list[Record]]:
    """The bundle's records as one file, and what is in it."""
    with zipfile.ZipFile(io.BytesIO(bundle)) as container:
        names = [name for name in container.namelist() if name.startswith("captures/")]
        joined = b"".join(container.read(name) for name in names)
    records = []
    for record in ArchiveIterator(io.BytesIO(joined), check_digests="raise"):
        headers = record.rec_headers
        stamp = "".join(filter(str.isdigit, headers.get_header("WARC-Date")))[:14]
        records.append((record.rec_type, headers.get_header("WARC-Target-URI"), stamp, record.content_stream().read()))
    return joined, records


# -- pywb -------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def run_pywb(python: Path, folder: Path, warc: bytes) -> Iterator[str]:
    """pywb with one collection that holds these records; the collection's address."""
    folder.mkdir()
    (folder / "case.warc.gz").write_bytes(warc)
    environ = clean_environment(PATH=f"{python.parent}:{os.environ['PATH']}")
    commands = (["wb-manager", "init", "case"], ["wb-manager", "add", "case", str(folder / "case.warc.gz")])
    for argv in commands:
        subprocess.run([str(python.parent / argv[0]), *argv[1:]], cwd=folder, env=environ, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    port = find_port(FIRST_PORT)
    with open(folder / "pywb.log", "wb") as log:
        argv = [str(python.parent / "wayback"), "--bind", "127.0.0.1", "--port", str(port)]
        process = subprocess.Popen(argv, cwd=folder, env=environ, stdout=log, stderr=log)
    try:
        wait_for(lambda: bool(fetch(f"http://127.0.0.1:{port}/case/")), process)
        with keep_alive(partial(check_process, process)):
            yield f"http://127.0.0.1:{port}/case"
    finally:
        stop_process(process)


def fetch(url: str) -> bytes:
    check_children()
    with urllib.request.urlopen(url, timeout=30) as answer:
        body: bytes = answer.read()
        return body


def replay(python: Path, folder: Path, bundle: bytes) -> dict[str, Any]:
    """What pywb gives back of each record (`id_`: as it was archived), and of the page as a browser would see it."""
    warc, records = read_records(bundle)
    file = folder.with_suffix(".warc.gz")
    file.write_bytes(warc)
    warcio = subprocess.run([str(python.parent / "warcio"), "check", str(file)], check=False)
    same: dict[str, bool] = {}
    shown = b""
    with run_pywb(python, folder, warc) as collection:
        for _, url, stamp, _ in records:  # the answer behind a rendered page may bear the same second as what was drawn
            here = [body for _, each, when, body in records if (each, when) == (url, stamp)]
            same[f"{stamp} {url}"] = fetch(f"{collection}/{stamp}id_/{url}") in here
        page = next(((url, stamp) for _, url, stamp, body in records if b"<article" in body), None)
        if page:
            shown = fetch(f"{collection}/{page[1]}mp_/{page[0]}")
        rewritten = shown.partition(b'img src="')[2].partition(b'"')[0].decode()
        picture = b""
        with contextlib.suppress(urllib.error.HTTPError):  # the page shows one in which nobody was found
            picture = fetch(f"{collection.rpartition('/')[0]}{rewritten}") if rewritten.startswith("/") else b""
    return {
        "verified": check_bundle(bundle).failed == [],
        "warcio_check": warcio.returncode == 0,
        "records": [(kind, url, len(body)) for kind, url, _, body in records],
        "given_back_as_archived": same,
        # None: the page shows no picture that the bundle has
        "picture_through_the_replayed_page": picture in [body for *_, body in records] if picture else None,
    }


def measure(venv: Path, bundle: Path | None) -> dict[str, Any]:
    python = make_venv(venv, LOCK)
    table: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="facewarden-replay-") as name:
        folder = Path(name)
        if bundle is not None:
            return {"bundle": replay(python, folder / "pywb", bundle.read_bytes())}
        settings = Settings(home=folder, key_file=folder / "none")
        for rendering in ("html", "browser") if find_chromium(settings) else ("html",):
            (folder / rendering).mkdir()
            data, picture = make_bundle(folder / rendering, rendering)
            table[rendering] = replay(python, folder / rendering / "pywb", data)
            table[rendering]["picture_exported"] = picture in [body for *_, body in read_records(data)[1]]
            shown = table[rendering]["picture_through_the_replayed_page"]
            table[rendering]["picture_through_the_replayed_page"] = shown is True
    return table


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, help="replay this bundle instead")
    parser.add_argument("--venv", type=Path, default=Path(tempfile.gettempdir()) / "facewarden-pywb-venv")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(arguments)
    set_up_logging("bench", level=logging.ERROR, to=sys.stderr)
    table = measure(args.venv, args.bundle)
    for rendering, found in table.items():
        for name, value in found.items():
            print(f"{rendering:8} {name:36} {json.dumps(value)}")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(table, indent=1), encoding="utf-8")
    answers = [value for found in table.values() for value in found.values() if isinstance(value, bool)]
    answers += [good for found in table.values() for good in found["given_back_as_archived"].values()]
    return 0 if all(answers) else 1


if __name__ == "__main__":
    sys.exit(main())
