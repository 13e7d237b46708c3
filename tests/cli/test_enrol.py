"""Enrolling as operators do it: five a day, signed by approvers or not; and what a demo's deployment refuses."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.disturb import find_ports
from cli.commands.enrol import A_DAY, enrol
from crawler.approval import DemoApprovers
from tests.approvers import PUBLIC, sign_by, trust_two, write_key
from tests.cli.test_commands import facewarden
from tests.crawler.test_crawl import CARD
from tests.samples import count, png, portrait
from vault.errors import EnrolmentError
from vault.keys import Keys
from vault.settings import Settings
from vault.store import Connection, connect
from vault.store.deployment import DeploymentKind, check_deployment
from vault.store.subjects import drop_enrolment
from workers.context import Context
from workers.make_templates import make_templates


def enrol_number(conn: Connection, keys: Keys, settings: Settings, number: int) -> None:
    enrol(conn, keys, settings, f"person-{number}@test.example", png(200, 200), recorded_by="olga")


def test_operators_enrol_five_people_a_day_by_the_databases_clock(
    settings: Settings, conn: Connection, keys: Keys
) -> None:
    for number in range(A_DAY):
        enrol_number(conn, keys, settings, number)
    for (subject_id,) in conn.execute("select subject_id from subject").fetchall()[:3]:
        with conn.transaction():
            drop_enrolment(conn, subject_id)  # who has left counts all the same
    with pytest.raises(EnrolmentError) as caught:
        enrol_number(conn, keys, settings, 9)
    assert caught.value.stable_code == "enrolment_limit"
    assert count(conn, "select count(*) from subject") == A_DAY
    conn.execute("update subject set created_at = created_at - interval '23 hours'")
    with pytest.raises(EnrolmentError):
        enrol_number(conn, keys, settings, 9)
    conn.execute("update subject set created_at = created_at - interval '1 hour'")
    enrol_number(conn, keys, settings, 9)


def test_an_enrolment_is_signed_at_once_or_later_and_the_command_says_how_things_stand(
    settings: Settings, conn: Connection, keys: Keys, tmp_path: Path
) -> None:
    trust_two(conn, keys)
    photo = tmp_path / "ada.jpg"
    photo.write_bytes(portrait("astronaut"))
    own = {name: str(write_key(tmp_path, name)) for name in ("tester", "second")}
    first = facewarden(
        settings, "enrol", "--address", "ada@test.example", "--photo", str(photo), "--wait", "0", "--key", own["tester"]
    )
    assert first.returncode == 0, first.stderr
    assert "Signed by tester. With a second approver" in first.stdout
    again = facewarden(settings, "enrol", "--sign", "ada@test.example", "--key", own["tester"])
    assert "Signed by tester. With a second approver" in again.stdout, "one key is one approver"
    both = facewarden(settings, "enrol", "--sign", "ada@test.example", "--key", own["second"])
    assert "Signed by tester and second. Once they have confirmed" in both.stdout
    assert count(conn, "select count(*) from subject where hunts_from is not null") == 1
    nobody = facewarden(settings, "enrol", "--sign", "bob@test.example", "--key", own["second"])
    assert (nobody.returncode, "subject_unknown" in nobody.stderr) == (2, True)
    alone = facewarden(settings, "enrol", "--address", "bob@test.example")
    assert (alone.returncode, "give --address and --photo, or --sign" in alone.stderr) == (2, True)


@pytest.mark.parametrize(("name", "code"), [("astronaut", ""), ("blank", "no_face")])
def test_the_photos_verdict_is_awaited_and_said(context: Context, tmp_path: Path, name: str, code: str) -> None:
    photo = tmp_path / "photo"
    photo.write_bytes(png(200, 200) if name == "blank" else portrait(name))
    arguments = ("enrol", "--address", "ada@test.example", "--photo", str(photo), "--wait", "60")
    with ThreadPoolExecutor(1) as pool:
        command = pool.submit(facewarden, context.settings, *arguments)
        while not make_templates(context) and not command.done():
            time.sleep(0.1)
        done = command.result()
    if code:
        assert (done.returncode, f"The photo will not do: {code}: " in done.stderr) == (1, True)
        assert "fix: " in done.stderr
    else:
        assert (done.returncode, "The photo will do." in done.stdout) == (0, True), done.stderr


def test_where_nobody_looks_at_the_photo_it_is_said_how_to_ask_later(context: Context, tmp_path: Path) -> None:
    photo = tmp_path / "photo"
    photo.write_bytes(portrait("astronaut"))
    done = facewarden(
        context.settings, "enrol", "--address", "ada@test.example", "--photo", str(photo), "--wait", "0.3"
    )
    assert done.returncode == 0
    assert "still to be looked at: ./facewarden people --address ada@test.example" in done.stdout


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"# Facewarden\n\nRead me.\n", "is no picture: text"),
        (b"%PDF-1.7\n", "is no picture: PDF"),
        (b"<!doctype html><img>", "is no picture: HTML"),
        (b"", "empty"),
        (bytes(range(256)) * 4, "is no picture"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "of a format that is not opened: HEIC"),
        (b"II*\0" + bytes(60), "of a format that is not opened: TIFF"),
    ],
)
def test_what_is_no_photo_is_refused_before_anything_is_recorded(
    context: Context, tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "README.md"
    path.write_bytes(content)
    before = count(context.conn, "select count(*) from ledger")
    done = facewarden(context.settings, "enrol", "--address", "ada@test.example", "--photo", str(path))
    assert done.returncode == 2
    assert "photo_unreadable" in done.stderr
    assert said in done.stderr
    assert count(context.conn, "select count(*) from subject") == 0
    assert count(context.conn, "select count(*) from ledger") == before


# -- a demo -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def demo(settings: Settings, keys: Keys) -> Iterator[Settings]:
    """The settings of a demo's deployment with its two approvers."""
    with connect(settings) as conn:
        conn.execute("delete from deployment")  # as it is before the first start
        check_deployment(conn, keys, DeploymentKind.DEMO)
        DemoApprovers(conn, keys)
    yield settings


