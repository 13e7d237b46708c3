"""The pool of the dashboard's connections: it is there again a moment after the database is."""

import time

import psycopg
import pytest

from vault.settings import Settings
from vault.store import Connection, DatabaseError
from vault.store.pool import PATIENCE_SECONDS, make_pool

OUTAGE_SECONDS = 8.0


def test_after_an_outage_visitors_are_answered_at_once(settings: Settings, conn: Connection) -> None:
    (name,) = conn.execute("select current_database()").fetchone() or ("",)
    with (
        make_pool(settings) as pool,
        psycopg.connect(settings.servers.database_url, dbname="postgres", autocommit=True) as other,
    ):
        pool.wait()
        other.execute(f'alter database "{name}" allow_connections false'.encode())
        other.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name])
        ends = time.monotonic() + OUTAGE_SECONDS
        while time.monotonic() < ends:
            with pytest.raises(DatabaseError), pool.connection(timeout=0.5):
                pass
        other.execute(f'alter database "{name}" allow_connections true'.encode())
        with pool.connection(timeout=PATIENCE_SECONDS + 1.0) as found:
            assert found.execute("select 1").fetchone() == (1,)
