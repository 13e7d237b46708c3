"""Approvers are rows that neither the database alone nor an operator alone can make: the first comes once, each further
one is let in by one who is there, and time is the database's."""

import datetime as dt
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests.approvers import KEYS, PUBLIC, approve_enrolment, let_in, trust_one, trust_two
from tests.samples import count, enrol_person, make_listing
from vault.errors import ApproverError, DeploymentError, EnrolmentError, FacewardenError
from vault.keys import Keys
from vault.settings import Settings
from vault.signatures import sign_message, write_removal, write_trust
from vault.store import Connection, connect
from vault.store.approvers import (
    Approver,
    list_approvers,
    list_counting,
    make_mac,
    remove_approver,
    replace_demo_approvers,
    trust_approver,
)
from vault.store.deployment import DeploymentKind, check_deployment
from vault.store.withdrawals import withdraw_consent
from workers.context import Context

HOURS = dt.timedelta(hours=72)


def names(approvers: list[Approver]) -> list[str]:
    return [each.name for each in approvers]


def code_of(call: Callable[..., object], *given: object, **named: object) -> str:
    try:
        call(*given, **named)
    except FacewardenError as exc:
        return exc.stable_code
    return "ok"


def remove(conn: Connection, keys: Keys, name: str, *, by: str) -> None:
    message = write_removal(keys.public_key.hex(), PUBLIC[name])
    signature = sign_message(KEYS[by], message)
    remove_approver(conn, keys, name, by="test", signer=PUBLIC[by], signature=signature)


def pass_time(conn: Connection, keys: Keys, name: str) -> None:
    """As if this approver had been let in three days earlier, by somebody who has the key file."""
    row = next(each for each in list_approvers(conn, keys) if each.name == name)
    older = replace(row, trusted_at=row.trusted_at - HOURS, counts_from=row.counts_from - HOURS)
    conn.execute(
        "update approver set trusted_at = %s, counts_from = %s, mac = %s where name = %s",
        [older.trusted_at, older.counts_from, make_mac(keys, older), name],
    )


# -- who comes --------------------------------------------------------------------------------------------------------


def test_the_first_approver_counts_at_once_and_there_is_no_second_first_one(conn: Connection, keys: Keys) -> None:
    trust_one(conn, keys)
    assert names(list_counting(conn, keys)) == ["tester"]
    trust_one(conn, keys)  # the same once more changes nothing
    with pytest.raises(ApproverError) as caught:
        trust_approver(conn, keys, "second", PUBLIC["second"], by="mallory")
    assert caught.value.stable_code == "approver_needed"
    assert "--key" in caught.value.mend
    assert count(conn, "select count(*) from approver") == 1


def test_of_two_who_want_to_be_the_first_at_once_one_is(settings: Settings, conn: Connection, keys: Keys) -> None:
    def trust(name: str) -> str:
        with connect(settings) as own:
            return code_of(trust_approver, own, keys, name, PUBLIC[name], by="test")

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(trust, ("tester", "second", "third"))) == ["approver_needed", "approver_needed", "ok"]
    assert len(list_approvers(conn, keys)) == 1


@pytest.mark.parametrize(
    "erase",
    [
        "delete from approver",
        "update deployment set first_approver_at = null",
        "delete from approver; update deployment set first_approver_at = null",
        "delete from deployment; delete from approver",
        "delete from deployment; delete from approver; insert into deployment (public_key) select public_key from old",
        "delete from approver; update deployment set first_approver_at = old.first_approver_at, mac = old.mac from old",
        """delete from approver; delete from deployment;
           insert into deployment (public_key, kind, first_approver_at, mac)
           select public_key, kind, first_approver_at, mac from old""",
    ],
)
def test_whoever_removes_rows_is_no_new_first_approver(conn: Connection, keys: Keys, erase: str) -> None:
    conn.execute("create table old as select * from deployment")  # as it was before there was anybody
    trust_one(conn, keys)
    conn.execute(erase.encode())

    def trust() -> None:
        check_deployment(conn, keys)
        trust_approver(conn, keys, "third", PUBLIC["third"], by="mallory")

    assert code_of(trust) in ("approver_needed", "deployment_changed")
    assert "third" not in names(list_approvers(conn, keys)) if count(conn, "select count(*) from deployment") else True


