"""The ledger is recomputed, and held against heads that left the database: whatever was changed behind our back is
named."""

import datetime as dt
import itertools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from cli.commands.ledger import describe, keep, take_head, verify
from evidence.seal import BundleFile, Edition, Signer, seal_bundle, write_proofs
from vault.errors import LedgerError
from vault.heads import MOST_BYTES, OutsideHead, is_signed, keep_head, list_heads, parse_head, read_head, write_head
from vault.keys import Keys
from vault.ledger import EMPTY, Head, Kind, SignedHead, append_leaves, hash_leaf, head_message, prove_positions
from vault.settings import Settings
from vault.store import Connection, TransactionStatus, connect
from vault.store.audit import MOST_OF_A_KIND, verify_ledger
from vault.store.ledger import chain_entries, get_signed_head, list_entries, list_leaves, write_entries
from workers.context import Context
from workers.heads import HeadKeeper

BATCHES = (5, 7, 1, 12)  # heads over 5, 12, 13 and 25 entries
SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@pytest.fixture
def heads(conn: Connection, keys: Keys) -> list[OutsideHead]:
    """A ledger of 25 entries, and all its heads as they were kept outside. The guard of the table is off, as for its
    owner."""
    numbers = itertools.count()
    kept = []
    for size in BATCHES:
        write_entries(conn, Kind.CAPTURE, [{"about": f"a{next(numbers)}"} for _ in range(size)], by="test")
        chain_entries(conn, keys)
        signed = get_signed_head(conn)
        assert signed is not None
        kept.append(OutsideHead(where=f"{signed.head.tree_size}.json", signed=signed))
    for change in ("alter table ledger disable trigger ledger_is_append_only",
                   "alter table ledger drop constraint ledger_position_key",
                   "alter table ledger_head drop constraint ledger_head_pkey"):  # fmt: skip
        conn.execute(change.encode())
    return kept


def find_codes(conn: Connection, keys: Keys, outside: list[OutsideHead]) -> set[str]:
    return {finding.code for finding in verify_ledger(conn, keys, outside)}


def test_a_ledger_that_nobody_touched_extends_every_head_of_it(
    conn: Connection, keys: Keys, heads: list[OutsideHead]
) -> None:
    assert verify_ledger(conn, keys, heads) == []
    assert verify_ledger(conn, keys, [*heads, *heads]) == []
    assert conn.info.transaction_status == TransactionStatus.IDLE


def cut(conn: Connection, size: int) -> None:
    conn.execute("delete from ledger where position >= %s", [size])
    conn.execute("delete from ledger_head where tree_size > %s", [size])


def rewrite(conn: Connection, keys: Keys) -> None:
    """A new end of the history, by whoever has the key file."""
    cut(conn, 12)
    write_entries(conn, Kind.CAPTURE, [{"about": f"b{number}"} for number in range(20)], by="test")
    chain_entries(conn, keys)


@pytest.mark.parametrize("size", [5, 12, 13])
def test_a_tail_that_was_cut_off_with_its_heads_is_seen_by_a_head_outside_only(
    conn: Connection, keys: Keys, heads: list[OutsideHead], size: int
) -> None:
    cut(conn, size)
    assert verify_ledger(conn, keys) == [], "nothing in the database tells"
    assert find_codes(conn, keys, heads) == {"tail_cut"}
    assert find_codes(conn, keys, heads[-1:]) == {"tail_cut"}


def test_a_history_that_was_signed_anew_is_not_the_one_that_a_head_outside_covers(
    conn: Connection, keys: Keys, heads: list[OutsideHead]
) -> None:
    rewrite(conn, keys)
    assert verify_ledger(conn, keys) == []
    assert find_codes(conn, keys, heads) == {"root_changed"}
    assert verify_ledger(conn, keys, heads[:2]) == [], "up to there it is the old history"


def test_an_emptied_ledger_is_seen(conn: Connection, keys: Keys, heads: list[OutsideHead]) -> None:
    cut(conn, 0)
    assert verify_ledger(conn, keys) == []
    assert find_codes(conn, keys, heads) == {"tail_cut"}


