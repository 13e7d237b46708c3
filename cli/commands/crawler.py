"""Crawls every card of the cards folder when it is due (started by the supervisor)."""

import argparse
import datetime as dt
import signal
import subprocess
import sys
import threading
from pathlib import Path

from crawler.cards import read_card
from vault.errors import CardError, ServerError
from vault.lockdown import die_with_parent
from vault.log import get_logger
from vault.settings import Settings
from vault.store import DatabaseError, connect
from vault.store.sources import get_source

LOOK_SECONDS = 10.0
AT_ONCE = 2

log = get_logger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None."""


def run(args: argparse.Namespace, settings: Settings) -> int:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    settings.cards_folder.mkdir(parents=True, exist_ok=True)
    running: dict[Path, subprocess.Popen[bytes]] = {}
    while not stop.is_set():
        for path, process in list(running.items()):
            if process.poll() is not None:
                log.info("a crawl ended", card=path.name, exit_code=process.returncode)
                del running[path]
        try:
            for path in list_due(settings)[: max(0, AT_ONCE - len(running))]:
                if path not in running:
                    running[path] = subprocess.Popen(
                        [sys.executable, "-P", "-m", "cli", "crawl", str(path)],
                        preexec_fn=lambda: die_with_parent(signal.SIGTERM),
                    )
        except (DatabaseError, ServerError) as exc:
            log.warning("the database does not answer; looking again soon", error=type(exc).__name__)
        stop.wait(LOOK_SECONDS)
    for process in running.values():
        process.terminate()
        process.wait()
    return 0


def list_due(settings: Settings) -> list[Path]:
    """Cards whose source was never crawled, or last crawled longer ago than their pace says."""
    now = dt.datetime.now(dt.UTC)
    due = []
    with connect(settings, patience=5.0) as conn:
        for path in sorted(settings.cards_folder.glob("*.toml")):
            try:
                card, _ = read_card(path, now.date())
            except CardError as exc:
                log.warning("a card was refused", card=path.name, why=str(exc))
                continue
            source = get_source(conn, card.name)
            last = source.last_crawl_at if source else None
            paused = source is not None and source.state == "paused"
            if not paused and (last is None or now - last >= dt.timedelta(hours=card.pace.every_hours)):
                due.append(path)
    return due