def test_each_further_one_is_let_in_by_one_who_is_there_and_the_ledger_says_by_whom(
    conn: Connection, keys: Keys
) -> None:
    trust_two(conn, keys)
    let_in(conn, keys, "third", by="second")
    assert names(list_counting(conn, keys)) == ["tester", "second", "third"]
    told = conn.execute(
        """select entry::jsonb->'facts'->>'name', entry::jsonb->'facts'->>'by', entry::jsonb->'facts'->>'signed_by'
           from ledger where entry::jsonb->'facts'->>'act' = 'trusted' order by ledger_id"""
    ).fetchall()
    assert told == [("tester", "test", ""), ("second", "test", PUBLIC["tester"]), ("third", "test", PUBLIC["second"])]


@pytest.mark.parametrize(
    ("signer", "signed", "code"),
    [
        ("third", lambda d: write_trust(d, "third", PUBLIC["third"]), "approver_unknown"),  # lets itself in
        ("tester", lambda d: write_trust(d, "other", PUBLIC["third"]), "approver_unknown"),  # in another name
        ("tester", lambda d: write_trust(d, "third", PUBLIC["second"]), "approver_unknown"),  # another key
        ("tester", lambda d: write_trust("0" * 64, "third", PUBLIC["third"]), "approver_unknown"),  # elsewhere
        ("tester", lambda d: write_removal(d, PUBLIC["third"]), "approver_unknown"),  # for something else
    ],
)
def test_a_signature_lets_in_whom_it_names_here_and_nobody_else(
    conn: Connection, keys: Keys, signer: str, signed: Callable[[str], bytes], code: str
) -> None:
    trust_two(conn, keys)
    signature = sign_message(KEYS[signer], signed(keys.public_key.hex()))
    third = ("third", PUBLIC["third"])
    assert code_of(
        trust_approver, conn, keys, *third, by="test", signer=PUBLIC[signer], signature=signature
    ) == code  # fmt: skip
    for bad in ("", "00", "zz", "é"):
        found = code_of(trust_approver, conn, keys, *third, by="test", signer=PUBLIC["tester"], signature=bad)
        assert found == "approver_unknown"


@pytest.mark.parametrize(
    ("name", "key", "code"),
    [
        ("Olga!", "ab" * 32, "approver_invalid"),
        ("", "ab" * 32, "approver_invalid"),
        ("third", "AB" * 32, "approver_invalid"),
        ("third", "short", "approver_invalid"),
        ("second", PUBLIC["third"], "approver_known"),  # the name is taken
        ("third", PUBLIC["second"], "approver_known"),  # one key is one approver
    ],
)
def test_a_name_and_a_key_are_one_approvers(conn: Connection, keys: Keys, name: str, key: str, code: str) -> None:
    trust_two(conn, keys)
    signature = sign_message(KEYS["tester"], write_trust(keys.public_key.hex(), name, key))
    signed = {"signer": PUBLIC["tester"], "signature": signature}
    assert code_of(trust_approver, conn, keys, name, key, by="test", **signed) == code


# -- from when --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["pending", "active"])
def test_once_somebody_is_enrolled_a_new_approver_waits_three_days(context: Context, state: str) -> None:
    conn, keys = context.conn, context.keys
    trust_two(conn, keys)
    enrol_person(context, "astronaut", confirmed=state == "active")
    let_in(conn, keys, "third")
    third = list_approvers(conn, keys)[-1]
    assert (third.counts_from - third.trusted_at, third.counts) == (HOURS, False)
    assert names(list_counting(conn, keys)) == ["tester", "second"]
    assert code_of(remove, conn, keys, "second", by="third") == "approver_waiting"
    pass_time(conn, keys, "third")
    assert sorted(names(list_counting(conn, keys))) == ["second", "tester", "third"]


def test_when_everybody_has_left_a_new_approver_counts_at_once(context: Context) -> None:
    conn, keys = context.conn, context.keys
    subject_id = enrol_person(context, "astronaut")
    withdraw_consent(conn, subject_id)
    let_in(conn, keys, "third")
    assert "third" in names(list_counting(conn, keys))


# -- rows that somebody else wrote ------------------------------------------------------------------------------------

FORGERIES = {
    "a row without a MAC": """insert into approver (public_key, name, trusted_at, counts_from, mac)
        values (%(third)s, 'third', now() - interval '9 days', now() - interval '9 days', '')""",
    "a row with the MAC of another": """insert into approver (public_key, name, trusted_at, counts_from, mac)
        select %(third)s, 'third', trusted_at, counts_from, mac from approver where name = 'tester'""",
    "a row with the signature of another": """
        insert into approver (public_key, name, trusted_at, counts_from, signed_by, signature, mac)
        select %(third)s, 'third', trusted_at, counts_from, signed_by, signature, mac from approver
        where name = 'second'""",
    "the key of a row was changed": "update approver set public_key = %(third)s where name = 'second'",
}


