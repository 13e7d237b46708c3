"""Rows of `pause`: steps that cannot work for a reason that says nothing of any row, for `status` to show."""

import datetime as dt
from dataclasses import dataclass

from vault.store import Connection
from vault.store.rows import record_row

STALE_SECONDS = 120  # after the time of the next try: whoever paused is gone


@dataclass(frozen=True, kw_only=True, slots=True)
class PauseRow:
    step: str
    host: str
    code: str
    reason: str
    since: dt.datetime


def save_pause(conn: Connection, step: str, host: str, code: str, reason: str, wait: float) -> None:
    """The step pauses on this machine for `wait` seconds; `since` is when it began to."""
    conn.execute(
        """insert into pause (step, host, code, reason, again_at)
           values (%(step)s, %(host)s, %(code)s, left(%(reason)s, 500),
                   clock_timestamp() + make_interval(secs => %(wait)s))
           on conflict (step, host) do update set code = excluded.code, reason = excluded.reason,
               again_at = excluded.again_at""",
        {"step": step, "host": host, "code": code, "reason": reason, "wait": wait},
    )


def clear_pause(conn: Connection, step: str, host: str) -> None:
    conn.execute("delete from pause where step = %(step)s and host = %(host)s", {"step": step, "host": host})


def list_pauses(conn: Connection) -> list[PauseRow]:
    """Those that stand, the oldest first."""
    with conn.cursor(row_factory=record_row(PauseRow)) as cursor:
        return cursor.execute(
            """select step, host, code, reason, since from pause
               where again_at > clock_timestamp() - make_interval(secs => %(stale)s) order by since, step, host""",
            {"stale": STALE_SECONDS},
        ).fetchall()


def drop_stale_pauses(conn: Connection) -> None:
    conn.execute(
        "delete from pause where again_at < clock_timestamp() - make_interval(secs => %(stale)s)",
        {"stale": STALE_SECONDS},
    )
