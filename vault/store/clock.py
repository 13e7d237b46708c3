"""The gallery clock: has it changed who may be searched? A sequence, so that no change waits for another.

A sequence moves before the change that moved it is committed. So what was read at a new value counts as settled only
when every transaction that ran then has ended; until then rows are read again.
"""

from dataclasses import dataclass

from psycopg.pq import TransactionStatus

from vault.store import Connection


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """The clock's value, and the oldest transaction that still runs."""

    value: int
    oldest: int


def tick_gallery(conn: Connection) -> None:
    """Say that the set of searchable templates changes with this transaction: after its change was written."""
    conn.execute("select nextval('gallery_clock')")


def read_gallery_clock(conn: Connection) -> Reading:
    row = conn.execute(
        """select case when is_called then last_value else 0 end,
                  pg_snapshot_xmin(pg_current_snapshot())::text::bigint from gallery_clock"""
    ).fetchone()
    assert row is not None
    return Reading(value=row[0], oldest=row[1])


class GalleryClock:
    """What one reader of the rows has seen. Not for several threads."""

    def __init__(self) -> None:
        self.value = -1
        self._unsettled: int | None = None  # what was read at `value` waits for transactions below this to end

    def has_moved(self, reading: Reading) -> bool:
        """Must rows be read again? Take the reading before they are."""
        return reading.value != self.value or self._unsettled is not None

    def take(self, conn: Connection, reading: Reading) -> None:
        """Rows were read, after this reading."""
        if reading.value != self.value or self._unsettled == 0:
            self.value, self._unsettled = reading.value, draw_horizon(conn)
        elif self._unsettled is not None and reading.oldest >= self._unsettled:
            self._unsettled = None

    def forget(self) -> None:
        """Have rows read again, whatever the clock says."""
        self.value, self._unsettled = -1, None


def draw_horizon(conn: Connection) -> int:
    """A transaction number above that of every transaction that runs; 0 (none can be drawn) within one of our own."""
    if conn.info.transaction_status != TransactionStatus.IDLE:
        return 0
    row = conn.execute("select pg_current_xact_id()::text::bigint").fetchone()
    assert row is not None
    return int(row[0])
