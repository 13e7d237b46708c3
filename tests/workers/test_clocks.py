"""A clock that is wrong ends no lease, no segment and no retention; work goes on when the clocks agree."""

import time
from types import SimpleNamespace

import numpy as np
import pytest

from tests.samples import add_sample, count, enrol_person, make_listing, portrait
from tests.workers.test_hunts import add_faces, build, draw_strangers, hunt, matched, plant
from vault.errors import Unavailable
from vault.records import PageKind
from vault.steps import Step
from vault.store import Connection
from vault.store.pauses import list_pauses
from vault.store.times import MOST_APART, accept_clocks, check_clocks, describe
from vault.store.work import FACES, IMAGES, claim_rows, quarantine_exhausted
from vault.store.writers import SEGMENTS, take_writer
from workers.app import look_at_expired, take_turn
from workers.build_segments import COUNT_SECONDS, build_segments
from workers.clock import sweep_or_pause
from workers.context import Context
from workers.embed_samples import embed_samples
from workers.match_faces import match_faces
from workers.pauses import Pauses

DAY = 86_400.0
JUMPS = {"40 days ahead": 40 * DAY, "an hour back": -3600.0, "two minutes ahead": 120.0}


def set_local(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + seconds)


def jump(conn: Connection, seconds: float) -> None:
    """As if both clocks had jumped since the last look."""
    check_clocks(conn)
    conn.execute("update clock_mark set ahead = ahead - %s", [seconds])


def tables(conn: Connection) -> list[object]:
    """All that retention, segments and leases could change."""
    return [
        conn.execute(f"select * from {name} order by 1").fetchall()
        for name in ("segment", "fresh_face", "face", "sample", "blob", "key", "subject", "hunt_part", "page")
    ]


@pytest.mark.parametrize("step", Step)
@pytest.mark.parametrize("which", ["this machine's", "both"])
@pytest.mark.parametrize("seconds", JUMPS.values(), ids=JUMPS)
def test_no_step_works_by_a_wrong_clock(
    context: Context, monkeypatch: pytest.MonkeyPatch, step: Step, which: str, seconds: float
) -> None:
    conn = context.conn
    add_sample(context, make_listing(conn), portrait("astronaut"), PageKind.IMAGE)
    build(context, add_faces(context, np.eye(128, dtype=np.float32)[:5], days=30))
    before = tables(conn)
    if which == "both":
        jump(conn, seconds)
    else:
        set_local(monkeypatch, seconds)
    assert take_turn(context, step) == 0
    assert tables(conn) == before
    (told,) = list_pauses(conn)
    assert (told.step, told.code) == (step.value, "clock_jumped" if which == "both" else "clock_differs")
    assert sweep_or_pause(context, 60, False)
    assert [each.step for each in list_pauses(conn)] == [step.value, "sweeper"]


