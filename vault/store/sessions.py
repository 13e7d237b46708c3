"""Database sessions of ours whose client does not take its answer: they keep their locks whatever the timeouts."""

from vault.store import NAME, Connection

STUCK_SECONDS = 25.0  # that an answer may wait for its client


def end_stuck_sessions(conn: Connection) -> int:
    """End sessions of our own that have been sending one answer for STUCK_SECONDS to a client that does not read it (it
    was stopped, or its host is gone). Those that may be long have another name. Returns how many."""
    rows = conn.execute(
        """select pg_terminate_backend(pid) from pg_stat_activity
           where datname = current_database() and usename = current_user and application_name = %(name)s
             and backend_type = 'client backend' and pid <> pg_backend_pid()
             and state = 'active' and wait_event = 'ClientWrite'
             and state_change < clock_timestamp() - make_interval(secs => %(stuck)s)""",
        {"name": NAME, "stuck": STUCK_SECONDS},
    ).fetchall()
    return len(rows)