ADD = "insert into ledger (about, entry, leaf, position) select about, entry, leaf, %s from ledger where position = 7"
NEW_ENTRY = "replace(entry, 'a7', 'b7')"
NEW_LEAF = f"encode(sha256('\\x00'::bytea || convert_to({NEW_ENTRY}, 'utf8')), 'hex')"
ADD_HEAD = "insert into ledger_head select tree_size, reverse(root), frontier, signed_at, signature from ledger_head"
CHANGES = {
    "an entry": (f"update ledger set entry = {NEW_ENTRY} where position = 7",
                 {"entry_changed", "about_changed", "root_changed"}),
    "an entry with its leaf": (
        f"update ledger set entry = {NEW_ENTRY}, about = 'b7', leaf = {NEW_LEAF} where position = 7", {"root_changed"}),
    "what an entry is filed under": ("update ledger set about = 'b7' where position = 7", {"about_changed"}),
    "what the last entry is filed under": ("update ledger set about = '' where position = 24", {"about_changed"}),
    "an entry that is none": ("update ledger set entry = '[' where position = 7",
                              {"entry_changed", "about_changed", "root_changed"}),
    "a leaf": ("update ledger set leaf = reverse(leaf) where position = 7", {"entry_changed"}),
    "a leaf that is gone": ("update ledger set leaf = null where position = 7", {"entry_changed"}),
    "two places": ("update ledger set position = 15 - position where position in (7, 8)", {"root_changed"}),
    "a gap": ("delete from ledger where position = 7", {"entry_missing"}),
    "a gap at the beginning": ("delete from ledger where position < 3", {"entry_missing"}),
    "a gap over a head": ("delete from ledger where position between 4 and 13", {"entry_missing"}),
    "an entry twice": (ADD % 7, {"entry_doubled"}),
    "another entry in the same place": (
        "update ledger set position = 7 where position = 8", {"entry_doubled", "entry_missing"}),
    "a place before the first": ("update ledger set position = -1 where position = 24",
                                 {"entry_misplaced", "tail_cut"}),
    "an entry that nobody signed": (ADD % 25, {"entry_unsigned"}),
    "a root": ("update ledger_head set root = reverse(root) where tree_size = 12",
               {"head_signature", "root_changed", "heads_differ"}),
    "a signature": ("update ledger_head set signature = reverse(signature) where tree_size = 12", {"head_signature"}),
    "a signature that is none": ("update ledger_head set signature = 'x' where tree_size = 12", {"head_signature"}),
    "the time of a head": ("update ledger_head set signed_at = signed_at - interval '1 day' where tree_size = 12",
                           {"head_signature"}),
    "a frontier": ("update ledger_head set frontier = array[reverse(frontier[1]), frontier[2]] where tree_size = 12",
                   {"frontier_changed"}),
    "another head of one size": (f"{ADD_HEAD} where tree_size = 12",
                                 {"head_signature", "heads_differ", "root_changed"}),
    "the last head": ("delete from ledger_head where tree_size = 25", {"entry_unsigned"}),
    "all heads": ("delete from ledger_head", {"entry_unsigned"}),
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
def test_whatever_is_changed_is_named(conn: Connection, keys: Keys, heads: list[OutsideHead], what: str) -> None:
    change, codes = CHANGES[what]
    conn.execute(change.encode())
    assert find_codes(conn, keys, heads) == codes


@pytest.mark.parametrize(("earlier", "named"), [(3600, {"head_back_in_time"}), (30, set())])
def test_heads_do_not_run_back_in_time(
    conn: Connection, keys: Keys, heads: list[OutsideHead], earlier: int, named: set[str]
) -> None:
    """By so little that two machines' clocks may differ, they do."""
    signed = heads[-1].signed
    at = dt.datetime.fromisoformat(heads[0].signed.signed_at) - dt.timedelta(seconds=earlier)
    text = at.isoformat(timespec="microseconds")
    forged = SignedHead(
        head=signed.head, signed_at=text, public_key=signed.public_key,
        signature=keys.sign(head_message(signed.head, text)).hex(),
    )  # fmt: skip
    assert find_codes(conn, keys, [*heads, OutsideHead(where="forged.json", signed=forged)]) == named


def test_a_clock_that_was_set_back_signs_no_head_of_an_earlier_time(conn: Connection, keys: Keys) -> None:
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=40)
    for about in ("a", "b"):
        write_entries(conn, Kind.CAPTURE, [{"about": about}], by="test")
        chain_entries(conn, keys)
        text = later.isoformat(timespec="microseconds")
        head = get_signed_head(conn)
        assert head is not None
        conn.execute(
            "update ledger_head set signed_at = %s, signature = %s where tree_size = 1 and %s = 'a'",
            [later, keys.sign(head_message(head.head, text)).hex(), about],
        )
    signed = get_signed_head(conn)
    assert signed is not None
    assert (signed.head.tree_size, dt.datetime.fromisoformat(signed.signed_at)) == (2, later)
    assert verify_ledger(conn, keys) == []


def sign_with(signer: Ed25519PrivateKey, head: Head, at: str) -> SignedHead:
    public = signer.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
    return SignedHead(head=head, signed_at=at, public_key=public, signature=signer.sign(head_message(head, at)).hex())


