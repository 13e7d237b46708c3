"""Connections for a process with many threads: a small pool, checked before it hands one out."""

from psycopg_pool import ConnectionPool

from vault.settings import Settings
from vault.store import VISIT, Connection, limit_session

MOST = 8
PATIENCE_SECONDS = 4.0  # then the visitor is told that the database does not answer


def make_pool(settings: Settings, *, most: int = MOST) -> ConnectionPool[Connection]:
    """Of `most` connections. Not opened yet: call `open()`, and `close()` at the end."""
    return ConnectionPool(
        limit_session(settings.servers.database_url, VISIT),
        min_size=1,
        max_size=most,
        timeout=PATIENCE_SECONDS,
        reconnect_timeout=PATIENCE_SECONDS,  # then the next visitor tries anew; its pauses would double without end
        open=False,
        check=ConnectionPool.check_connection,
        kwargs={"autocommit": True},
    )
