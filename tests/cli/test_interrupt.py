"""Ctrl-C on a crawl at a terminal: it ends in good order, and what was in flight is not held against the pages."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from cli.supervisor import ROOT
from tests.crawler.test_crawl import command, html
from tests.fakes import NOT_FOUND, Answer, Site
from tests.samples import count
from vault.keys import Keys
from vault.settings import Settings, child_environment
from vault.store import Connection


def test_ctrl_c_lets_what_is_in_flight_through_and_charges_nobody(
    settings: Settings, keys: Keys, conn: Connection, tmp_path: Path,
    make_site: Callable[[Callable[[str], Answer]], Site],
) -> None:  # fmt: skip
    asked, may_answer = threading.Semaphore(0), threading.Event()

    def answer(path: str) -> Answer:
        if path == "/robots.txt":
            return NOT_FOUND
        if path == "/":
            return html("".join(f'<a class="item" href="/{number}">x</a>' for number in range(40)))
        asked.release()
        may_answer.wait(30)
        return html(f"<article><h1>lot {path}</h1></article>")

    site = make_site(answer)
    process = subprocess.Popen(
        command(settings, site, tmp_path), env={**child_environment(settings), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0,
    )  # fmt: skip
    try:
        for _ in range(8):  # as many as are fetched at once
            assert asked.acquire(timeout=60)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to everybody in the foreground
        threading.Timer(1.0, may_answer.set).start()
        told, errors = process.communicate(timeout=60)
    finally:
        may_answer.set()
        process.kill()
    assert "Traceback" not in errors, errors
    assert process.returncode == 3, told + errors
    assert count(conn, "select count(*) from page where state = 'done'") == 9
    assert count(conn, "select count(*) from page where state = 'running'") == 0
    assert count(conn, "select count(*) from page where state <> 'done' and attempts > 0") == 0
    assert count(conn, "select count(*) from page where error_code is not null") == 0
