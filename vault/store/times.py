"""Is it the time that the clocks say? The database's time decides; before work is taken up it is held against this
machine's time, and against the seconds that have passed since an earlier look.

A clock that jumps would end leases, links and retention early, or never. Which of two clocks is right cannot be known
here, so whoever sees that they differ stops taking up work, and goes on when they agree.
"""

import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from vault.errors import Unavailable
from vault.store import Connection

MOST_APART = 60.0  # seconds between two clocks
MOST_DRIFT = 5.0  # between looks; a clock that is only slewed takes the mark along with it
BOOT_FILE = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, kw_only=True, slots=True)
class Readings:
    """At one moment: the database's clock and this machine's, in seconds since 1970, and the seconds since this
    machine was started, during which it may have slept. `slack`: so many seconds of difference say nothing."""

    database: float
    local: float
    running: float
    slack: float


def check_clocks(conn: Connection) -> None:
    """Compares, and keeps the mark of this look. Raises Unavailable: clock_differs, clock_jumped."""
    readings, mark = read_clocks(conn)
    compare_clocks(readings, mark)
    ahead = readings.database - readings.running
    if mark is None or abs(ahead - mark) > MOST_DRIFT + readings.slack:
        save_mark(conn, ahead)


def compare_clocks(readings: Readings, mark: float | None) -> None:
    """`mark`: by how much the database's clock was ahead of the running time at an earlier look.

    Raises Unavailable: clock_differs, clock_jumped.
    """
    apart = readings.local - readings.database
    if abs(apart) - readings.slack > MOST_APART:
        raise Unavailable(
            "clock_differs",
            f"this machine's clock is {describe(apart)} of the database's",
            mend="set the clock that is wrong; the work goes on by itself",
        )
    ahead = readings.database - readings.running
    if mark is not None and abs(ahead - mark) - readings.slack > MOST_APART:
        raise Unavailable(
            "clock_jumped",
            f"the clock has jumped: it is {describe(ahead - mark)} of where it was",
            mend="set it right, and the work goes on by itself; if it is right now, start the workers anew",
        )


def read_clocks(conn: Connection) -> tuple[Readings, float | None]:
    """The clocks, and by how much the database's was ahead of this machine's running time at the last look."""
    started, local = read_running(), time.time()
    row = conn.execute(
        """select extract(epoch from clock_timestamp())::float,
                  (select ahead from clock_mark where boot = %(boot)s)""",
        {"boot": read_boot()},
    ).fetchone()
    assert row is not None
    took = read_running() - started
    return Readings(database=row[0], local=local + took / 2, running=started + took / 2, slack=took / 2), row[1]


def save_mark(conn: Connection, ahead: float) -> None:
    conn.execute(
        """insert into clock_mark (boot, ahead) values (%(boot)s, %(ahead)s)
           on conflict (boot) do update set ahead = excluded.ahead, marked_at = clock_timestamp()""",
        {"boot": read_boot(), "ahead": ahead},
    )


def accept_clocks(conn: Connection) -> None:
    """Whoever starts the workers takes the time as it is."""
    conn.execute("delete from clock_mark")


def read_running() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@cache
def read_boot() -> str:
    """What names this run of this machine's kernel: its seconds are counted from the same moment in every process."""
    return BOOT_FILE.read_text("ascii").strip()


def describe(seconds: float) -> str:
    """In the unit that a person would take: "40 days ahead"."""
    size = abs(seconds)
    unit, name = next(
        (pair for pair in ((86_400, "day"), (3600, "hour"), (60, "minute")) if size >= 2 * pair[0]), (1, "second")
    )
    return f"{size / unit:.0f} {name}s {'ahead' if seconds > 0 else 'behind'}"