@pytest.mark.parametrize("sql", FORGERIES.values(), ids=FORGERIES.keys())
def test_a_row_that_the_key_file_does_not_bear_out_counts_for_nothing(conn: Connection, keys: Keys, sql: str) -> None:
    trust_two(conn, keys)
    conn.execute(sql.encode(), {"third": PUBLIC["third"]})
    assert PUBLIC["third"] not in [each.public_key for each in list_approvers(conn, keys)]
    assert "tester" in names(list_approvers(conn, keys))


@pytest.mark.parametrize("change", ["counts_from = now()", "trusted_at = now() - interval '9 days'", "name = 'other'"])
def test_a_row_that_was_changed_counts_for_nothing(context: Context, change: str) -> None:
    conn, keys = context.conn, context.keys
    enrol_person(context, "astronaut")
    let_in(conn, keys, "third")
    conn.execute(f"update approver set {change} where name = 'third'".encode())
    assert names(list_approvers(conn, keys)) == ["tester", "second"]


def test_the_key_file_alone_makes_no_further_approver(conn: Connection, keys: Keys) -> None:
    """Whoever has it can write a true MAC, but not the signature of one who is there."""
    trust_one(conn, keys)
    first = list_approvers(conn, keys)[0]
    for signer, signature in ((None, None), (PUBLIC["tester"], "00" * 64)):
        forged = replace(
            first, name="third", public_key=PUBLIC["third"], signed_by=signer, signature=signature,
            trusted_at=first.trusted_at + dt.timedelta(seconds=1),
        )  # fmt: skip
        conn.execute("delete from approver where name = 'third'")
        conn.execute(
            """insert into approver (public_key, name, trusted_at, counts_from, signed_by, signature, mac)
               values (%s, %s, %s, %s, %s, %s, %s)""",
            [forged.public_key, forged.name, forged.trusted_at, forged.counts_from, signer, signature,
             make_mac(keys, forged)],
        )  # fmt: skip
        assert names(list_approvers(conn, keys)) == ["tester"]


# -- who goes ---------------------------------------------------------------------------------------------------------


def test_a_removed_approver_counts_no_more_and_what_they_had_opened_is_closed(conn: Connection, keys: Keys) -> None:
    trust_two(conn, keys)
    let_in(conn, keys, "third")
    make_listing(conn, "by-two")
    make_listing(conn, "by-three", signers=(*PUBLIC.values(),))
    make_listing(conn, "handed-in", alone=True)
    remove(conn, keys, "second", by="tester")
    assert names(list_approvers(conn, keys)) == ["tester", "third"]
    assert dict(conn.execute("select name, visibility from source").fetchall()) == {
        "by-two": "labelled", "by-three": "open", "handed-in": "private"
    }  # fmt: skip
    told = conn.execute("select entry::jsonb->'facts'->>'by' from ledger where entry like '%\"removed\"%'").fetchall()
    assert told == [("test",)]


def test_a_key_that_was_removed_is_never_trusted_again(conn: Connection, keys: Keys) -> None:
    trust_two(conn, keys)
    before = conn.execute("select mac from approver where name = 'second'").fetchone()
    assert before is not None
    remove(conn, keys, "second", by="second")
    for name in ("second", "third"):
        signature = sign_message(KEYS["tester"], write_trust(keys.public_key.hex(), name, PUBLIC["second"]))
        signed = {"signer": PUBLIC["tester"], "signature": signature}
        assert code_of(trust_approver, conn, keys, name, PUBLIC["second"], by="test", **signed) == "approver_known"
    # nor by whoever puts the row back as it was: the ledger knows
    conn.execute("update approver set removed_at = null, mac = %s where name = 'second'", [before[0]])
    assert names(list_approvers(conn, keys)) == ["tester"]


def test_the_last_one_who_counts_cannot_be_removed_nor_can_a_stranger_remove_anybody(context: Context) -> None:
    conn, keys = context.conn, context.keys
    trust_one(conn, keys)
    assert code_of(remove, conn, keys, "tester", by="tester") == "approver_last"
    enrol_person(context, "astronaut")
    assert code_of(remove, conn, keys, "second", by="third") == "approver_unknown"
    assert code_of(remove, conn, keys, "third", by="tester") == "approver_unknown"
    remove(conn, keys, "second", by="tester")
    assert code_of(remove, conn, keys, "tester", by="tester") == "approver_last"
    assert names(list_counting(conn, keys)) == ["tester"]


