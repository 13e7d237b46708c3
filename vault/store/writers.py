"""Rows of `writer`: who may write a file that one process at a time writes.

A lease, not a lock: a writer that is stopped or gone delays the next one by the lease and no longer, and what it does
afterwards is refused by its token.
"""

from vault.errors import LeaseLost
from vault.store import Connection
from vault.store.work import LEASE_SECONDS, WorkTable

WRITERS = WorkTable(name="writer", key="name")  # for the heartbeat
GALLERY, SEGMENTS = "gallery", "segments"


def take_writer(conn: Connection, name: str) -> int | None:
    """Be the writer of this name; the token that proves it, None while somebody else is."""
    row = conn.execute(
        """insert into writer (name, state, token, lease_until)
           values (%(name)s, 'running', nextval('fencing_token'), clock_timestamp() + make_interval(secs => %(lease)s))
           on conflict (name) do update
               set state = 'running', token = excluded.token, lease_until = excluded.lease_until
               where writer.state <> 'running' or writer.lease_until < clock_timestamp()
                  or writer.lease_until > clock_timestamp() + interval '2 minutes'  -- the clock was set back
           returning token""",
        {"name": name, "lease": LEASE_SECONDS},
    ).fetchone()
    return int(row[0]) if row else None


def check_writer(conn: Connection, name: str, token: int) -> None:
    """The last look before something is written for good. Raises LeaseLost if somebody else is the writer now."""
    row = conn.execute(
        "select 1 from writer where name = %(name)s and token = %(token)s and state = 'running'",
        {"name": name, "token": token},
    ).fetchone()
    if row is None:
        raise LeaseLost(f"somebody else writes the {name} now")


def release_writer(conn: Connection, name: str, token: int) -> None:
    conn.execute(
        "update writer set state = 'done' where name = %(name)s and token = %(token)s", {"name": name, "token": token}
    )
