"""Recomputes the ledger: in come its rows and the heads that were kept outside, out comes what is wrong, by name.

Rows are read in portions, in one snapshot, so that memory is bounded and a sequencer may go on meanwhile.
"""

import datetime as dt
import heapq
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from vault.heads import OutsideHead, is_signed
from vault.keys import Keys
from vault.ledger import EMPTY, Head, SignedHead, append_leaves, hash_leaf
from vault.store import Connection
from vault.store.ledger import PORTION, read_signed_head

HEADS = 2_000  # of the database in memory at once
MOST_OF_A_KIND = 20  # findings of one code that are listed; the others are counted
# Heads are signed with the database's time, which only moves forwards; older ones with that of whichever worker
# placed the entries, and the clocks of two machines may differ by so much.
SKEW = dt.timedelta(seconds=60)

Tell = Callable[[int, int], None]  # (entries read, entries in all)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Something wrong: `code` is stable."""

    code: str
    text: str

    def __str__(self) -> str:
        return f"{self.code}: {self.text}"


@dataclass(kw_only=True, slots=True)
class Findings:
    """What is wrong, as it is found; of each kind the first few."""

    listed: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, code: str, text: str) -> None:
        self.counts[code] += 1
        if self.counts[code] <= MOST_OF_A_KIND:
            self.listed.append(Finding(code=code, text=text))

    def close(self) -> list[Finding]:
        more = [Finding(code=code, text=f"and {count - MOST_OF_A_KIND} more of this kind")
                for code, count in self.counts.items() if count > MOST_OF_A_KIND]  # fmt: skip
        return [*self.listed, *more]


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A placed row of `ledger`."""

    position: int
    about: str
    entry: str
    leaf: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Witness:
    """A head that the entries are held against. `outside`: it was kept outside the database."""

    name: str
    signed: SignedHead
    outside: bool

    @property
    def size(self) -> int:
        return self.signed.head.tree_size

    @property
    def root(self) -> str:
        return self.signed.head.root

    @property
    def signed_at(self) -> dt.datetime:
        return dt.datetime.fromisoformat(self.signed.signed_at)


class Walk:
    """The entries in their order, and the tree over those that were passed."""

    def __init__(self, rows: Iterator[Place], found: Findings) -> None:
        self._rows = rows
        self._found = found
        self.size = 0  # where the next entry has its place
        self.tree: Head | None = EMPTY  # None after a gap: no root can be recomputed

    def grow(self, size: int | None = None) -> None:
        """Go on until `size` entries were passed, or to the end."""
        leaves: list[str] = []
        while size is None or self.size < size:
            row = next(self._rows, None)
            if row is None:
                break
            self._check(row)
            if row.position < self.size:
                continue
            leaves.append(hash_leaf(row.entry))
            self.size = row.position + 1
            if len(leaves) == PORTION:
                self._append(leaves)
        self._append(leaves)

    def _append(self, leaves: list[str]) -> None:
        if self.tree is not None:
            self.tree = append_leaves(self.tree, leaves)
        leaves.clear()

    def _check(self, row: Place) -> None:
        """Is the row in its place, and as it was when it was placed?"""
        if row.position < 0:
            self._found.add("entry_misplaced", f"an entry has the position {row.position}")
        elif row.position < self.size:
            self._found.add("entry_doubled", f"two entries have the position {row.position}")
        elif row.position > self.size:
            many = f"entry {self.size} is" if row.position == self.size + 1 else (
                f"entries {self.size} to {row.position - 1} are")  # fmt: skip
            self._found.add("entry_missing", f"{many} missing")
            self.tree = None
        if hash_leaf(row.entry) != row.leaf:
            self._found.add("entry_changed", f"entry {row.position} has changed since it was chained")
        if read_about(row.entry) != row.about:
            self._found.add("about_changed", f"entry {row.position} is filed under something else than it is about")


def verify_ledger(
    conn: Connection, keys: Keys, outside: Sequence[OutsideHead] = (), *, tell: Tell = lambda _done, _total: None
) -> list[Finding]:
    """Recompute every leaf and every root, and hold them against the heads of the database and those kept `outside`;
    what is wrong, nothing when all is well. The connection needs long limits and no open transaction."""
    found = Findings()
    with conn.transaction():
        conn.execute("set transaction isolation level repeatable read, read only")
        walk = Walk(_list_places(conn, tell), found)
        own = (Witness(name=f"the head at {signed.head.tree_size}", signed=signed, outside=False)
               for signed in _list_signed(conn, keys))  # fmt: skip
        brought = sorted((Witness(name=each.where, signed=each.signed, outside=True) for each in outside),
                         key=lambda each: each.size)  # fmt: skip
        last = check_witnesses(heapq.merge(own, brought, key=lambda each: each.size), walk, keys, found)
        walk.grow()
        if walk.size > last:
            found.add("entry_unsigned", f"entries from {last} on were never signed")
    return found.close()


def check_witnesses(witnesses: Iterator[Witness], walk: Walk, keys: Keys, found: Findings) -> int:
    """Hold the entries against each head, the shortest first; how many entries the database's own heads cover."""
    last, before = 0, None
    newest = dt.datetime.min.replace(tzinfo=dt.UTC)
    for each in witnesses:
        signed = check_signature(each, keys, found)
        if not each.outside:
            last = each.size
        elif not signed:  # it says nothing
            continue
        if before is not None and before.size == each.size and before.root != each.root:
            found.add("heads_differ", f"{before.name} and {each.name} give {each.size} entries different roots")
        if signed and newest - each.signed_at > SKEW:
            found.add("head_back_in_time", f"{each.name} was signed at {each.signed_at}, a shorter one at {newest}")
        newest = max(newest, each.signed_at) if signed else newest
        before = each
        walk.grow(each.size)
        check_root(each, walk, found)
    return last


