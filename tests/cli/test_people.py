"""Operators see how far everybody is, and withdraw nobody by a slip of the hand."""

import json
from pathlib import Path

import pytest

from tests.cli.test_commands import facewarden
from tests.cli.test_terminal import run_on_terminal
from tests.samples import count, enrol_person, png, run_steps
from vault.store.people import PersonState, list_people
from vault.store.subjects import find_subject
from workers.context import Context
from workers.make_templates import make_templates


def enrol_photo(context: Context, folder: Path, address: str, photo: bytes) -> None:
    path = folder / "photo"
    path.write_bytes(photo)
    done = facewarden(context.settings, "enrol", "--address", address, "--photo", str(path), "--wait", "0")
    assert done.returncode == 0, done.stderr


def states(context: Context) -> dict[str, int]:
    found: dict[str, int] = {}
    for person in list_people(context.conn):
        found[person.state.name] = found.get(person.state.name, 0) + 1
    return found


def test_each_state_of_a_person_is_listed_with_its_reason(context: Context, tmp_path: Path) -> None:
    enrol_person(context, "astronaut")
    enrol_person(context, "t1-2", confirmed=False)
    enrol_photo(context, tmp_path, "blank@test.example", png(200, 200))
    make_templates(context)
    assert states(context) == {"SEARCHED": 1, "UNCONFIRMED": 1, "REFUSED": 1}
    done = facewarden(context.settings, "people", "--json")
    rows = {row["state"]: row for row in json.loads(done.stdout)}
    assert rows[PersonState.REFUSED]["code"] == "no_face"
    assert rows[PersonState.UNCONFIRMED]["reason"].startswith("until 20")
    assert rows[PersonState.SEARCHED]["reason"] == ""
    table = facewarden(context.settings, "people").stdout
    assert "3 people" in table
    assert f"{rows[PersonState.REFUSED]['person']}: their photo was refused: no_face: " in table


def test_nothing_of_a_face_an_address_or_an_alert_is_listed(context: Context) -> None:
    enrol_person(context, "astronaut")
    done = facewarden(context.settings, "people", "--json")
    (row,) = json.loads(done.stdout)
    assert set(row) == {"person", "state", "since", "code", "reason", "enrolled", "by"}
    assert "@" not in done.stdout


def test_one_person_is_found_by_their_address(context: Context) -> None:
    enrol_person(context, "astronaut")
    subject_id = enrol_person(context, "t1-2")
    for address in ("t1-2@test.example", "T1-2@TEST.example"):
        assert find_subject(context.conn, context.keys, address) == subject_id
        (row,) = json.loads(facewarden(context.settings, "people", "--json", "--address", address).stdout)
        assert row["person"] == context.keys.digest_text(f"subject:{subject_id}")[:8]
    done = facewarden(context.settings, "people", "--address", "nobody@test.example")
    assert (done.returncode, "subject_unknown" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("answer", "withdrawn"), [("yes\n", 1), ("y\n", 1), ("no\n", 0), ("\n", 0), ("yes please\n", 0)]
)
def test_a_withdrawal_says_who_and_what_and_asks(context: Context, answer: str, withdrawn: int) -> None:
    subject_id = enrol_person(context, "astronaut")
    shown = run_on_terminal(context.settings, "withdraw", "--address", "astronaut@test.example", typed=answer)
    person = context.keys.digest_text(f"subject:{subject_id}")[:8]
    assert f"person {person}: searched since " in shown
    assert "cannot be undone" in shown
    assert "Type yes:" in shown
    assert count(context.conn, "select count(*) from withdrawal") == withdrawn
    assert ("Matching has stopped" in shown, "Nothing was changed" in shown) == (bool(withdrawn), not withdrawn)


def test_a_script_must_say_yes(context: Context) -> None:
    enrol_person(context, "astronaut")
    arguments = ("withdraw", "--address", "astronaut@test.example")
    done = facewarden(context.settings, *arguments)
    assert (done.returncode, "not_confirmed" in done.stderr, "--yes" in done.stderr) == (2, True, True)
    assert count(context.conn, "select count(*) from withdrawal") == 0
    done = facewarden(context.settings, *arguments, "--yes")
    assert done.returncode == 0
    assert done.stdout == "Matching has stopped; the erasure runs and ends with a signed receipt to the address.\n"
    assert states(context) == {"LEAVING": 1}
    again = facewarden(context.settings, *arguments)
    assert again.returncode == 0
    assert "withdrew at" in again.stdout
    run_steps(context)
    assert states(context) == {}
    assert json.loads(facewarden(context.settings, "people", "--json").stdout) == []
