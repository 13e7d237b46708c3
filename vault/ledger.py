"""The append-only ledger, as pure functions: in come entries, out come leaves, a tree head and proofs (RFC 6962).

Rows are written unchained in the transaction of the work they speak of (`vault/store/ledger.py`), so no writer waits
for another; one sequencer gives them their place, a batch at a time, and signs the new head. People appear only as
keyed digests. `evidence/verify.py` repeats these few formulas on purpose: it must run without this code.
"""

import datetime as dt
import hashlib
import itertools
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    CAPTURE = "capture"
    CONSENT = "consent"
    VIEW = "view"
    JUDGEMENT = "judgement"
    DELIVERY = "delivery"
    EXPORT = "export"
    ERASURE = "erasure"
    REFUSAL = "refusal"
    LOGIN = "login"
    SOURCE = "source"  # paused or resumed by a person
    APPROVAL = "approval"


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """The tree after `tree_size` entries. `frontier`: the roots of its full subtrees, largest first, 64 hex digits."""

    tree_size: int
    root: str
    frontier: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class SignedHead:
    """A head that a deployment signed. `signed_at`: ISO 8601 with microseconds; key and signature in hex digits."""

    head: Head
    signed_at: str
    signature: str
    public_key: str

    @property
    def message(self) -> bytes:
        return head_message(self.head, self.signed_at)


EMPTY = Head(tree_size=0, root=hashlib.sha256(b"").hexdigest(), frontier=())


def make_entry(kind: Kind, at: dt.datetime, facts: dict[str, str | int]) -> str:
    """One entry in canonical form: JSON with sorted keys and no spaces; only texts and whole numbers (RFC 8785)."""
    for name, value in facts.items():
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise TypeError(f"a ledger fact is a text or a whole number: {name}")
    row = {"at": at.astimezone(dt.UTC).isoformat(timespec="microseconds"), "kind": kind.value, "facts": facts}
    return json.dumps(row, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def hash_leaf(entry: str) -> str:
    """RFC 6962, section 2.1: SHA-256(0x00 || entry)."""
    return hashlib.sha256(b"\0" + entry.encode()).hexdigest()


def hash_node(left: str, right: str) -> str:
    """RFC 6962, section 2.1: SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\1" + bytes.fromhex(left) + bytes.fromhex(right)).hexdigest()


def append_leaves(head: Head, leaves: Sequence[str]) -> Head:
    """The head after `leaves` more entries; O(1) hashes a leaf."""
    frontier, size = list(head.frontier), head.tree_size
    for leaf in leaves:
        frontier.append(leaf)
        size += 1
        merge = size
        while merge % 2 == 0:  # two full subtrees of the same size become one
            right, left = frontier.pop(), frontier.pop()
            frontier.append(hash_node(left, right))
            merge //= 2
    return Head(tree_size=size, root=fold_frontier(frontier), frontier=tuple(frontier))


def fold_frontier(frontier: Sequence[str]) -> str:
    if not frontier:
        return EMPTY.root
    root = frontier[-1]
    for left in reversed(frontier[:-1]):
        root = hash_node(left, root)
    return root


def hash_tree(leaves: Sequence[str]) -> str:
    """The root over `leaves`."""
    return append_leaves(EMPTY, leaves).root


def prove_inclusion(leaves: Sequence[str], position: int) -> list[str]:
    """The audit path of the leaf at `position` (RFC 6962, section 2.1.1), bottom first, as the standard
    defines it: a hash for each leaf. `prove_positions` makes many paths in one pass."""
    if not 0 <= position < len(leaves):
        raise IndexError("no such leaf")
    path: list[str] = []
    first, last = 0, len(leaves)
    while last - first > 1:
        middle = first + (1 << ((last - first - 1).bit_length() - 1))
        if position < middle:
            path.append(hash_tree(leaves[middle:last]))
            last = middle
        else:
            path.append(hash_tree(leaves[first:middle]))
            first = middle
    return path[::-1]


def prove_positions(
    portions: Iterable[Sequence[str]], tree_size: int, positions: Collection[int]
) -> tuple[str, dict[int, list[str]]]:
    """The root over all leaves, which come in portions, in order, and the audit path of each position (as
    `prove_inclusion` gives it). One pass: `tree_size` hashes, and in memory no more than the paths need.

    An audit path is the sibling of every node between leaf and root. A sibling that is a full subtree is kept when it
    comes by; the one that is cut off by the right edge is folded from the last frontier. Raises IndexError for a
    position outside the tree, ValueError for another number of leaves than `tree_size`.
    """
    if any(not 0 <= position < tree_size for position in positions):
        raise IndexError("no such leaf")
    levels = range((tree_size - 1).bit_length())
    wanted = {_name_node(level, position >> level ^ 1) for position in positions for level in levels}
    kept: dict[int, str] = {}
    edge = [node.hex() for node in _keep_nodes(portions, tree_size, wanted, kept)]
    for level in levels:  # the subtree that the right edge cuts off, if there is one
        if start := (tree_size >> level << level) % tree_size:
            kept[_name_node(level, start >> level)] = fold_frontier(edge[-(tree_size - start).bit_count() :])
    siblings = {position: [_name_node(level, position >> level ^ 1) for level in levels] for position in positions}
    paths = {position: [kept[node] for node in nodes if node in kept] for position, nodes in siblings.items()}
    return fold_frontier(edge), paths


def _keep_nodes(
    portions: Iterable[Sequence[str]], tree_size: int, wanted: Collection[int], kept: dict[int, str]
) -> list[bytes]:
    """Put the full subtrees that are `wanted` into `kept`, hexadecimal; the frontier, as bytes. Raises ValueError."""
    frontier: list[bytes] = []
    size = 0
    for leaf in itertools.chain.from_iterable(portions):
        node, level = bytes.fromhex(leaf), 0
        while True:
            name = _name_node(level, size >> level)
            if name in wanted:
                kept[name] = node.hex()
            if not size >> level & 1:
                break
            node, level = hashlib.sha256(b"\1" + frontier.pop() + node).digest(), level + 1
        frontier.append(node)
        size += 1
    if size != tree_size:
        raise ValueError(f"{size} leaves instead of {tree_size}")
    return frontier


def _name_node(level: int, index: int) -> int:
    """One number for the subtree over the leaves from `index << level` to `(index + 1) << level`."""
    return index << 6 | level


def head_message(head: Head, signed_at: str) -> bytes:
    """The bytes that the deployment's Ed25519 key signs for a head."""
    return f"facewarden ledger head 1\n{head.tree_size}\n{head.root}\n{signed_at}\n".encode()
