"""The heartbeat: whoever works keeps the lease, whoever is stopped loses it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from cli.supervisor import ROOT
from tests.samples import count
from tests.vault.test_work import add_images
from vault.settings import Settings, child_environment
from vault.store import Connection
from vault.store.lease import Heartbeat
from vault.store.work import IMAGES, claim_rows, finish_rows

HOLDER = """
import time
from vault.settings import load_settings
from vault.store import connect, lease
from vault.store.work import IMAGES, claim_rows
lease.BEAT_SECONDS = 0.1
settings = load_settings()
with connect(settings) as conn, lease.Heartbeat(settings) as heart:
    claim = claim_rows(conn, IMAGES, 2)
    heart.hold(IMAGES, claim.ids, claim.token)
    print("claimed", flush=True)
    time.sleep(60)
"""
ENDS_SOON = "update sample set lease_until = clock_timestamp() + interval '300 milliseconds'"
STANDS = "select count(*) from sample where lease_until > clock_timestamp() + interval '10 seconds'"


def wait_for(conn: Connection, query: str, wanted: int, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while count(conn, query) != wanted:
        assert time.monotonic() < deadline, query
        time.sleep(0.02)


def test_a_claim_that_is_held_is_renewed_and_one_that_was_let_go_is_not(
    settings: Settings, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vault.store.lease.BEAT_SECONDS", 0.05)
    add_images(conn, 3)
    claim = claim_rows(conn, IMAGES, 2)
    assert claim is not None
    with Heartbeat(settings) as heart:
        heart.hold(IMAGES, claim.ids, claim.token)
        conn.execute(ENDS_SOON)
        wait_for(conn, STANDS, 2)
        finish_rows(conn, IMAGES, claim.ids[:1], claim.token)
        conn.execute(ENDS_SOON)
        wait_for(conn, STANDS, 1)
        heart.release(claim.token)
        conn.execute(ENDS_SOON)
        time.sleep(0.4)
    assert count(conn, STANDS) == 0


def test_a_heartbeat_goes_on_when_its_connection_was_cut(
    settings: Settings, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vault.store.lease.BEAT_SECONDS", 0.05)
    add_images(conn, 1)
    claim = claim_rows(conn, IMAGES, 1)
    assert claim is not None
    with Heartbeat(settings) as heart:
        heart.hold(IMAGES, claim.ids, claim.token)
        conn.execute(ENDS_SOON)
        wait_for(conn, STANDS, 1)
        conn.execute(
            """select pg_terminate_backend(pid) from pg_stat_activity
               where datname = current_database() and pid <> pg_backend_pid()"""
        )
        conn.execute(ENDS_SOON)
        wait_for(conn, STANDS, 1)


def test_a_stopped_process_loses_its_lease_and_a_slow_one_does_not(settings: Settings, conn: Connection) -> None:
    """Slow: it runs for an eighth of the time."""
    add_images(conn, 2)
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", HOLDER],
        env={**child_environment(settings), "PYTHONPATH": str(ROOT), "FACEWARDEN_HOME": str(settings.home)},
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"claimed\n"
        conn.execute("update sample set lease_until = clock_timestamp() + interval '4 seconds'")
        started = time.monotonic()
        while time.monotonic() - started < 4:  # seven parts stopped, one part running
            os.kill(process.pid, signal.SIGSTOP)
            time.sleep(0.7)
            os.kill(process.pid, signal.SIGCONT)
            time.sleep(0.1)
        assert count(conn, STANDS) == 2
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(0.2)
        conn.execute(ENDS_SOON)
        time.sleep(0.5)
        assert count(conn, "select count(*) from sample where lease_until < clock_timestamp()") == 2
    finally:
        process.kill()
        process.wait()