def check_signature(each: Witness, keys: Keys, found: Findings) -> bool:
    """Did this deployment sign the head?"""
    if each.signed.public_key != keys.public_key.hex():
        found.add("head_foreign", f"{each.name} was signed with another key than this deployment's")
    elif not is_signed(each.signed):
        found.add("head_signature", f"the signature of {each.name} is not ours")
    else:
        return True
    return False


def check_root(each: Witness, walk: Walk, found: Findings) -> None:
    """Do the entries give the root that was signed?"""
    if walk.size < each.size:
        reason = "its tail was cut off, or it is an older copy" if each.outside else "they are missing"
        found.add("tail_cut", f"{each.name} covers {each.size} entries, the ledger has {walk.size}: {reason}")
    elif walk.tree is not None:
        if walk.tree.root != each.root:
            found.add("root_changed", f"the entries up to {each.size} do not give the signed root of {each.name}")
        elif not each.outside and walk.tree.frontier != each.signed.head.frontier:
            found.add("frontier_changed", f"the frontier kept with {each.name} is not that of the entries")


def read_about(entry: str) -> str | None:
    """What an entry is about by its own words; None if it is not of our form."""
    try:
        return str(json.loads(entry)["facts"]["about"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _list_places(conn: Connection, tell: Tell) -> Iterator[Place]:
    row = conn.execute("select count(*) from ledger where position is not null").fetchone()
    total = int(row[0]) if row else 0
    with conn.cursor(name="audit_entries") as cursor:
        cursor.itersize = PORTION
        cursor.execute(
            """select position, about, entry, leaf from ledger where position is not null
               order by position, ledger_id"""
        )
        for number, (position, about, entry, leaf) in enumerate(cursor):
            if number % PORTION == 0:
                tell(number, total)
            yield Place(position=position, about=about, entry=entry, leaf=leaf)


def _list_signed(conn: Connection, keys: Keys) -> Iterator[SignedHead]:
    with conn.cursor(name="audit_heads") as cursor:
        cursor.itersize = HEADS
        cursor.execute(
            "select tree_size, root, frontier, signed_at, signature from ledger_head order by tree_size, signed_at"
        )
        for row in cursor:
            yield read_signed_head((*row, keys.public_key.hex()))
