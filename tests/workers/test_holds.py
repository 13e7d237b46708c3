"""Matches that are held: listed, released, dropped, and never kept for ever."""

from dataclasses import replace
from uuid import UUID

import pytest

from tests.samples import ENROLLED, STRANGERS, add_sample, count, enrol_person, make_listing, portrait, run_steps
from vault.errors import ConsentMissing, JudgementError
from vault.store.holds import HOLD_DAYS, count_holds, drop_hold, list_holds, release_hold
from vault.store.withdrawals import withdraw_consent
from workers.context import Context
from workers.drop_expired import drop_expired
from workers.embed_samples import embed_samples
from workers.match_faces import match_faces


@pytest.fixture
def held(context: Context, monkeypatch: pytest.MonkeyPatch) -> dict[UUID, int]:
    """A face that three people would share, as a cut that every pair reaches makes it: person -> number of the item."""
    for person in ENROLLED[:3]:
        enrol_person(context, person.name)
    digest = add_sample(context, make_listing(context.conn), portrait(STRANGERS[0].name))
    embed_samples(context)
    cut = context.cut()
    monkeypatch.setattr(Context, "cut", lambda self: replace(cut, score=-0.9, strong_score=2.0))
    match_faces(context)
    assert count(context.conn, "select count(*) from blob where sha256 = %s", digest) == 1
    return {each.subject_id: each.hold_id for each in list_holds(context.conn, 10)}


def test_each_persons_item_is_listed_with_the_day_it_ends(context: Context, held: dict[UUID, int]) -> None:
    items = list_holds(context.conn, 10)
    assert len(items) == 3
    assert {(each.reason, each.faces, each.source) for each in items} == {("hub_suspect", 1, "test-source")}
    assert {(each.ends_at - each.since).days for each in items} == {HOLD_DAYS}
    assert count_holds(context.conn) == {"hub_suspect": 1}


def test_who_is_released_is_told_and_the_others_wait(context: Context, held: dict[UUID, int]) -> None:
    conn = context.conn
    (person, hold_id), *_ = held.items()
    with conn.transaction():
        release_hold(conn, context.keys, hold_id, by="olga", why="the same mole")
    run_steps(context)
    assert count(conn, "select count(*) from delivery where kind = 'alert' and subject_id = %s", person) == 1
    assert len(list_holds(conn, 10)) == 2
    (entry,) = conn.execute("select entry from ledger where about = %s", [f"hold:{hold_id}"]).fetchone() or ("",)
    assert '"by":"olga"' in entry
    assert '"what":"released"' in entry
    assert '"why":"the same mole"' in entry
    with conn.transaction(), pytest.raises(JudgementError):
        release_hold(conn, context.keys, hold_id, by="olga", why="again")


def test_what_is_dropped_alerts_nobody_and_its_picture_goes_with_the_last(
    context: Context, held: dict[UUID, int]
) -> None:
    conn = context.conn
    for hold_id in held.values():
        with conn.transaction():
            assert drop_hold(conn, context.keys, hold_id, by="olga", why="a statue") == 1
    drop_expired(context)
    assert list_holds(conn, 10) == []
    assert count(conn, "select count(*) from alert") == 0
    assert count(conn, "select count(*) from blob") == 0


def test_who_has_withdrawn_is_not_told_by_a_release(context: Context, held: dict[UUID, int]) -> None:
    conn = context.conn
    (person, hold_id), *_ = held.items()
    withdraw_consent(conn, person)
    with pytest.raises(ConsentMissing), conn.transaction():
        release_hold(conn, context.keys, hold_id, by="olga", why="the same mole")
    assert count(conn, "select count(*) from alert") == 0


def test_a_hold_that_nobody_decided_ends_and_is_counted(context: Context, held: dict[UUID, int]) -> None:
    conn = context.conn
    conn.execute("update match set matched_at = matched_at - make_interval(days => %s)", [HOLD_DAYS + 1])
    drop_expired(context)
    assert list_holds(conn, 10) == []
    assert count(conn, "select count(*) from blob") == 0
    assert conn.execute("select outcome from face").fetchone() == ("unmatched",)
    (entry,) = conn.execute("select entry from ledger where about = 'holds'").fetchone() or ("",)
    assert '"matches":3' in entry
    assert '"reason":"hub_suspect"' in entry


def test_one_face_that_is_enrolled_three_times_alerts_all_three(context: Context) -> None:
    from cli.commands.enrol import enrol
    from vault.store.subjects import confirm_consent
    from workers.make_templates import make_templates

    conn = context.conn
    for number in range(3):
        enrol(conn, context.keys, context.settings, f"ada{number}@test.example", portrait("astronaut", 90 - number),
              recorded_by="test")  # fmt: skip
    while make_templates(context):
        pass
    for (subject_id,) in conn.execute("select subject_id from subject").fetchall():
        confirm_consent(conn, subject_id)
    add_sample(context, make_listing(conn), portrait("astronaut", 60))
    run_steps(context)
    assert count(conn, "select count(*) from alert") == 3
    assert list_holds(conn, 10) == []
