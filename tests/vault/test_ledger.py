import datetime as dt
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.verify import hash_leaf as hash_leaf_alone
from evidence.verify import root_from_path
from tests.samples import count
from vault.keys import Keys
from vault.ledger import EMPTY, Kind, append_leaves, hash_leaf, hash_node, hash_tree, make_entry, prove_inclusion
from vault.store import Connection, DatabaseError
from vault.store.ledger import chain_entries, get_head, verify_ledger, write_entries, write_entry

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


def test_an_entry_has_one_spelling() -> None:
    entry = make_entry(Kind.VIEW, NOW, {"b": 1, "about": "ü", "a": "x"})
    assert entry == '{"at":"2026-01-02T03:04:05.000006+00:00","facts":{"a":"x","about":"ü","b":1},"kind":"view"}'


@pytest.mark.parametrize("value", [1.5, True, None, ["x"]])
def test_only_texts_and_whole_numbers_are_facts(value: object) -> None:
    with pytest.raises(TypeError):
        make_entry(Kind.VIEW, NOW, {"x": value})  # type: ignore[dict-item]


def test_entries_are_chained_in_batches_and_verify(conn: Connection, keys: Keys) -> None:
    for batch in range(5):
        write_entries(conn, Kind.CAPTURE, [{"about": f"{batch}-{number}"} for number in range(batch * 7 + 1)])
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
    write_entries(conn, Kind.CAPTURE, [{"about": f"a{number}"} for number in range(12)])
    chain_entries(conn, keys)
    conn.execute("alter table ledger disable trigger ledger_is_append_only")
    conn.execute(change.encode())
    wrong = verify_ledger(conn, keys)
    assert any(word in line for line in wrong), wrong


def test_the_database_refuses_to_change_a_placed_entry(conn: Connection, keys: Keys) -> None:
    write_entry(conn, Kind.VIEW, about="x")
    chain_entries(conn, keys)
    for change in ("update ledger set entry = 'y'", "delete from ledger"):
        with pytest.raises(DatabaseError, match="append-only"):
            conn.execute(change.encode())
    assert count(conn, "select count(*) from ledger") == 1


def test_an_entry_of_a_transaction_that_fails_is_not_there(conn: Connection) -> None:
    with pytest.raises(ZeroDivisionError), conn.transaction():
        write_entry(conn, Kind.VIEW, about="x")
        raise ZeroDivisionError
    assert count(conn, "select count(*) from ledger") == 0
