"""Rows of `ledger` and `ledger_head`: entries go in unchained, the sequencer places them and signs the head."""

import datetime as dt
from collections.abc import Iterable, Iterator

from vault.errors import StoreError
from vault.keys import Keys
from vault.ledger import EMPTY, Head, Kind, SignedHead, append_leaves, hash_leaf, head_message, make_entry
from vault.store import Connection, TupleRow
from vault.store.locks import Lock

BATCH = 5_000
PORTION = 50_000  # leaves in memory at once


def write_entries(conn: Connection, kind: Kind, facts: Iterable[dict[str, str | int]], *, by: str) -> None:
    """Add entries in the caller's transaction. Each has a fact `about`: the digest or id by which it is found again.
    `by`: who did it, an operator's name, "subject" for the person it is about, or our own process."""
    now = dt.datetime.now(dt.UTC)
    rows = [(str(each["about"]), make_entry(kind, now, {**each, "by": by})) for each in facts]
    if rows:
        conn.execute(
            """insert into ledger (about, entry)
               select about, entry from unnest(%(about)s::text[], %(entry)s::text[]) as new (about, entry)""",
            {"about": [about for about, _ in rows], "entry": [entry for _, entry in rows]},
        )


def write_entry(conn: Connection, kind: Kind, *, about: str, by: str, **facts: str | int) -> None:
    write_entries(conn, kind, [{"about": about, **facts}], by=by)


def chain_entries(conn: Connection, keys: Keys) -> int:
    """Place up to BATCH entries and sign the new head; returns how many. 0 also when another sequencer is at it."""
    with conn.transaction():
        if conn.execute("select pg_try_advisory_xact_lock(%(lock)s)", {"lock": Lock.LEDGER}).fetchone() != (True,):
            return 0
        rows = conn.execute(
            "select ledger_id, entry from ledger where position is null order by ledger_id limit %(most)s",
            {"most": BATCH},
        ).fetchall()
        if not rows:
            return 0
        head = get_head(conn)
        leaves = [hash_leaf(entry) for _, entry in rows]
        conn.execute(
            """update ledger set leaf = new.leaf, position = new.position
               from unnest(%(ids)s::bigint[], %(leaves)s::text[], %(positions)s::bigint[])
                    as new (ledger_id, leaf, position)
               where ledger.ledger_id = new.ledger_id""",
            {
                "ids": [ledger_id for ledger_id, _ in rows],
                "leaves": leaves,
                "positions": list(range(head.tree_size, head.tree_size + len(rows))),
            },
        )
        _save_head(conn, append_leaves(head, leaves), keys)
    return len(rows)


def get_head(conn: Connection) -> Head:
    """The newest head, the empty tree's before the first."""
    row = conn.execute("select tree_size, root, frontier from ledger_head order by tree_size desc limit 1").fetchone()
    return Head(tree_size=row[0], root=row[1], frontier=tuple(row[2])) if row else EMPTY


def _save_head(conn: Connection, head: Head, keys: Keys) -> None:
    """Sign it with the database's time; heads do not run back in time, whatever its clock does."""
    row = conn.execute(
        """select greatest(clock_timestamp(),
                           (select signed_at from ledger_head order by tree_size desc limit 1))"""
    ).fetchone()
    assert row is not None
    text = _write_time(row[0])
    conn.execute(
        """insert into ledger_head (tree_size, root, frontier, signed_at, signature)
           values (%(size)s, %(root)s, %(frontier)s, %(at)s, %(signature)s)""",
        {
            "size": head.tree_size,
            "root": head.root,
            "frontier": list(head.frontier),
            "at": row[0],
            "signature": keys.sign(head_message(head, text)).hex(),
        },
    )


def get_signed_head(conn: Connection) -> SignedHead | None:
    """The newest signed head, None before the first."""
    row = conn.execute(
        """select tree_size, root, frontier, signed_at, signature, public_key
           from ledger_head cross join deployment order by tree_size desc limit 1"""
    ).fetchone()
    return read_signed_head(row) if row else None


def read_signed_head(row: TupleRow) -> SignedHead:
    """From (tree_size, root, frontier, signed_at, signature, public_key)."""
    size, root, frontier, at, signature, public_key = row
    head = Head(tree_size=size, root=root, frontier=tuple(frontier))
    return SignedHead(head=head, signed_at=_write_time(at), signature=signature, public_key=public_key)


def _write_time(at: dt.datetime) -> str:
    """As it is signed."""
    return at.astimezone(dt.UTC).isoformat(timespec="microseconds")


def list_leaves(conn: Connection, tree_size: int, portion: int = PORTION) -> Iterator[list[str]]:
    """The leaf hashes of the first `tree_size` entries, in order, in portions; each is a statement of its own. Raises
    StoreError where one is missing."""
    for first in range(0, tree_size, portion):
        last = min(first + portion, tree_size)
        rows = conn.execute(
            "select leaf from ledger where position >= %(first)s and position < %(last)s order by position",
            {"first": first, "last": last},
        ).fetchall()
        if len(rows) != last - first or (None,) in rows:
            raise StoreError("the ledger has fewer rows than its head says", mend="run: ./facewarden ledger verify")
        yield [leaf for (leaf,) in rows]


def list_entries(conn: Connection, first: int, count: int) -> list[tuple[int, str, str]]:
    """Placed entries from position `first`: (position, entry, leaf)."""
    return conn.execute(
        """select position, entry, leaf from ledger where position >= %(first)s
           order by position limit %(count)s""",
        {"first": first, "count": count},
    ).fetchall()


def find_receipts(conn: Connection, digests: list[str], tree_size: int) -> list[tuple[int, str]]:
    """Of the captures of each of these digests that a head over `tree_size` entries covers, the first and the last:
    (position, entry), in order."""
    return conn.execute(
        """select position, entry from ledger
           where position in (
               select unnest(array[min(position), max(position)]) from ledger
               where about = any(%(digests)s) and position < %(size)s and entry::jsonb->>'kind' = %(kind)s
               group by about)
           order by position""",
        {"digests": digests, "size": tree_size, "kind": Kind.CAPTURE.value},
    ).fetchall()


def count_unplaced(conn: Connection) -> int:
    row = conn.execute("select count(*) from ledger where position is null").fetchone()
    return int(row[0]) if row else 0


def has_unplaced(conn: Connection, about: list[str]) -> bool:
    """Does an entry about any of these digests or ids wait for its place?"""
    row = conn.execute(
        "select 1 from ledger where about = any(%(about)s) and position is null limit 1", {"about": about}
    ).fetchone()
    return row is not None