@pytest.mark.parametrize(
    "arguments",
    [
        ["enrol", "--address", "ada@test.example", "--photo", "PHOTO"],
        ["ingest", "FOLDER", "--card", "CARD"],
        ["crawl", "CARD"],
        ["crawl", "UNSIGNED"],
        ["source", "trust", "tester", PUBLIC["tester"]],
    ],
    ids=["enrol", "ingest", "crawl", "crawl unsigned", "source trust"],
)
def test_a_demo_takes_no_person_material_card_or_approver_but_its_own(
    demo: Settings, tmp_path: Path, arguments: list[str]
) -> None:
    card, unsigned, photo = tmp_path / "card.toml", tmp_path / "unsigned.toml", tmp_path / "photo.jpg"
    unsigned.write_text(CARD.format(top="", read="", pages=10, port=9))
    card.write_text(sign_by(unsigned.read_text(), "tester", "second"))
    photo.write_bytes(portrait("astronaut"))
    places = {"PHOTO": str(photo), "FOLDER": str(tmp_path), "CARD": str(card), "UNSIGNED": str(unsigned)}
    done = facewarden(demo, *[places.get(each, each) for each in arguments])
    assert (done.returncode, "deployment_demo: this is a demo" in done.stderr) == (2, True), done.stderr
    with connect(demo) as conn:
        assert count(conn, "select count(*) from subject") == count(conn, "select count(*) from source") == 0


def test_a_demo_enrols_as_many_as_it_likes_and_hunts_them_at_once(demo: Settings, keys: Keys) -> None:
    with connect(demo) as conn:
        for number in range(A_DAY + 2):
            enrol_number(conn, keys, demo, number)
        assert count(conn, "select count(*) from subject where hunts_from <= now()") == A_DAY + 2


def test_no_demo_runs_on_a_deployment_of_ones_own(settings: Settings, keys: Keys, conn: Connection) -> None:
    """It would show everything that is found there."""
    done = facewarden(settings, "demo", "--exit", "--home", str(settings.home), "--port", str(find_ports()))
    assert (done.returncode, "deployment_own: this is no demo" in done.stderr) == (2, True), done.stderr
    assert "choose another --home" in done.stderr
    assert count(conn, "select count(*) from approver") == 0
