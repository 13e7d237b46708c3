"""What a person says is not them does not alert them again: from the judgement to the next decision, on real faces."""

from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest

from cli.demo.people import crop_tight, darken, mirror, reencode
from matcher.gallery import Gallery
from tests.samples import (
    PEOPLE,
    STRANGERS,
    add_sample,
    capture_listing,
    count,
    enrol_person,
    make_listing,
    portrait,
    run_steps,
)
from tests.workers.test_hunts import add_faces, near, template_of, unit_rows, withdraw_hunts
from vault.blobs import blob_path
from vault.errors import JudgementError, KeyFileError
from vault.keys import decrypt, make_data_key
from vault.records import Policy
from vault.store import Connection
from vault.store.audit import verify_ledger
from vault.store.bundles import ask_bundle
from vault.store.datasets import Link, join_datasets, lock_datasets
from vault.store.faces import count_kept_templates
from vault.store.judgements import judge_alert, list_live_negatives, open_negative, take_back_judgement
from vault.store.withdrawals import withdraw_consent
from workers.context import Context
from workers.drop_expired import drop_expired
from workers.embed_samples import embed_samples
from workers.hunt_faces import hunt_faces
from workers.make_negatives import make_negatives
from workers.match_faces import match_faces

STRANGER, OTHER = (person.name for person in STRANGERS)
LOW = -0.9


