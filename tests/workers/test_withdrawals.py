"""Withdrawal: it waits for nobody, what was written too late is erased, and a receipt says what was not found."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import numpy as np
import psycopg
import pytest

from matcher.generations import save_generation
from tests.samples import (
    add_sample,
    capture_listing,
    count,
    enrol_person,
    make_listing,
    portrait,
    raise_alert,
    run_steps,
)
from vault.errors import LeaseLost
from vault.files import write_whole
from vault.settings import Settings
from vault.steps import Step
from vault.store import Connection, connect
from vault.store.alerts import save_match
from vault.store.bundles import ask_bundle
from vault.store.clock import GalleryClock, read_gallery_clock, tick_gallery
from vault.store.hunts import begin_hunts, end_lapsed_claims
from vault.store.subjects import confirm_consent, list_live_templates, open_vector
from vault.store.withdrawals import check_withdrawals, has_new_withdrawals, withdraw_consent
from vault.store.work import FACES, claim_rows
from vault.store.writers import GALLERY, check_writer, take_writer
from workers.app import take_turn
from workers.context import Context
from workers.deliver import deliver
from workers.embed_samples import embed_samples
from workers.erase_subjects import erase_subjects
from workers.hunt_faces import hunt_faces
from workers.match_faces import match_faces
from workers.seal_bundles import seal_bundles

WITHDRAWAL_SECONDS = 5.0
LOCKED = ("subject", "consent", "template", "alert", "match", "delivery", "face", "sample", "key", "erasure")


def withdraw_elsewhere(settings: Settings, subject_id: UUID) -> float:
    """Withdraw on a connection of its own; the seconds it took."""
    started = time.monotonic()
    with connect(settings) as own, own.transaction():
        withdraw_consent(own, subject_id)
    return time.monotonic() - started


@pytest.mark.parametrize("table", LOCKED)
def test_a_withdrawal_waits_for_no_lock_on_any_row(context: Context, settings: Settings, table: str) -> None:
    subject_id = enrol_person(context, "astronaut")
    add_sample(context, make_listing(context.conn), portrait("astronaut", 60))
    run_steps(context)
    with connect(settings) as other, other.transaction():
        tick_gallery(other)
        other.execute(f"select 1 from {table} for update".encode())
        assert withdraw_elsewhere(settings, subject_id) < WITHDRAWAL_SECONDS
    assert has_new_withdrawals(context.conn)


def test_withdrawing_again_changes_nothing(context: Context) -> None:
    subject_id = enrol_person(context, "astronaut")
    assert withdraw_consent(context.conn, subject_id)
    assert not withdraw_consent(context.conn, subject_id)
    assert count(context.conn, "select count(*) from withdrawal") == 1


def test_the_last_look_finds_a_withdrawal_that_came_while_a_match_was_written(
    context: Context, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject_id = enrol_person(context, "astronaut")
    add_sample(context, make_listing(context.conn), portrait("astronaut", 60))
    embed_samples(context)
    withdrawn: list[float] = []

    def withdraw_then_save(*arguments: object) -> None:
        save_match(*arguments)  # type: ignore[arg-type]
        if not withdrawn:
            withdrawn.append(withdraw_elsewhere(settings, subject_id))

    monkeypatch.setattr("workers.match_faces.save_match", withdraw_then_save)
    assert match_faces(context) == 1
    assert withdrawn[0] < WITHDRAWAL_SECONDS
    assert count(context.conn, "select count(*) from match") == 0
    assert count(context.conn, "select count(*) from alert") == 0


def test_what_an_older_transaction_commits_after_the_withdrawal_is_erased(context: Context, settings: Settings) -> None:
    """A writer that looked just before the withdrawal and is slow to commit."""
    subject_id = enrol_person(context, "astronaut")
    with connect(settings) as slow:
        with slow.transaction():
            slow.execute(
                "insert into delivery (delivery_id, subject_id, kind) values (gen_random_uuid(), %s, 'confirmation')",
                [subject_id],
            )
            slow.execute("update template set error_text = 'late' where subject_id = %s", [subject_id])
            check_withdrawals(slow, [subject_id])
            withdraw_elsewhere(settings, subject_id)
            assert erase_subjects(context) == 0, "it waits for the older transaction"
            row = context.conn.execute("select state, attempts, error_code from erasure").fetchone()
            assert row == ("ready", 0, "older_transactions")
        context.conn.execute("update erasure set not_before = null")
        with slow.transaction():  # a younger one does not matter
            slow.execute("select nextval('fencing_token')")
            slow.execute("insert into dataset default values")
            assert erase_subjects(context) == 1
    assert count(context.conn, "select count(*) from template") == 0


def test_a_transaction_that_stands_is_ended_and_the_erasure_goes_on(
    context: Context, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vault.store.withdrawals.STUCK_SECONDS", 0.2)
    subject_id = enrol_person(context, "astronaut")
    with pytest.raises(psycopg.OperationalError), connect(settings) as stuck:
        stuck.execute("begin")
        stuck.execute("update template set error_text = 'late' where subject_id = %s", [subject_id])
        withdraw_elsewhere(settings, subject_id)
        assert erase_subjects(context) == 0
        deadline = time.monotonic() + 10
        while not erase_subjects(context):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        stuck.execute("commit")
    assert count(context.conn, "select count(*) from template") == 0


# -- the gallery clock ------------------------------------------------------------------------------------------------


def test_a_clock_that_moved_before_its_commit_is_read_again_until_that_is_settled(
    context: Context, settings: Settings
) -> None:
    conn, clock = context.conn, GalleryClock()
    with connect(settings) as other:
        with other.transaction():
            other.execute("insert into dataset default values")
            tick_gallery(other)
            first = read_gallery_clock(conn)
            assert clock.has_moved(first)
            clock.take(conn, first)
            second = read_gallery_clock(conn)
            assert clock.has_moved(second), "the change is not committed: rows must be read again"
            clock.take(conn, second)
        third = read_gallery_clock(conn)
        assert clock.has_moved(third)
        clock.take(conn, third)
        assert not clock.has_moved(read_gallery_clock(conn))


def test_a_gallery_that_looked_too_early_finds_who_was_confirmed(context: Context, settings: Settings) -> None:
    subject_id = enrol_person(context, "astronaut", confirmed=False)
    context.gallery.refresh(context.conn)
    with connect(settings) as other, other.transaction():
        confirm_consent(other, subject_id)
        context.gallery.refresh(context.conn)
        assert context.gallery.template_count == 0
    context.gallery.refresh(context.conn)
    assert context.gallery.template_count == 1


# -- hunts and claims -------------------------------------------------------------------------------------------------


def test_a_hunt_waits_for_claims_that_may_not_know_its_template(context: Context) -> None:
    conn = context.conn
    add_sample(context, make_listing(conn), portrait("astronaut", 60))
    embed_samples(context)
    early = claim_rows(conn, FACES, 10)
    assert early is not None
    enrol_person(context, "astronaut")
    begin_hunts(conn, "opencv-zoo", context.segments.kind[1])
    assert hunt_faces(context) == 0, "the faces in no segment wait for the claim"
    assert end_lapsed_claims(conn) == 0, "its lease is not over"
    conn.execute("update face set lease_until = now() - interval '1 second'")
    assert end_lapsed_claims(conn) == 1
    assert conn.execute("select state, token from face").fetchone() == ("ready", None)
    assert hunt_faces(context) == 1


def test_a_claim_that_is_younger_than_a_hunt_does_not_delay_it(context: Context) -> None:
    conn = context.conn
    add_sample(context, make_listing(conn), portrait("t1-1", 60))
    embed_samples(context)
    enrol_person(context, "astronaut")
    begin_hunts(conn, "opencv-zoo", context.segments.kind[1])
    assert claim_rows(conn, FACES, 10) is not None
    assert hunt_faces(context) == 1


# -- messages and bundles ---------------------------------------------------------------------------------------------


def test_a_message_whose_person_withdraws_while_it_is_written_gets_no_name(
    context: Context, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject_id = enrol_person(context, "astronaut", confirmed=False)
    monkeypatch.setattr("workers.deliver.write_whole", meanwhile(lambda: withdraw_elsewhere(settings, subject_id)))
    deliver(context)
    assert list(context.settings.mail_folder.iterdir()) == []
    row = context.conn.execute("select state, error_code from delivery").fetchone()
    assert row == ("quarantined", "subject_unknown")


def test_a_message_whose_person_withdraws_as_it_gets_its_name_is_taken_back(
    context: Context, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject_id = enrol_person(context, "astronaut", confirmed=False)

    def write_then_withdraw(path: Path, data: bytes, **options: object) -> None:
        write_whole(path, data)
        withdraw_elsewhere(settings, subject_id)

    monkeypatch.setattr("workers.deliver.write_whole", write_then_withdraw)
    deliver(context)
    assert list(context.settings.mail_folder.iterdir()) == []


def meanwhile(act: Callable[[], object]) -> Callable[..., None]:
    """`write_whole`, with something that happens when the bytes are on disk and the name is wanting."""

    def write(path: Path, data: bytes, *, last_look: Callable[[], None]) -> None:
        def look() -> None:
            act()
            last_look()

        write_whole(path, data, last_look=look)

    return write


def test_a_bundle_whose_person_withdraws_while_it_is_sealed_leaves_no_file(
    context: Context, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing_id = make_listing(context.conn)
    capture_listing(context, listing_id)
    alert_id = raise_alert(context, listing_id)
    (subject_id,) = context.conn.execute("select subject_id from subject").fetchone() or (None,)
    ask_bundle(context.conn, alert_id, "test")

    def leave() -> None:
        withdraw_elsewhere(settings, subject_id)

    monkeypatch.setattr("workers.seal_bundles.write_whole", meanwhile(leave))
    seal_bundles(context)
    assert list((context.settings.home / "bundles").iterdir()) == []


def test_a_sealer_that_comes_back_after_the_erasure_leaves_no_file(
    context: Context, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had looked, and was stopped before its transaction."""
    listing_id = make_listing(context.conn)
    capture_listing(context, listing_id)
    alert_id = raise_alert(context, listing_id)
    (subject_id,) = context.conn.execute("select subject_id from subject").fetchone() or (None,)
    ask_bundle(context.conn, alert_id, "test")
    people = Context(settings)

    def write_then_erase(path: Path, data: bytes, **options: object) -> None:
        write_whole(path, data)
        withdraw_elsewhere(settings, subject_id)
        assert erase_subjects(people) == 1

    monkeypatch.setattr("workers.seal_bundles.write_whole", write_then_erase)
    take_turn(context, Step.SEAL_BUNDLES)
    people.close()
    assert list((context.settings.home / "bundles").iterdir()) == []
    assert count(context.conn, "select count(*) from bundle") == 0


