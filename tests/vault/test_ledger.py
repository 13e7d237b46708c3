import datetime as dt
import hashlib
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.verify import hash_leaf as hash_leaf_alone
from evidence.verify import root_from_path
from tests.samples import count
from vault.errors import StoreError
from vault.keys import Keys
from vault.ledger import (
    EMPTY,
    Kind,
    append_leaves,
    hash_leaf,
    hash_node,
    hash_tree,
    make_entry,
    prove_inclusion,
    prove_positions,
)
from vault.store import Connection, DatabaseError, TransactionStatus
from vault.store.audit import verify_ledger
from vault.store.ledger import (
    chain_entries,
    find_receipts,
    get_head,
    list_leaves,
    write_entries,
    write_entry,
)

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, 6, dt.UTC)


def root_by_definition(leaves: list[str]) -> str:
    """RFC 6962, section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").hexdigest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hash_node(root_by_definition(leaves[:k]), root_by_definition(leaves[k:]))


@given(st.integers(0, 70), st.integers(1, 9))
def test_the_root_is_the_one_the_standard_defines_however_it_is_grown(size: int, step: int) -> None:
    leaves = [hash_leaf(str(number)) for number in range(size)]
    head = EMPTY
    for start in range(0, size, step):
        head = append_leaves(head, leaves[start : start + step])
    assert head.root == root_by_definition(leaves) == hash_tree(leaves)
    assert head.tree_size == size


def test_the_standards_own_example_of_an_empty_tree() -> None:
    assert EMPTY.root == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@given(st.integers(1, 70), st.data())
def test_an_inclusion_proof_leads_to_the_root_and_only_from_its_own_place(size: int, data: st.DataObject) -> None:
    entries = [str(number) for number in range(size)]
    leaves = [hash_leaf(entry) for entry in entries]
    position = data.draw(st.integers(0, size - 1))
    path = [bytes.fromhex(step) for step in prove_inclusion(leaves, position)]
    root = bytes.fromhex(hash_tree(leaves))
    assert root_from_path(hash_leaf_alone(entries[position]), position, size, path) == root
    other = data.draw(st.integers(0, size - 1))
    if other != position:
        assert root_from_path(hash_leaf_alone(entries[other]), position, size, path) != root


@given(st.integers(1, 300), st.integers(1, 40), st.data())
def test_many_positions_are_proven_in_one_pass(size: int, portion: int, data: st.DataObject) -> None:
    """Each path is the one that the standard defines, whatever the portions in which the leaves come."""
    leaves = [hash_leaf(str(number)) for number in range(size)]
    positions = data.draw(st.sets(st.integers(0, size - 1)))
    portions = [leaves[first : first + portion] for first in range(0, size, portion)]
    root, paths = prove_positions(iter(portions), size, positions)
    assert root == hash_tree(leaves)
    assert paths == {position: prove_inclusion(leaves, position) for position in positions}


@pytest.mark.parametrize(
    ("size", "positions", "error"),
    [(5, [5], IndexError), (5, [-1], IndexError), (4, [0], ValueError), (6, [0], ValueError), (0, [0], IndexError)],
)
def test_what_is_not_in_the_tree_is_not_proven(size: int, positions: list[int], error: type[Exception]) -> None:
    with pytest.raises(error):
        prove_positions([[hash_leaf(str(number)) for number in range(5)]], size, positions)


def test_proofs_need_little_memory_however_long_the_ledger_is() -> None:
    size, portion = 200_000, 1_000
    portions = ([hash_leaf(str(number)) for number in range(first, first + portion)]
                for first in range(0, size, portion))  # fmt: skip
    tracemalloc.start()
    prove_positions(portions, size, range(0, size, size // 20))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000, "the leaves alone are 22 MB"


def test_leaves_are_read_in_portions_and_no_transaction_waits_meanwhile(conn: Connection, keys: Keys) -> None:
    write_entries(conn, Kind.CAPTURE, [{"about": str(number)} for number in range(30)], by="test")
    chain_entries(conn, keys)
    sizes = []
    for portion in list_leaves(conn, 23, portion=7):
        sizes.append(len(portion))
        assert conn.info.transaction_status == TransactionStatus.IDLE
    assert sizes == [7, 7, 7, 2]
    conn.execute("alter table ledger disable trigger ledger_is_append_only")
    conn.execute("delete from ledger where position = 9")
    with pytest.raises(StoreError):
        list(list_leaves(conn, 23, portion=7))


def test_of_many_receipts_the_first_and_the_last_are_found(conn: Connection, keys: Keys) -> None:
    for kind, about in (("view", "a"), *[("capture", "a")] * 5, ("capture", "b"), ("view", "b")):
        write_entry(conn, Kind(kind), about=about, by="test")
    chain_entries(conn, keys)
    write_entry(conn, Kind.CAPTURE, about="a", by="test")
    assert [position for position, _ in find_receipts(conn, ["a", "b", "c"], 8)] == [1, 5, 6]
    assert [position for position, _ in find_receipts(conn, ["a"], 4)] == [1, 3], "those that the head covers"


def test_an_entry_has_one_spelling() -> None:
    entry = make_entry(Kind.VIEW, NOW, {"b": 1, "about": "ü", "a": "x"})
    assert entry == '{"at":"2026-01-02T03:04:05.000006+00:00","facts":{"a":"x","about":"ü","b":1},"kind":"view"}'


@pytest.mark.parametrize("value", [1.5, True, None, ["x"]])
def test_only_texts_and_whole_numbers_are_facts(value: object) -> None:
    with pytest.raises(TypeError):
        make_entry(Kind.VIEW, NOW, {"x": value})  # type: ignore[dict-item]


def test_entries_are_chained_in_batches_and_verify(conn: Connection, keys: Keys) -> None:
    for batch in range(5):
        write_entries(
            conn, Kind.CAPTURE, [{"about": f"{batch}-{number}"} for number in range(batch * 7 + 1)], by="test"
        )
        assert chain_entries(conn, keys) == batch * 7 + 1
    assert chain_entries(conn, keys) == 0
    assert get_head(conn).tree_size == 75
    assert verify_ledger(conn, keys) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ("update ledger set entry = replace(entry, 'a5', 'b5') where position = 5", "entry 5 has changed"),
        ("delete from ledger where position = 7", "entry 7 is missing"),
        ("delete from ledger where position = 11", "missing"),
        ("update ledger_head set root = reverse(root) where tree_size = 12", "do not give the signed root"),
        ("update ledger_head set signature = reverse(signature) where tree_size = 12", "signature"),
    ],
)
def test_a_change_made_behind_our_back_is_named(conn: Connection, keys: Keys, change: str, word: str) -> None:
    write_entries(conn, Kind.CAPTURE, [{"about": f"a{number}"} for number in range(12)], by="test")
    chain_entries(conn, keys)
    conn.execute("alter table ledger disable trigger ledger_is_append_only")
    conn.execute(change.encode())
    wrong = verify_ledger(conn, keys)
    assert any(word in finding.text for finding in wrong), wrong


def test_the_database_refuses_to_change_a_placed_entry(conn: Connection, keys: Keys) -> None:
    write_entry(conn, Kind.VIEW, about="x", by="test")
    chain_entries(conn, keys)
    for change in ("update ledger set entry = 'y'", "delete from ledger"):
        with pytest.raises(DatabaseError, match="append-only"):
            conn.execute(change.encode())
    assert count(conn, "select count(*) from ledger") == 1


def test_an_entry_of_a_transaction_that_fails_is_not_there(conn: Connection) -> None:
    with pytest.raises(ZeroDivisionError), conn.transaction():
        write_entry(conn, Kind.VIEW, about="x", by="test")
        raise ZeroDivisionError
    assert count(conn, "select count(*) from ledger") == 0