# -- what a database is -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    ["update deployment set kind = 'demo'", "update deployment set kind = 'demo', mac = ''", "delete from deployment"],
)
def test_the_database_alone_makes_no_demo_of_a_deployment(context: Context, change: str) -> None:
    conn, keys = context.conn, context.keys
    enrol_person(context, "astronaut")
    conn.execute(change.encode())
    for kind in (None, DeploymentKind.DEMO):
        assert code_of(check_deployment, conn, keys, kind) == "deployment_changed"


def test_a_demo_is_one_from_its_first_start_and_nothing_else_becomes_one(conn: Connection, keys: Keys) -> None:
    assert code_of(check_deployment, conn, keys, DeploymentKind.DEMO) == "deployment_own"
    assert code_of(replace_demo_approvers, conn, keys, {"demo-1": PUBLIC["tester"]}) == "deployment_own"
    conn.execute("delete from deployment")
    check_deployment(conn, keys, DeploymentKind.DEMO)
    assert check_deployment(conn, keys).kind is DeploymentKind.DEMO
    assert code_of(check_deployment, conn, keys, DeploymentKind.OWN) == "deployment_demo"
    assert code_of(trust_approver, conn, keys, "tester", PUBLIC["tester"], by="t") == "deployment_demo"
    for run in (("tester", "second"), ("second", "third")):  # each run brings its own
        replace_demo_approvers(conn, keys, {name: PUBLIC[name] for name in run})
        assert sorted(names(list_counting(conn, keys))) == sorted(run)


def test_a_database_made_before_there_were_kinds_is_an_own_one(conn: Connection, keys: Keys) -> None:
    conn.execute("update deployment set mac = ''")
    assert check_deployment(conn, keys).kind is DeploymentKind.OWN
    trust_one(conn, keys)
    assert code_of(check_deployment, conn, keys) == "ok"


# -- enrolments -------------------------------------------------------------------------------------------------------


def test_an_enrolment_is_signed_by_two_who_count_before_it_is_hunted(context: Context) -> None:
    conn, keys = context.conn, context.keys
    subject_id = enrol_person(context, "astronaut", signed=False)

    def hunted() -> bool:
        return count(conn, "select count(*) from subject where hunts_from is not null") == 1

    assert not hunted()
    approve_enrolment(conn, keys, subject_id, "tester", "tester")  # twice by one
    assert not hunted()
    let_in(conn, keys, "third")
    with pytest.raises(ApproverError) as caught:
        approve_enrolment(conn, keys, subject_id, "third")  # who has to wait
    assert caught.value.stable_code == "approver_waiting"
    assert not hunted()
    approve_enrolment(conn, keys, subject_id, "second")
    assert hunted()
    told = conn.execute(
        """select entry::jsonb->'facts'->>'name' from ledger
           where about = %s and entry::jsonb->'facts'->>'act' = 'enrolment' order by ledger_id""",
        [keys.digest_text(f"subject:{subject_id}")],
    ).fetchall()
    assert told == [("tester",), ("second",)]


def test_nobody_signs_for_somebody_who_has_left(context: Context) -> None:
    subject_id = enrol_person(context, "astronaut", signed=False)
    withdraw_consent(context.conn, subject_id)
    with pytest.raises(EnrolmentError) as caught:
        approve_enrolment(context.conn, context.keys, subject_id)
    assert caught.value.stable_code == "subject_unknown"


def test_the_signature_of_an_approver_who_was_removed_opens_no_hunt(context: Context) -> None:
    conn, keys = context.conn, context.keys
    subject_id = enrol_person(context, "astronaut", signed=False)
    approve_enrolment(conn, keys, subject_id, "second")
    remove(conn, keys, "second", by="tester")
    approve_enrolment(conn, keys, subject_id, "tester")
    assert count(conn, "select count(*) from subject where hunts_from is not null") == 0


def test_a_demo_takes_no_approver_and_no_signature_of_an_enrolment(context: Context) -> None:
    subject_id = enrol_person(context, "astronaut", signed=False)
    context.conn.execute("delete from enrolment_signature; delete from approver; delete from ledger_head")
    context.conn.execute("update deployment set kind = 'demo', first_approver_at = null")
    with pytest.raises(DeploymentError):  # even where the row says so: its MAC does not
        approve_enrolment(context.conn, context.keys, subject_id)