def test_work_goes_on_when_the_clock_is_right_again(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    conn = context.conn
    add_sample(context, make_listing(conn), portrait("astronaut"), PageKind.IMAGE)
    with monkeypatch.context() as wrong:
        set_local(wrong, 40 * DAY)
        assert take_turn(context, Step.EMBED_SAMPLES) == 0
    context.pauses = Pauses()
    assert take_turn(context, Step.EMBED_SAMPLES) == 1
    assert not sweep_or_pause(context, 1, True)
    assert list_pauses(conn) == []


def test_hints_that_are_old_by_a_wrong_clock_only_pause_the_step_with_its_reason(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Celery drops them before any step is called."""
    hint = SimpleNamespace(name=Step.EMBED_SAMPLES.value)
    look_at_expired(context, hint, request=None, terminated=False, signum=None, expired=True)
    assert list_pauses(context.conn) == []
    set_local(monkeypatch, 40 * DAY)
    look_at_expired(context, hint, request=None, terminated=True, signum=None, expired=False)
    assert list_pauses(context.conn) == []
    look_at_expired(context, hint, request=None, terminated=False, signum=None, expired=True)
    (told,) = list_pauses(context.conn)
    assert (told.step, told.code) == (Step.EMBED_SAMPLES.value, "clock_differs")


def test_who_starts_the_workers_accepts_a_jump(conn: Connection) -> None:
    jump(conn, 40 * DAY)
    with pytest.raises(Unavailable, match="40 days ahead of where it was"):
        check_clocks(conn)
    accept_clocks(conn)
    check_clocks(conn)


def test_a_clock_that_is_slewed_is_followed(conn: Connection) -> None:
    for _ in range(5):
        jump(conn, MOST_APART / 2)
    check_clocks(conn)


def test_a_process_that_was_stopped_in_the_middle_of_its_look_sees_no_difference(
    conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_clocks(conn)
    real, calls = time.clock_gettime, list[float]()

    def stopped(clock: int) -> float:
        calls.append(0)
        return real(clock) + (300.0 if len(calls) > 1 else 0.0)

    monkeypatch.setattr(time, "clock_gettime", stopped)
    check_clocks(conn)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (40 * DAY, "40 days ahead"),
        (-3600.0, "60 minutes behind"),
        (61.0, "61 seconds ahead"),
        (-7200.0, "2 hours behind"),
    ],
)
def test_a_difference_is_told_in_a_unit_that_people_use(seconds: float, words: str) -> None:
    assert describe(seconds) == words


def test_leases_that_were_given_by_a_clock_ahead_are_over_when_it_is_set_back(context: Context) -> None:
    conn = context.conn
    add_sample(context, make_listing(conn), portrait("astronaut"), PageKind.IMAGE)
    first = claim_rows(conn, IMAGES, 10)
    assert first is not None
    conn.execute("update sample set lease_until = lease_until + interval '40 days'")
    again = claim_rows(conn, IMAGES, 10)
    assert again is not None
    assert again.token > first.token
    conn.execute("update sample set attempts = 5, lease_until = lease_until + interval '1 day'")
    assert quarantine_exhausted(conn, IMAGES) == 1
    assert take_writer(conn, SEGMENTS) is not None
    assert take_writer(conn, SEGMENTS) is None
    conn.execute("update writer set lease_until = lease_until + interval '1 hour'")
    assert take_writer(conn, SEGMENTS) is not None


def test_a_claim_from_the_future_holds_up_no_hunt(context: Context) -> None:
    conn = context.conn
    add_sample(context, make_listing(conn), portrait("astronaut"), PageKind.IMAGE)
    embed_samples(context)
    assert claim_rows(conn, FACES, 10) is not None
    conn.execute("update face set lease_until = lease_until + interval '1 hour'")
    enrol_person(context, "astronaut")
    hunt(context)
    assert count(conn, "select count(*) from hunt where state = 'done'") == 1
    match_faces(context)
    assert count(conn, "select count(*) from match") == 1


def test_faces_that_no_segment_has_are_noticed_placed_and_hunted(context: Context) -> None:
    """As after a segment was dropped while its faces were still kept: also who enrolled meanwhile finds them."""
    conn = context.conn
    subject_id = enrol_person(context, "astronaut")
    planted = plant(context, subject_id, [0.9])
    strangers = draw_strangers(context, [subject_id], 50)
    lost = build(context, add_faces(context, np.concatenate([strangers, planted])))
    build(context, add_faces(context, draw_strangers(context, [subject_id], 20, 5), name="kept"))
    conn.execute("delete from segment where segment_id = %s", [lost])
    hunt(context)
    assert matched(conn, subject_id) == []
    build_segments(context)
    assert count(conn, "select count(*) from fresh_face") == 51
    hunt(context)
    assert len(matched(conn, subject_id)) == 1
    (row,) = conn.execute("select state, faces from hunt").fetchall()
    assert row == ("done", 20 + 51)
    conn.execute("update fresh_face set since = since - interval '1 hour'")
    assert build_segments(context) == 1
    context.faces_counted -= COUNT_SECONDS + 1
    build_segments(context)
    assert count(conn, "select count(*) from fresh_face") == 0, "nothing is taken for lost that is there"
