"""Crawls every card of the cards folder when it is due (started by the supervisor)."""

import argparse
import datetime as dt
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from cli.setup import require_deployment
from crawler.approval import open_card
from crawler.cards import LOCAL, Login
from vault.errors import CardError, ServerError, Unavailable
from vault.keys import Keys, load_keys
from vault.ledger import Kind
from vault.lockdown import die_with_parent
from vault.log import get_logger
from vault.settings import Settings
from vault.store import DatabaseError, connect
from vault.store.approvers import list_approvers
from vault.store.ledger import write_entry
from vault.store.logins import has_login
from vault.store.sources import get_source
from vault.store.times import check_clocks

LOOK_SECONDS = 10.0
AT_ONCE = 2
NO_SESSION = "session_missing"
STOP_SECONDS = 20.0  # less than what the supervisor and compose.yaml give us

log = get_logger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None."""


def run(args: argparse.Namespace, settings: Settings) -> int:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    require_deployment(settings)
    settings.cards_folder.mkdir(parents=True, exist_ok=True)
    keys = load_keys(settings.key_file)
    told: dict[Path, str] = {}
    running: dict[Path, subprocess.Popen[bytes]] = {}
    while not stop.is_set():
        for path, process in list(running.items()):
            if process.poll() is not None:
                log.info("a crawl ended", card=path.name, exit_code=process.returncode)
                del running[path]
        try:
            for path in list_due(settings, keys, told)[: max(0, AT_ONCE - len(running))]:
                if path not in running:
                    running[path] = subprocess.Popen(
                        [sys.executable, "-P", "-m", "cli", "crawl", "--due", "--quiet", "--service", str(path)],
                        preexec_fn=lambda: die_with_parent(signal.SIGTERM),
                    )
        except (DatabaseError, ServerError) as exc:
            log.warning("the database does not answer; looking again soon", error=type(exc).__name__)
        except Unavailable as exc:
            log.warning("nothing is crawled now; looking again soon", code=exc.stable_code, why=exc.message)
        stop.wait(LOOK_SECONDS)
    stop_crawls(list(running.values()))
    return 0


def stop_crawls(processes: list[subprocess.Popen[bytes]], patience: float = STOP_SECONDS) -> None:
    """Ask all of them, wait together, kill what still waits for a slow answer: its pages are in the frontier."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + patience
    for process in processes:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def list_due(settings: Settings, keys: Keys, told: dict[Path, str]) -> list[Path]:
    """Cards whose source was never crawled, or last crawled longer ago than their pace says. A refusal becomes a row
    of the ledger once, not at every look; `told` remembers which. Raises Unavailable, where the clocks differ."""
    now = dt.datetime.now(dt.UTC)
    due = []
    with connect(settings, patience=5.0) as conn:
        check_clocks(conn)
        approvers = list_approvers(conn, keys)
        for path in sorted(settings.cards_folder.glob("*.toml")):
            try:
                card = open_card(approvers, path, now).card
            except CardError as exc:
                if told.get(path) != str(exc):
                    log.warning("a card was refused", card=path.name, why=str(exc))
                    write_entry(conn, Kind.REFUSAL, about=f"card:{path.name}", code=exc.stable_code, place="schedule",
                                by="schedule")  # fmt: skip
                told[path] = str(exc)
                continue
            if card.why.login is Login.SESSION and not has_login(conn, card.name):
                if told.get(path) != NO_SESSION:
                    log.warning("a card waits for a session: a person has to import one", card=path.name)
                told[path] = NO_SESSION
                continue
            told.pop(path, None)
            if card.kind in LOCAL:  # handed in, never due
                continue
            source = get_source(conn, card.name)
            last = source.last_crawl_at if source else None
            paused = source is not None and source.state == "paused"
            if not paused and (last is None or now - last >= dt.timedelta(hours=card.pace.every_hours)):
                due.append(path)
    return due