def test_a_head_of_another_deployment_or_with_a_wrong_signature_proves_nothing(
    conn: Connection, keys: Keys, heads: list[OutsideHead]
) -> None:
    signed = heads[1].signed
    other = sign_with(SIGNER, append_leaves(EMPTY, [hash_leaf("x")] * 12), signed.signed_at)
    assert find_codes(conn, keys, [OutsideHead(where="other.json", signed=other)]) == {"head_foreign"}
    borrowed = SignedHead(head=other.head, signed_at=other.signed_at, public_key=signed.public_key,
                          signature=other.signature)  # fmt: skip
    assert find_codes(conn, keys, [OutsideHead(where="forged.json", signed=borrowed)]) == {"head_signature"}


def test_of_a_thousand_changes_a_few_are_listed_and_the_others_counted(
    conn: Connection, keys: Keys, heads: list[OutsideHead]
) -> None:
    write_entries(conn, Kind.CAPTURE, [{"about": f"c{number}"} for number in range(1_000)], by="test")
    chain_entries(conn, keys)
    conn.execute("update ledger set about = 'x'")
    wrong = verify_ledger(conn, keys)
    assert len(wrong) == MOST_OF_A_KIND + 1
    assert wrong[-1].text == "and 1005 more of this kind"


def test_a_sequencer_that_goes_on_meanwhile_is_no_finding(
    conn: Connection, keys: Keys, settings: Settings, heads: list[OutsideHead]
) -> None:
    """What it places after the snapshot does not look unsigned."""
    with connect(settings) as other:

        def place(_done: int, _total: int) -> None:
            write_entries(other, Kind.VIEW, [{"about": "x"}], by="test")
            chain_entries(other, keys)

        assert verify_ledger(conn, keys, heads, tell=place) == []
        assert verify_ledger(conn, keys, heads) == []


# -- files of heads ---------------------------------------------------------------------------------------------------


def test_a_head_survives_its_file(heads: list[OutsideHead], tmp_path: Path) -> None:
    signed = heads[1].signed
    found = parse_head(write_head(signed))
    assert (found.head.root, found.signed_at, found.message) == (signed.head.root, signed.signed_at, signed.message)
    assert is_signed(found)
    folder = tmp_path / "new" / "heads"
    assert [keep_head(folder, each.signed) for each in heads] == [True] * 4
    assert not keep_head(folder, signed), "a head is never overwritten"
    listed = [each for each in list_heads(folder) if isinstance(each, OutsideHead)]
    assert [each.signed.head.tree_size for each in listed] == [5, 12, 13, 25]
    assert list(list_heads(tmp_path / "none")) == []


def change_head(**changes: object) -> Callable[[dict[str, object]], None]:
    def change(table: dict[str, object]) -> None:
        head = table["head"]
        assert isinstance(head, dict)
        head.update(changes)

    return change


@pytest.mark.parametrize(
    "change",
    [change_head(tree_size=value) for value in (0, -1, True, 1.0, "5", 1 << 63, None)]
    + [change_head(root=value) for value in ("", "AB" * 32, "ab" * 31, 5, None, "ab" * 32 + "\n")]
    + [change_head(signed_at=value) for value in ("", "2026", "2026-01-02T00:00:00", 5, "9" * 9_999, "nan")]
    + [change_head(signature="00"), lambda table: table.pop("head"), lambda table: table.update(head=[]),
       lambda table: table.update(public_key=None), lambda table: table.update(public_key={})],
)  # fmt: skip
def test_a_file_that_holds_no_head_is_refused(change: Callable[[dict[str, object]], None]) -> None:
    signed = sign_with(SIGNER, append_leaves(EMPTY, [hash_leaf("x")]), "2026-01-02T00:00:00.000000+00:00")
    table = json.loads(write_head(signed))
    change(table)
    with pytest.raises(LedgerError) as caught:
        parse_head(json.dumps(table).encode())
    assert caught.value.stable_code == "head_invalid"


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 100_000, b"\xff", b"null", b'"' + b"x" * MOST_BYTES, b"1" * 9_999])
def test_bytes_that_are_no_head_are_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(LedgerError, match=r"x\.json"):
        read_head(tmp_path / "x.json")


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reading_of_heads(data: bytes) -> None:
    with pytest.raises(LedgerError):
        parse_head(data)


# -- the command and the clock ----------------------------------------------------------------------------------------