# -- what the receipt says --------------------------------------------------------------------------------------------


def read_receipt(conn: Connection) -> dict[str, dict[str, int]]:
    row = conn.execute("select body from receipt").fetchone()
    assert row is not None
    body: dict[str, dict[str, int]] = json.loads(row[0])
    return body


@pytest.fixture
def sealed(context: Context) -> UUID:
    """A person with an alert, a message and a sealed bundle."""
    listing_id = make_listing(context.conn)
    capture_listing(context, listing_id)
    alert_id = raise_alert(context, listing_id)
    ask_bundle(context.conn, alert_id, "test")
    run_steps(context)
    assert len(list((context.settings.home / "bundles").iterdir())) == 1
    (subject_id,) = context.conn.execute("select subject_id from subject").fetchone() or (None,)
    assert isinstance(subject_id, UUID)
    return subject_id


def test_a_state_folder_that_was_moved_is_erased_all_the_same(context: Context, sealed: UUID, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    context.settings.home.rename(moved)
    there = Context(context.settings.replace("", home=moved))
    withdraw_consent(there.conn, sealed)
    assert erase_subjects(there) == 1
    assert list((moved / "bundles").iterdir()) == []
    assert list((moved / "mail").iterdir()) == []
    told = read_receipt(there.conn)
    assert (told["erased"]["bundles"], told["erased"]["messages"], told["not_found"]) == (1, 2, {})
    there.close()


def test_messages_of_an_earlier_mail_folder_are_erased_too(context: Context, sealed: UUID, tmp_path: Path) -> None:
    other = Context(context.settings.replace("delivery", mail_folder=tmp_path / "other-mail"))
    withdraw_consent(other.conn, sealed)
    assert erase_subjects(other) == 1
    assert list((context.settings.home / "mail").iterdir()) == []
    assert read_receipt(other.conn)["erased"]["messages"] == 2
    other.close()


def test_what_is_not_where_it_was_written_is_in_the_receipt_and_not_called_erased(
    context: Context, sealed: UUID, tmp_path: Path
) -> None:
    for name in ("mail", "bundles"):
        (context.settings.home / name).rename(tmp_path / name)
    withdraw_consent(context.conn, sealed)
    run_steps(context)
    told = read_receipt(context.conn)
    assert told["not_found"] == {"bundles": 1, "messages": 2}
    assert (told["erased"]["bundles"], told["erased"]["messages"]) == (0, 0)
    (mail,) = context.settings.mail_folder.glob("*.eml")
    words = " ".join(mail.read_text().replace("=\n", "").split())
    assert "2 of the earlier messages" in words
    assert "1 files of sealed evidence" in words


# -- index files ------------------------------------------------------------------------------------------------------


def test_a_writer_of_the_index_that_was_taken_for_gone_makes_nothing_current(context: Context) -> None:
    """It read the rows, was stopped, and the person withdrew and was erased meanwhile."""
    conn = context.conn
    enrol_person(context, "t1-1")
    leaves = enrol_person(context, "astronaut")
    late = take_writer(conn, GALLERY)
    assert late is not None
    context.gallery.refresh(conn)
    assert context.gallery.build(conn, context.heartbeat) is None, "one at a time"
    conn.execute("update writer set lease_until = now() - interval '1 second'")
    withdraw_consent(conn, leaves)
    assert erase_subjects(context) == 1
    folder = context.settings.home / "index"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(LeaseLost):
        save_generation(
            folder, ids=np.array([1]), vectors=np.eye(128, dtype=np.float32)[:1], pack="opencv-zoo", matrix_id="m",
            dimension=128, clock=99, writer=late, last_look=lambda: check_writer(conn, GALLERY, late),
        )  # fmt: skip
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_an_erasure_leaves_no_index_file_that_holds_the_vector(context: Context) -> None:
    conn = context.conn
    stays, leaves = enrol_person(context, "t1-1"), enrol_person(context, "astronaut")
    context.gallery.refresh(conn)
    context.gallery.build(conn, context.heartbeat)
    (row,) = [each for each in list_live_templates(conn, "opencv-zoo", [1, 2, 3]) if each.subject_id == leaves]
    vector = open_vector(context.keys, row)
    folder = context.settings.home / "index"
    assert any(vector in path.read_bytes() for path in folder.iterdir())
    withdraw_consent(conn, leaves)
    assert erase_subjects(context) == 1
    assert not any(vector in path.read_bytes() for path in folder.iterdir()), "before the receipt is written"
    assert context.gallery.template_count == 1
    assert stays in {subject for subject, _ in context.gallery._live.values()}
