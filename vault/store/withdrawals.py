"""Rows of `withdrawal`: who has left. In comes a person's word, out comes silence, then an erasure.

A withdrawal is one inserted row that waits for no lock. Whoever writes something about a person looks for it last,
just before the commit (`check_withdrawals`). What was committed by a transaction that looked too early is found by the
erasure: it begins when every transaction that is older than its fence has ended.
"""

from collections.abc import Iterable
from uuid import UUID

from vault.errors import ConsentMissing
from vault.store import Connection
from vault.store.clock import tick_gallery

STUCK_SECONDS = 30.0  # a transaction that an erasure waits for is ended after this


def withdraw_consent(conn: Connection, subject_id: UUID, *, by: str = "subject") -> bool:
    """Silence matching and messages from now on. False if the person had withdrawn before."""
    if has_withdrawn(conn, subject_id):
        return False
    conn.execute(
        "insert into withdrawal (subject_id, withdrawn_by) values (%(id)s, %(by)s)", {"id": subject_id, "by": by}
    )
    tick_gallery(conn)
    return True


def has_withdrawn(conn: Connection, subject_id: UUID) -> bool:
    row = conn.execute("select 1 from withdrawal where subject_id = %(id)s limit 1", {"id": subject_id}).fetchone()
    return row is not None


def check_withdrawals(conn: Connection, subject_ids: Iterable[UUID]) -> None:
    """The last look before a commit. Raises ConsentMissing if any of these people has withdrawn."""
    row = conn.execute(
        "select 1 from withdrawal where subject_id = any(%(ids)s) limit 1", {"ids": list(subject_ids)}
    ).fetchone()
    if row is not None:
        raise ConsentMissing("a person withdrew meanwhile")


# -- the erasure's beginning ------------------------------------------------------------------------------------------


def has_new_withdrawals(conn: Connection) -> bool:
    """Is there a withdrawal for which no erasure was asked yet?"""
    row = conn.execute(
        """select 1 from withdrawal join subject using (subject_id)
           where not exists (select from erasure where erasure.subject_id = withdrawal.subject_id) limit 1"""
    ).fetchone()
    return row is not None


def ask_erasures(conn: Connection) -> int:
    """An erasure for everybody who withdrew and has none; how many."""
    return conn.execute(
        """insert into erasure (subject_id)
           select distinct subject_id from withdrawal join subject using (subject_id)
           where not exists (select from erasure where erasure.subject_id = withdrawal.subject_id)
           on conflict do nothing"""
    ).rowcount


def set_fence(conn: Connection, subject_id: UUID) -> None:
    """Say from when on every transaction can see the withdrawal; said once, after the withdrawal was committed."""
    conn.execute(
        "update erasure set fenced_at = clock_timestamp() where subject_id = %(id)s and fenced_at is null",
        {"id": subject_id},
    )


def count_older_transactions(conn: Connection, subject_id: UUID) -> int:
    """Transactions of this database that write and began before the fence of this erasure; those that are STUCK_SECONDS
    older are ended (a client that was stopped while its answer streams keeps its locks whatever the timeouts)."""
    rows = conn.execute(
        """select case when erasure.fenced_at < clock_timestamp() - make_interval(secs => %(stuck)s)
                       then pg_terminate_backend(pid) end
           from pg_stat_activity, erasure
           where subject_id = %(id)s and datname = current_database() and backend_type = 'client backend'
             and pid <> pg_backend_pid() and xact_start < erasure.fenced_at and backend_xid is not null""",
        {"id": subject_id, "stuck": STUCK_SECONDS},
    ).fetchall()
    return len(rows)