def test_the_command_keeps_what_it_has_verified_and_sees_the_cut_tail(
    conn: Connection, keys: Keys, settings: Settings, heads: list[OutsideHead], capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify(conn, keys, settings, []) == 0
    assert "no head outside the database" in capsys.readouterr().out
    assert verify(conn, keys, settings, []) == 0
    assert "1 head outside the database; the longest covers 25 entries" in capsys.readouterr().out
    cut(conn, 12)
    assert verify(conn, keys, settings, []) == 1
    assert capsys.readouterr().out.startswith("FAILED tail_cut: ")


def test_a_damaged_file_among_the_heads_is_named_and_one_that_was_given_is_an_error(
    conn: Connection, keys: Keys, settings: Settings, heads: list[OutsideHead], capsys: pytest.CaptureFixture[str]
) -> None:
    keep_head(settings.heads_folder, heads[0].signed)
    (settings.heads_folder / "damaged.json").write_bytes(b"{")
    os.mkfifo(settings.heads_folder / "endless.json")
    (settings.heads_folder / "folder.json").mkdir()
    assert verify(conn, keys, settings, []) == 1
    assert "FAILED head_invalid: damaged.json" in capsys.readouterr().out
    with pytest.raises(LedgerError):
        verify(conn, keys, settings, [settings.heads_folder / "damaged.json"])


def test_a_head_is_written_to_a_file_of_its_own_and_given_back(
    conn: Connection, keys: Keys, settings: Settings, heads: list[OutsideHead], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "stick" / "head.json"
    assert take_head(conn, out) == 0
    with pytest.raises(LedgerError) as caught:
        take_head(conn, out)
    assert caught.value.stable_code == "head_exists"
    capsys.readouterr()
    assert take_head(conn, None) == 0
    assert capsys.readouterr().out.encode() == out.read_bytes()
    assert verify(conn, keys, settings, [out]) == 0
    cut(conn, 13)
    assert verify(conn, keys, settings, [out]) == 1


def test_a_bundle_that_left_is_a_head_outside(
    conn: Connection, keys: Keys, settings: Settings, heads: list[OutsideHead], tmp_path: Path
) -> None:
    """Every bundle carries the head that it was proven against."""
    signed = heads[2].signed
    _, paths = prove_positions(list_leaves(conn, 13), 13, [0])
    proofs = write_proofs(signed, [(0, list_entries(conn, 0, 1)[0][1])], paths)
    edition = Edition(bundle_id=UUID(int=1), made_at=dt.datetime.now(dt.UTC))
    signer = Signer(public_key=keys.public_key, sign=keys.sign)
    bundle = seal_bundle([BundleFile(name="ledger.json", content=proofs, what="proofs")], edition, signer)
    (tmp_path / "case.fwb").write_bytes(bundle)
    assert verify(conn, keys, settings, [tmp_path / "case.fwb"]) == 0
    shutil.rmtree(settings.heads_folder)
    cut(conn, 12)
    assert verify(conn, keys, settings, []) == 0
    assert verify(conn, keys, settings, [tmp_path / "case.fwb"]) == 1
    (tmp_path / "case.fwb").write_bytes(bundle[:-1])
    with pytest.raises(LedgerError):
        verify(conn, keys, settings, [tmp_path / "case.fwb"])


def test_no_head_is_written_before_there_is_one(conn: Connection, tmp_path: Path) -> None:
    with pytest.raises(LedgerError) as caught:
        take_head(conn, tmp_path / "head.json")
    assert caught.value.stable_code == "head_missing"


def test_a_folder_that_cannot_be_written_spoils_no_verification(
    conn: Connection, keys: Keys, settings: Settings, heads: list[OutsideHead], capsys: pytest.CaptureFixture[str]
) -> None:
    file = settings.home / "file"
    file.write_bytes(b"")
    keep(file / "heads", heads[0].signed)
    assert "could not be kept" in capsys.readouterr().err
    assert describe([]).startswith("no head outside")


def test_the_clock_keeps_a_head_an_hour(context: Context, heads: list[OutsideHead]) -> None:
    keeper = HeadKeeper()
    assert keeper.keep(context)
    assert not keeper.keep(context), "the next one is due in an hour"
    assert not HeadKeeper().keep(context), "nothing has happened since"
    (kept,) = list_heads(context.settings.heads_folder)
    assert isinstance(kept, OutsideHead)
    assert kept.signed.head.tree_size == 25


@pytest.mark.parametrize("harm", ["cut", "forged", "folder away", "empty"])
def test_the_clock_keeps_nothing_that_would_prove_nothing_and_goes_on(
    context: Context, conn: Connection, heads: list[OutsideHead], harm: str
) -> None:
    settings = context.settings
    if harm == "cut":
        assert HeadKeeper().keep(context)
        cut(conn, 12)
    elif harm == "forged":
        conn.execute("update ledger_head set root = reverse(root) where tree_size = 25")
    elif harm == "folder away":
        settings.heads_folder.write_bytes(b"no folder")
    else:
        cut(conn, 0)
    assert not HeadKeeper().keep(context)
