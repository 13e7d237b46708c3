"""Rows: one file a table, each function one query with `conn` first. The caller opens the transaction.

In come connections and values, out come records of `vault/records.py`. `connect` is the only way to the database.
Every connection has limits, so that a process that hangs or a host that vanishes holds no lock for long.
"""

import errno
import os
import time
from dataclasses import dataclass

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus as TransactionStatus
from psycopg.rows import TupleRow as TupleRow
from psycopg.types.array import ListBinaryDumper

from vault.errors import DiskFull, ServerError
from vault.settings import Settings

Connection = psycopg.Connection[TupleRow]

CONSENT_MISSING = "FW001"  # raised by the trigger on `match`
CONNECT_SECONDS = 5
NAME, LONG_NAME = "facewarden", "facewarden-long"  # of our sessions; the second may be long at one statement


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How long, in seconds, a session may be at one statement, wait for one lock, and pause in a transaction."""

    statement: float
    lock: float
    idle: float
    name: str = NAME


WORK = Limits(statement=120.0, lock=30.0, idle=20.0)
VISIT = Limits(statement=8.0, lock=3.0, idle=5.0)  # somebody waits for a page
LONG = Limits(statement=6 * 3600.0, lock=120.0, idle=20.0, name=LONG_NAME)  # migrations, verification

# A host that is gone without a word is noticed by both sides within 5 + 3 * 2 s, by unanswered data within 10 s.
ALIVE = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}
UNANSWERED_MS = 10_000

# psycopg's errors by what can be done about them, so that other rooms need not import it
DatabaseGone = (psycopg.OperationalError, psycopg.InterfaceError)  # it restarts or is out of reach: try again
# this row can never be kept; half of a surrogate pair does not even leave the house
RowRefused = (psycopg.DataError, psycopg.IntegrityError, UnicodeEncodeError)
# two that wanted the same rows: whoever gave way tries again
Conflict = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)
OutOfRoom = psycopg.errors.DiskFull  # of DatabaseGone: nothing of it was kept, and it may be tried again
TooLong = psycopg.errors.QueryCanceled  # a statement ran into its limit, which may be the row's doing
DatabaseError = psycopg.Error  # any of them


def limit_session(url: str, limits: Limits) -> str:
    """The address of a database with what both sides do about a peer that does not answer. Times out: a statement, a
    wait for a lock, a pause in a transaction, a connection (client and server notice a vanished peer)."""
    server = {
        "statement_timeout": round(limits.statement * 1000),
        "lock_timeout": round(limits.lock * 1000),
        "idle_in_transaction_session_timeout": round(limits.idle * 1000),
        "client_connection_check_interval": 5000,
        "tcp_user_timeout": UNANSWERED_MS,
        **{f"tcp_{name}": value for name, value in ALIVE.items()},
    }
    ours = " ".join(f"-c {name}={value}" for name, value in server.items())
    given = str(conninfo_to_dict(url).get("options") or "")
    return make_conninfo(
        url,
        options=f"{given} {ours}".strip(),
        application_name=limits.name,
        connect_timeout=CONNECT_SECONDS,
        keepalives=1,
        tcp_user_timeout=UNANSWERED_MS,
        **ALIVE,
    )


def require_transaction(conn: Connection) -> None:
    """For functions whose statements must be committed together: refuse a caller that has opened no transaction."""
    if conn.info.transaction_status == TransactionStatus.IDLE:
        raise RuntimeError("the caller must open a transaction")


def tells_full_disk(words: str) -> bool:
    """A session that cannot begin says why in words only."""
    return any(os.strerror(number) in words for number in (errno.ENOSPC, errno.EDQUOT))


def make_disk_full(words: str) -> DiskFull:
    """`words`: what PostgreSQL said."""
    return DiskFull(
        f"PostgreSQL has no room on its disk: {words.splitlines()[0]}",
        mend="free some of it; nothing accepted is lost, and all goes on by itself",
    )


def connect(settings: Settings, *, patience: float = 0.0, durable: bool = True, limits: Limits = WORK) -> Connection:
    """An autocommit connection (open transactions with `conn.transaction()`). Tries for `patience` seconds.

    Without `durable` a commit does not wait for the disk: for what may be forgotten when the server itself dies, such
    as leases, whose holder loses its connection at that moment too.

    Raises ServerError when the database does not answer in time; DiskFull, at once, when it has no room.
    """
    if not settings.servers.database_url:
        raise ServerError("no database is known", mend="start one with: ./facewarden up, or set DATABASE_URL")
    deadline = time.monotonic() + patience
    while True:
        try:
            conn = psycopg.connect(limit_session(settings.servers.database_url, limits), autocommit=True)
            # as text each element of a list is searched for what must be quoted: ten times as long
            conn.adapters.register_dumper(list, ListBinaryDumper)
            if not durable:
                conn.execute("set synchronous_commit = off")
            return conn
        except psycopg.OperationalError as exc:
            if tells_full_disk(str(exc)):
                raise make_disk_full(str(exc)) from exc
            if time.monotonic() >= deadline:
                raise ServerError(
                    f"PostgreSQL does not answer: {str(exc).splitlines()[0]}",
                    mend="is it running, and is DATABASE_URL right?",
                ) from exc
            time.sleep(0.1)
