"""Rows of `link` and `session`: one-time links and who is signed in. Only digests of tokens are kept."""

import datetime as dt
from dataclasses import dataclass
from uuid import UUID

from vault.store import Connection, require_transaction
from vault.store.rows import record_row
from vault.store.subjects import drop_enrolment, list_unconfirmed
from vault.tokens import hash_token, make_token

SESSION_HOURS = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """Who is signed in: a subject or an operator."""

    subject_id: UUID | None
    operator: str | None


def make_link(
    conn: Connection, purpose: str, lasts: dt.timedelta, *, subject_id: UUID | None = None, operator: str | None = None
) -> str:
    """A new one-time token for `confirm`, `subject` or `operator`; shown once, kept as a digest."""
    token = make_token()
    conn.execute(
        """insert into link (token_sha256, purpose, subject_id, operator, expires_at)
           values (%(hash)s, %(purpose)s, %(subject)s, %(operator)s, now() + %(lasts)s)""",
        {
            "hash": hash_token(token),
            "purpose": purpose,
            "subject": subject_id,
            "operator": operator,
            "lasts": lasts,
        },
    )
    return token


def use_link(conn: Connection, purpose: str, token: str) -> tuple[UUID | None, str | None] | None:
    """Spend a token: (subject_id, operator), or None if it is unknown, spent or too old. What it was spent for is
    written in the same transaction: if that fails, it was not spent."""
    require_transaction(conn)
    row = conn.execute(
        """update link set used_at = now()
           where token_sha256 = %(hash)s and purpose = %(purpose)s and used_at is null and expires_at > now()
           returning subject_id, operator""",
        {"hash": hash_token(token), "purpose": purpose},
    ).fetchone()
    return (row[0], row[1]) if row else None


def start_session(conn: Connection, *, subject_id: UUID | None = None, operator: str | None = None) -> str:
    """The session's cookie value."""
    token = make_token()
    conn.execute(
        """insert into session (token_sha256, subject_id, operator, expires_at)
           values (%(hash)s, %(subject)s, %(operator)s, now() + make_interval(hours => %(hours)s))""",
        {
            "hash": hash_token(token),
            "subject": subject_id,
            "operator": operator,
            "hours": SESSION_HOURS,
        },
    )
    return token


def get_session(conn: Connection, token: str) -> Session | None:
    with conn.cursor(row_factory=record_row(Session)) as cursor:
        return cursor.execute(
            """select subject_id, operator from session
               where token_sha256 = %(hash)s and expires_at > now()""",
            {"hash": hash_token(token)},
        ).fetchone()


def end_session(conn: Connection, token: str) -> None:
    conn.execute("delete from session where token_sha256 = %(hash)s", {"hash": hash_token(token)})


def end_sessions_of(conn: Connection, subject_id: UUID) -> None:
    conn.execute("delete from session where subject_id = %(id)s", {"id": subject_id})
    conn.execute("delete from link where subject_id = %(id)s", {"id": subject_id})


def drop_stale(conn: Connection) -> None:
    """Drop sessions and links whose time is over, and enrolments that nobody confirmed while their link worked."""
    for subject_id in list_unconfirmed(conn):
        with conn.transaction():
            drop_enrolment(conn, subject_id)
    conn.execute("delete from session where expires_at < now()")
    conn.execute("delete from link where expires_at < now() - interval '7 days'")
