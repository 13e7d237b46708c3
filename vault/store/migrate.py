"""Our own runner of .sql files: in comes a connection, out goes a database at the newest schema.

Each file runs in one transaction together with the row that says it ran. A file that has run must never change; its
SHA-256 is checked. The lock is polled (`pg_try_advisory_lock`), because the blocking form holds a snapshot and
deadlocks with CREATE INDEX CONCURRENTLY.
"""

import hashlib
import time
from pathlib import Path

import psycopg

from vault.errors import StoreError
from vault.log import get_logger
from vault.store import Connection
from vault.store.locks import Lock

FOLDER = Path(__file__).parent / "migrations"
PATIENCE_SECONDS = 120.0

log = get_logger(__name__)


def list_migrations(folder: Path = FOLDER) -> list[Path]:
    return sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))


def migrate(conn: Connection, folder: Path = FOLDER) -> list[str]:
    """Bring the database to the newest schema; returns the names of the files that ran. Raises StoreError, also for a
    database that a newer version of this program has changed."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while conn.execute("select pg_try_advisory_lock(%s)", [Lock.MIGRATE]).fetchone() != (True,):
        if time.monotonic() > deadline:
            raise StoreError("another process has been migrating for two minutes", mend="see what holds the lock")
        time.sleep(0.1)
    try:
        return _run_missing(conn, folder)
    except psycopg.Error as exc:
        raise StoreError(f"a migration failed: {exc}", mend="nothing of it was kept; see the message") from exc
    finally:
        if not conn.closed:
            conn.execute("select pg_advisory_unlock(%s)", [Lock.MIGRATE])


def _run_missing(conn: Connection, folder: Path) -> list[str]:
    conn.execute(
        """create table if not exists migration (
               name text primary key, sha256 text not null, ran_at timestamptz not null default now())"""
    )
    known: dict[str, str] = dict(conn.execute("select name, sha256 from migration").fetchall())
    newer = sorted(known.keys() - {path.name for path in list_migrations(folder)})
    if newer:
        raise StoreError(
            f"this database was changed by a newer version of Facewarden ({newer[-1]})",
            mend="start that version, or restore the backup that was made before it",
        )
    ran = []
    for path in list_migrations(folder):
        text = path.read_text(encoding="utf-8")
        digest = hashlib.sha256(text.encode()).hexdigest()
        if path.name in known:
            if known[path.name] != digest:
                raise StoreError(f"{path.name} has changed since it ran", mend="put the released file back")
            continue
        with conn.transaction():
            conn.execute(text.encode())
            conn.execute("insert into migration (name, sha256) values (%s, %s)", [path.name, digest])
        log.info("migration ran", name=path.name)
        ran.append(path.name)
    return ran
