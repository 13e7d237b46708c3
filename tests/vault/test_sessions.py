"""Sessions of the database have limits, so that nothing that hangs or is gone holds a lock for long."""

import time

import psycopg
import pytest

from tests.samples import count, make_listing
from vault.settings import Settings
from vault.store import LONG, VISIT, WORK, Connection, Limits, connect, limit_session, require_transaction
from vault.store.sessions import end_stuck_sessions

NAMES = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")


def show(conn: Connection, name: str) -> str:
    return str((conn.execute(f"show {name}".encode()).fetchone() or ("",))[0])


@pytest.mark.parametrize("limits", [WORK, VISIT, LONG])
def test_every_session_has_its_limits(settings: Settings, limits: Limits) -> None:
    wanted = (limits.statement, limits.lock, limits.idle)
    with connect(settings, limits=limits) as conn:
        rows = conn.execute("select name, setting::int from pg_settings where name = any(%s)", [list(NAMES)]).fetchall()
        assert dict(rows) == {name: round(seconds * 1000) for name, seconds in zip(NAMES, wanted, strict=True)}
        assert show(conn, "application_name") == limits.name
        assert show(conn, "client_connection_check_interval") == "5s"


def test_a_peer_that_vanishes_is_noticed_by_both_sides() -> None:
    parts = psycopg.conninfo.conninfo_to_dict(limit_session("postgresql://u@db.example/x", WORK))
    assert int(str(parts["tcp_user_timeout"])) <= 10_000
    idle, interval, number = (int(str(parts[f"keepalives_{name}"])) for name in ("idle", "interval", "count"))
    assert idle + interval * number <= 11
    options = str(parts["options"])
    assert all(f"tcp_keepalives_{name}=" in options for name in ("idle", "interval", "count"))
    assert "tcp_user_timeout=10000" in options


def test_what_an_address_asks_for_stands_beside_our_limits() -> None:
    url = limit_session("postgresql://u@db.example/x?options=-c%20search_path%3Dours&sslmode=require", WORK)
    parts = psycopg.conninfo.conninfo_to_dict(url)
    assert str(parts["options"]).startswith("-c search_path=ours -c statement_timeout=")
    assert parts["sslmode"] == "require"


def test_a_pause_in_a_transaction_ends_it_and_frees_its_locks(settings: Settings, conn: Connection) -> None:
    make_listing(conn)
    brief = Limits(statement=10, lock=5, idle=0.3)
    with pytest.raises(psycopg.Error), connect(settings, limits=brief) as stopped:
        stopped.execute("begin")
        stopped.execute("select 1 from source for update")
        started = time.monotonic()
        conn.execute("update source set reason = 'free again'")
        assert time.monotonic() - started < 5
        stopped.execute("commit")


def test_a_client_that_takes_no_answer_is_ended_and_its_locks_are_free(
    settings: Settings, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that was stopped: the answer is larger than what the socket holds, and nobody reads it."""
    monkeypatch.setattr("vault.store.sessions.STUCK_SECONDS", 0.3)
    make_listing(conn)
    with connect(settings) as stopped:
        stopped.execute("begin")
        stopped.execute("select 1 from source for update")
        stopped.pgconn.send_query(b"select repeat('x', 100000) from generate_series(1, 2000)")
        stopped.pgconn.flush()
        deadline = time.monotonic() + 20
        while not end_stuck_sessions(conn):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        conn.execute("set lock_timeout = '5s'")
        conn.execute("update source set reason = 'free again'")
        stopped.pgconn.finish()


def test_a_long_answer_that_is_meant_to_be_long_is_left_alone(
    settings: Settings, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vault.store.sessions.STUCK_SECONDS", 0.1)
    with connect(settings, limits=LONG) as verifying:
        verifying.pgconn.send_query(b"select repeat('x', 100000) from generate_series(1, 2000)")
        verifying.pgconn.flush()
        time.sleep(1.0)
        waits = "select count(*) from pg_stat_activity where wait_event = 'ClientWrite'"
        assert count(conn, waits) == 1
        assert end_stuck_sessions(conn) == 0
        verifying.pgconn.finish()


def test_a_function_that_needs_a_transaction_refuses_to_run_without(conn: Connection) -> None:
    with pytest.raises(RuntimeError, match="open a transaction"):
        require_transaction(conn)
    with conn.transaction():
        require_transaction(conn)
