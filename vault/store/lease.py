"""One heartbeat a process: in come claims, out go renewed leases, whatever the claims' holder is busy with.

A thread with a connection of its own renews every BEAT_SECONDS the leases of what is held. A process that is stopped,
killed or cut off beats no more, and its leases end; one that is merely slow keeps them.
"""

import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from vault.errors import ServerError
from vault.log import get_logger
from vault.settings import Settings
from vault.store import Connection, DatabaseError, connect
from vault.store.work import LEASE_SECONDS, WorkTable

BEAT_SECONDS = 8.0
MOST_SECONDS = 2 * 3600.0  # a claim that is held longer is not worked on any more: its holder hangs

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    table: WorkTable
    ids: tuple[Any, ...]
    token: int
    since: float  # time.monotonic()


class Heartbeat:
    """Safe to use from several threads. The thread starts with the first claim and ends with `close`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._held: dict[int, Held] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def __enter__(self) -> "Heartbeat":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def hold(self, table: WorkTable, ids: Sequence[Any], token: int) -> None:
        """Renew the leases of these rows from now on, as long as they are ours."""
        with self._changed:
            self._held[token] = Held(table=table, ids=tuple(ids), token=token, since=time.monotonic())
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
                self._thread.start()

    def release(self, token: int) -> None:
        """The claim is worked off, or given back."""
        with self._changed:
            self._held.pop(token, None)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._held.clear()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        conn: Connection | None = None
        while True:
            with self._changed:
                self._changed.wait(BEAT_SECONDS)
                if self._closed:
                    break
                held = list(self._held.values())
            if held:
                conn = self._beat(conn, held)
        if conn is not None:
            conn.close()

    def _beat(self, conn: Connection | None, held: list[Held]) -> Connection | None:
        """Renew them all; the connection to go on with, None where the database does not answer."""
        try:
            conn = conn or connect(self._settings, durable=False)
            for each in held:
                if time.monotonic() - each.since < MOST_SECONDS:
                    renew_rows(conn, each.table, each.ids, each.token)
        except (DatabaseError, ServerError) as exc:
            log.warning("leases could not be renewed; trying again soon", error=type(exc).__name__)
            if conn is not None:
                with contextlib.suppress(DatabaseError):
                    conn.close()
            return None
        return conn


def renew_rows(conn: Connection, table: WorkTable, ids: Sequence[Any], token: int) -> int:
    """A new lease for those of the rows that are still ours and not finished; how many."""
    query = sql.SQL("""
        update {table} set lease_until = clock_timestamp() + make_interval(secs => %(lease)s)
        where {key} = any(%(ids)s) and token = %(token)s and state = 'running'""").format(**table.parts())
    return conn.execute(query, {"ids": list(ids), "token": token, "lease": LEASE_SECONDS}).rowcount
