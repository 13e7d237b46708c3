"""Rows: one file a table, each function one query with `conn` first. The caller opens the transaction.

In come connections and values, out come records of `vault/records.py`. `connect` is the only way to the database.
"""

import time

import psycopg
from psycopg.rows import TupleRow
from psycopg.types.array import ListBinaryDumper

from vault.errors import ServerError
from vault.settings import Settings

Connection = psycopg.Connection[TupleRow]

CONSENT_MISSING = "FW001"  # raised by the trigger on `match`
CONNECT_SECONDS = 5

# psycopg's errors by what can be done about them, so that other rooms need not import it
DatabaseGone = (psycopg.OperationalError, psycopg.InterfaceError)  # it restarts or is out of reach: try again
# this row can never be kept; half of a surrogate pair does not even leave the house
RowRefused = (psycopg.DataError, psycopg.IntegrityError, UnicodeEncodeError)
DatabaseError = psycopg.Error  # any of them


def connect(settings: Settings, *, patience: float = 0.0, durable: bool = True) -> Connection:
    """An autocommit connection (open transactions with `conn.transaction()`). Tries for `patience` seconds.

    Without `durable` a commit does not wait for the disk: for what may be forgotten when the server itself dies, such
    as leases, whose holder loses its connection at that moment too.

    Raises ServerError when the database does not answer in time.
    """
    if not settings.servers.database_url:
        raise ServerError("no database is known", mend="start one with: ./facewarden up, or set DATABASE_URL")
    deadline = time.monotonic() + patience
    while True:
        try:
            conn = psycopg.connect(settings.servers.database_url, autocommit=True, connect_timeout=CONNECT_SECONDS)
            # as text each element of a list is searched for what must be quoted: ten times as long
            conn.adapters.register_dumper(list, ListBinaryDumper)
            if not durable:
                conn.execute("set synchronous_commit = off")
            return conn
        except psycopg.OperationalError as exc:
            if time.monotonic() >= deadline:
                raise ServerError(
                    f"PostgreSQL does not answer: {str(exc).splitlines()[0]}",
                    mend="is it running, and is DATABASE_URL right?",
                ) from exc
            time.sleep(0.1)