@pytest.fixture(autouse=True)
def low_cut(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cut that every pair reaches, so that a stranger alerts: what is nearer to whom alone decides."""
    original = Context.cut
    monkeypatch.setattr(Context, "cut", lambda self: replace(original(self), score=LOW, sent_score=LOW))


def alert_of(conn: Connection, subject_id: UUID) -> UUID:
    (alert_id,) = conn.execute(
        "select alert_id from alert where subject_id = %s order by created_at desc limit 1", [subject_id]
    ).fetchone() or (None,)
    assert isinstance(alert_id, UUID)
    return alert_id


def alert_by_stranger(context: Context, subject_id: UUID, name: str = "judged", **policy: object) -> UUID:
    """An alert that rests on a stranger's picture."""
    add_sample(context, make_listing(context.conn, name, **policy), portrait(STRANGER))  # type: ignore[arg-type]
    run_steps(context)
    return alert_of(context.conn, subject_id)


def judge(context: Context, subject_id: UUID, alert_id: UUID, days: int = 180) -> bool:
    with context.conn.transaction():
        return judge_alert(context.conn, context.keys, subject_id, alert_id, days=days)


def take_back(context: Context, subject_id: UUID, alert_id: UUID) -> bool:
    with context.conn.transaction():
        return take_back_judgement(context.conn, context.keys, subject_id, alert_id)


def ends(conn: Connection, subject_id: UUID) -> list[str | None]:
    """Why each match of a person is held, the oldest first."""
    rows = conn.execute(
        "select held from match where subject_id = %s order by matched_at, face_id", [subject_id]
    ).fetchall()
    return [held for (held,) in rows]


def open_only_negative(context: Context) -> np.ndarray:
    _, (row,) = list_live_negatives(context.conn, "opencv-zoo", [])
    return np.frombuffer(open_negative(context.keys, row), "<f4")


# -- what it is for ---------------------------------------------------------------------------------------------------


def test_a_judged_face_alerts_no_more_and_the_persons_own_still_does(context: Context) -> None:
    """End to end on a source of which nothing is kept: the negative comes from the picture."""
    conn = context.conn
    subject_id = enrol_person(context, "astronaut")
    alert_id = alert_by_stranger(context, subject_id)
    assert count(conn, "select count(*) from face where template is not null") == 0
    assert judge(context, subject_id, alert_id)
    run_steps(context)
    assert conn.execute("select state, sealed is not null from negative").fetchone() == ("done", True)
    again = make_listing(conn, "again")
    for change in (reencode, crop_tight, darken, mirror):
        add_sample(context, again, change(PEOPLE[STRANGER].portrait))
    run_steps(context)
    assert ends(conn, subject_id) == [None] + ["not_them"] * 4
    assert count(conn, "select count(*) from alert") == 1
    assert count(conn, "select count(*) from delivery where kind = 'alert'") == 1
    assert count(conn, "select count(*) from face where outcome = 'held'") == 4
    own = make_listing(conn, "own")
    for change in (reencode, crop_tight, darken, mirror):
        add_sample(context, own, change(PEOPLE["astronaut"].portrait))
    run_steps(context)
    assert ends(conn, subject_id)[5:] == [None] * 4
    assert count(conn, "select count(*) from alert where state = 'open'") == 1
    assert count(conn, "select count(*) from delivery where kind = 'alert' and state = 'done'") == 2


def test_a_negative_is_its_persons_alone(context: Context) -> None:
    conn = context.conn
    one, two = enrol_person(context, "astronaut"), enrol_person(context, "t1-1")
    alert_by_stranger(context, one)
    judge(context, one, alert_of(conn, one))
    run_steps(context)
    add_sample(context, make_listing(conn, "again"), portrait(STRANGER, 60))
    run_steps(context)
    assert ends(conn, one) == [None, "not_them"]
    assert ends(conn, two) == [None, None]
    assert count(conn, "select count(*) from alert where subject_id = %s and state = 'open'", two) == 2
    assert conn.execute("select outcome from face order by face_id desc").fetchone() == ("matched",)


def test_it_counts_in_another_process_as_soon_as_it_is_made(context: Context) -> None:
    conn = context.conn
    subject_id = enrol_person(context, "astronaut")
    alert_id = alert_by_stranger(context, subject_id)
    other = Gallery(context.settings.home / "index", context.keys, pack="opencv-zoo", dimension=128)
    other.refresh(conn)
    probe = template_of(context, subject_id)
    assert other.compare_negatives(probe, [subject_id]) == []
    judge(context, subject_id, alert_id)
    make_negatives(context)
    assert other.refresh(conn)
    (negative,) = other.compare_negatives(open_only_negative(context), [subject_id])
    assert negative.score == pytest.approx(1, abs=1e-5)
    assert other.compare_negatives(probe, [UUID(int=1)]) == []
    assert other.template_count == 1, "it is no template that is searched"
    assert all(
        hit.subject_id == subject_id and hit.score < 0.9
        for hit in other.search(open_only_negative(context)[None], LOW)[0]
    )
    withdraw_consent(conn, subject_id)
    assert other.refresh(conn)
    assert other.compare_negatives(probe, [subject_id]) == [], "a withdrawal ends it at once"


def test_a_hunt_obeys_it_too(context: Context) -> None:
    conn = context.conn
    subject_id = enrol_person(context, "astronaut")
    alert_id = alert_by_stranger(context, subject_id)
    judge(context, subject_id, alert_id)
    run_steps(context)
    withdraw_hunts(conn)
    context.hunted_clock.forget()
    negative, own = open_only_negative(context).copy(), template_of(context, subject_id)
    first, second = add_faces(context, np.stack([near(negative, 0.9, 1), near(own, 0.9, 2)]), name="kept").tolist()
    while hunt_faces(context):
        pass
    rows = conn.execute("select face_id, held from match where face_id >= %s order by face_id", [first]).fetchall()
    assert rows == [(first, "not_them"), (second, None)]
    outcomes = conn.execute("select outcome from face where face_id >= %s order by face_id", [first]).fetchall()
    assert outcomes == [("held",), ("matched",)]


# -- what is kept -----------------------------------------------------------------------------------------------------


def test_the_vector_is_sealed_for_the_person_and_counted_among_strangers(context: Context) -> None:
    conn = context.conn
    subject_id = enrol_person(context, "astronaut")
    judge(context, subject_id, alert_by_stranger(context, subject_id))
    run_steps(context)
    (negative_id, sealed) = conn.execute("select negative_id, sealed from negative").fetchone() or (0, b"")
    vector = open_only_negative(context)
    assert vector.tobytes() not in sealed
    with pytest.raises(KeyFileError):
        decrypt(make_data_key(), sealed, b"negative:%d" % negative_id)
    assert count_kept_templates(conn) == {"kept": 1, "overdue": 0}
    assert count(conn, "select count(*) from fresh_face") == 0, "in no segment"
    index = b"".join(path.read_bytes() for path in (context.settings.home / "index").iterdir())
    assert vector.tobytes() not in index
    days = count(conn, "select round(extract(epoch from expires_at - now()) / 86400) from negative")
    assert days == 180


@pytest.mark.parametrize(
    ("policy", "picture", "made"),
    [(Policy.RETRO, True, True), (Policy.RETRO, False, True), (Policy.EPHEMERAL, True, True),
     (Policy.EPHEMERAL, False, False)],
)  # fmt: skip
def test_it_comes_from_the_faces_row_or_from_the_picture_or_not_at_all(
    context: Context, policy: Policy, picture: bool, made: bool
) -> None:
    conn = context.conn
    subject_id = enrol_person(context, "astronaut")
    alert_id = alert_by_stranger(context, subject_id, policy=policy, days=9 if policy is Policy.RETRO else 0)
    if not picture:
        (key_id,) = conn.execute("select key_id from blob").fetchone() or (None,)
        blob_path(context.blobs, key_id).unlink()
    assert judge(context, subject_id, alert_id)
    for _ in range(5):
        conn.execute("update negative set not_before = null")
        make_negatives(context)
    row = conn.execute("select state, error_code from negative").fetchone()
    assert row == (("done", None) if made else ("quarantined", "face_gone"))
    assert conn.execute("select state from alert").fetchone() == ("dismissed",), "the judgement stands either way"
    if made and policy is Policy.RETRO:
        (template,) = conn.execute("select template from face").fetchone() or (b"",)
        assert open_only_negative(context).tobytes() == template


def test_made_from_row_and_from_picture_it_is_the_same(context: Context) -> None:
    conn = context.conn
    subject_id = enrol_person(context, "astronaut")
    judge(context, subject_id, alert_by_stranger(context, subject_id, policy=Policy.RETRO, days=9))
    run_steps(context)
    from_row = open_only_negative(context).copy()
    conn.execute("update negative set state = 'ready', attempts = 0, sealed = null")
    conn.execute("update face set template = null")
    run_steps(context)
    assert np.abs(open_only_negative(context) - from_row).max() < 1e-5


def test_its_day_ends_it_with_what_it_held_and_the_pictures_of_that(context: Context) -> None:
    conn = context.conn
    subject_id = enrol_person(context, "astronaut")
    judge(context, subject_id, alert_by_stranger(context, subject_id))
    run_steps(context)
    held = add_sample(context, make_listing(conn, "again"), portrait(STRANGER, 60))
    run_steps(context)
    drop_expired(context)
    assert count(conn, "select count(*) from blob where sha256 = %s", held) == 1
    conn.execute("update negative set expires_at = now() - interval '1 second'")
    assert count_kept_templates(conn) == {"kept": 1, "overdue": 1}
    drop_expired(context)
    assert count_kept_templates(conn) == {"kept": 0, "overdue": 0}
    assert ends(conn, subject_id) == [None]
    assert count(conn, "select count(*) from blob where sha256 = %s", held) == 0
    assert conn.execute("select state from alert").fetchone() == ("dismissed",)
    add_sample(context, make_listing(conn, "third"), portrait(STRANGER, 50))
    run_steps(context)
    assert ends(conn, subject_id) == [None, None], "it is not known again any more"


def test_an_erasure_leaves_nothing_of_it(context: Context) -> None:
    conn = context.conn
    subject_id = enrol_person(context, "astronaut")
    judge(context, subject_id, alert_by_stranger(context, subject_id))
    run_steps(context)
    held = add_sample(context, make_listing(conn, "again"), portrait(STRANGER, 60))
    run_steps(context)
    withdraw_consent(conn, subject_id)
    run_steps(context)
    for table in ("negative", "judgement", "match", "alert"):
        assert count(conn, f"select count(*) from {table}") == 0, table
    assert count(conn, "select count(*) from blob where sha256 = %s", held) == 0
    (body,) = conn.execute("select body from receipt").fetchone() or ("",)
    assert '"judgements":1' in body
    assert '"negatives":1' in body
    assert verify_ledger(conn, context.keys) == []


def test_a_bundle_says_what_was_said_and_holds_no_negative(context: Context) -> None:
    from zipfile import ZipFile

    conn = context.conn
    subject_id = enrol_person(context, "astronaut")
    listing_id = make_listing(conn, "judged")
    capture_listing(context, listing_id)
    add_sample(context, listing_id, portrait(STRANGER))
    run_steps(context)
    alert_id = alert_of(conn, subject_id)
    judge(context, subject_id, alert_id)
    run_steps(context)
    ask_bundle(conn, alert_id, "test")
    run_steps(context)
    (path,) = (context.settings.home / "bundles").iterdir()
    files = {name: ZipFile(path).read(name) for name in ZipFile(path).namelist()}
    assert b'"verdict":"not_me"' in files["alert.json"].replace(b": ", b":")
    assert open_only_negative(context).tobytes() not in b"".join(files.values())


# -- said twice, taken back, found again ------------------------------------------------------------------------------


def test_saying_it_twice_says_it_once(context: Context) -> None:
    conn = context.conn
    subject_id = enrol_person(context, "astronaut")
    alert_id = alert_by_stranger(context, subject_id)
    assert [judge(context, subject_id, alert_id) for _ in range(3)] == [True, False, False]
    run_steps(context)
    assert [take_back(context, subject_id, alert_id) for _ in range(2)] == [True, False]
    rows = conn.execute("select entry from ledger where entry like '%%\"judgement\"%%' order by ledger_id").fetchall()
    assert ["not_me" in rows[0][0], "taken_back" in rows[1][0], len(rows)] == [True, True, 2]
    assert all(str(subject_id) not in entry for (entry,) in rows), "by their digest only"
    assert count(conn, "select count(*) from negative") == count(conn, "select count(*) from judgement") == 0
    assert conn.execute("select state from alert").fetchone() == ("open",)


def test_nobody_judges_anothers_alert_or_without_a_live_consent(context: Context) -> None:
    one, two = enrol_person(context, "astronaut"), enrol_person(context, "t1-1")
    alert_by_stranger(context, one)
    alert_id = alert_of(context.conn, one)
    for attempt in (judge, take_back):
        with pytest.raises(JudgementError, match="alert_unknown"):
            attempt(context, two, alert_id)
    withdraw_consent(context.conn, one)
    with pytest.raises(JudgementError, match="alert_unknown"):
        judge(context, one, alert_id)
    assert count(context.conn, "select count(*) from judgement") == 0


def test_taken_back_what_was_held_alerts_and_nothing_is_held_any_more(context: Context) -> None:
    conn = context.conn
    subject_id = enrol_person(context, "astronaut")
    alert_id = alert_by_stranger(context, subject_id)
    judge(context, subject_id, alert_id)
    run_steps(context)
    for name in ("judged", "again"):
        add_sample(context, make_listing(conn, name), portrait(STRANGER, 60))
    run_steps(context)
    assert ends(conn, subject_id) == [None, "not_them", "not_them"]
    assert take_back(context, subject_id, alert_id)
    run_steps(context)
    assert ends(conn, subject_id) == [None, None, None]
    assert conn.execute("select state, count(*) from alert group by 1").fetchall() == [("open", 2)]
    assert count(conn, "select count(*) from match where alert_id = %s", alert_id) == 2, "one in the judged dataset"
    assert count(conn, "select count(*) from delivery where kind = 'alert' and state = 'done'") == 2
    assert conn.execute("select outcome, count(*) from face group by 1").fetchall() == [("matched", 3)]
    add_sample(context, make_listing(conn, "third"), portrait(STRANGER, 50))
    run_steps(context)
    assert count(conn, "select count(*) from alert") == 3


def test_another_face_in_a_judged_dataset_opens_the_alert_and_is_told(context: Context) -> None:
    conn = context.conn
    subject_id = enrol_person(context, "astronaut")
    alert_id = alert_by_stranger(context, subject_id)
    judge(context, subject_id, alert_id)
    run_steps(context)
    add_sample(context, make_listing(conn, "judged"), portrait("astronaut", 60))
    run_steps(context)
    assert conn.execute("select alert_id, state from alert").fetchall() == [(alert_id, "open")]
    told = conn.execute("select alert_id from delivery where kind = 'alert' and state = 'done' order by 1").fetchall()
    assert told == [(alert_id,), (None,)], "the first message keeps its row"
    add_sample(context, make_listing(conn, "judged"), portrait("astronaut", 50))
    run_steps(context)
    assert count(conn, "select count(*) from delivery where kind = 'alert'") == 2, "told once more, not twice"
    assert judge(context, subject_id, alert_id), "the new faces can be judged too"
    assert count(conn, "select count(*) from negative") == 3


def test_a_judgement_taken_back_between_search_and_write_holds_nothing(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    conn = context.conn
    subject_id = enrol_person(context, "astronaut")
    alert_id = alert_by_stranger(context, subject_id)
    judge(context, subject_id, alert_id)
    run_steps(context)
    add_sample(context, make_listing(conn, "again"), portrait(STRANGER, 60))
    embed_samples(context)
    original = Gallery.compare_negatives
    taken: list[bool] = []

    def take_back_after(self: Gallery, *args: object) -> object:
        found = original(self, *args)  # type: ignore[arg-type]
        if found and not taken:
            taken.append(take_back(context, subject_id, alert_id))
        return found

    monkeypatch.setattr(Gallery, "compare_negatives", take_back_after)
    assert match_faces(context) == 1
    assert taken == [True]
    assert ends(conn, subject_id) == [None, None]
    assert count(conn, "select attempts from face order by face_id desc limit 1") == 1


def test_a_judgement_taken_back_while_its_faces_are_looked_at_leaves_none(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject_id = enrol_person(context, "astronaut")
    alert_id = alert_by_stranger(context, subject_id)
    judge(context, subject_id, alert_id)

    def take_back_meanwhile(*_: object) -> dict[int, object]:
        take_back(context, subject_id, alert_id)
        return {}

    monkeypatch.setattr("workers.make_negatives.look_again", take_back_meanwhile)
    monkeypatch.setattr("workers.make_negatives.read_kept", lambda *_: unit_rows(1)[0].tobytes())
    assert make_negatives(context) == 1
    assert count(context.conn, "select count(*) from negative") == 0


@pytest.mark.parametrize("judged", ["older", "younger", "both"])
def test_two_alerts_that_become_one_keep_what_was_said_and_what_is_open(context: Context, judged: str) -> None:
    conn = context.conn
    subject_id = enrol_person(context, "astronaut")
    older = alert_by_stranger(context, subject_id, "first")
    second = make_listing(conn, "second")
    add_sample(context, second, portrait(OTHER))
    run_steps(context)
    younger = alert_of(conn, subject_id)
    for name, alert_id in (("older", older), ("younger", younger)):
        if judged in (name, "both"):
            assert judge(context, subject_id, alert_id)
    run_steps(context)
    first = count(conn, "select listing_id from listing where listing_id <> %s", second)
    with conn.transaction():
        lock_datasets(conn, change=True)
        join_datasets(conn, Link(listing_id=second, other_id=first, reason="overlap"))
    rows = conn.execute("select alert_id, state from alert").fetchall()
    assert rows == [(older, "dismissed" if judged == "both" else "open")]
    assert conn.execute("select alert_id from judgement").fetchall() == [(older,)]
    kept = 2 if judged == "both" else 1
    assert count(conn, "select count(*) from negative where alert_id = %s", older) == kept
    assert count(conn, "select count(*) from match where alert_id = %s", older) == 2


def test_a_message_about_an_open_alert_is_sent_though_the_one_it_goes_into_was_judged(context: Context) -> None:
    conn = context.conn
    subject_id = enrol_person(context, "astronaut")
    older = alert_by_stranger(context, subject_id, "first")
    assert judge(context, subject_id, older)
    second = make_listing(conn, "second")
    add_sample(context, second, portrait("astronaut", 60))
    embed_samples(context)
    match_faces(context)  # its message waits
    first = count(conn, "select listing_id from listing where listing_id <> %s", second)
    with conn.transaction():
        lock_datasets(conn, change=True)
        join_datasets(conn, Link(listing_id=second, other_id=first, reason="overlap"))
    run_steps(context)
    assert conn.execute("select alert_id, state from alert").fetchall() == [(older, "open")]
    assert count(conn, "select count(*) from delivery where kind = 'alert' and state = 'done'") == 2
