"""Retro-hunts on real rows: segments built from faces, hunts that lose nothing, withdrawals, pauses, two processes."""

import datetime as dt
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest

from cli.supervisor import ROOT
from matcher.generations import Ids
from matcher.segments import name_file, name_manifest
from tests.samples import add_sample, count, enrol_person, make_listing, portrait, run_steps
from vault.keys import Vectors, encrypt, load_keys
from vault.records import Policy
from vault.settings import Settings
from vault.steps import Step
from vault.store import Connection
from vault.store.clock import tick_gallery
from vault.store.hunts import begin_hunts, list_hunts, pause_hunt, resume_hunt
from vault.store.segments import SegmentRow, keep_fresh_faces, list_segments
from vault.store.subjects import confirm_consent, list_live_templates, open_vector
from vault.store.withdrawals import withdraw_consent
from workers.app import take_turn
from workers.build_segments import build_segments, open_segment, segments_are_due, write_segment
from workers.context import Context
from workers.drop_expired import drop_expired
from workers.hunt_faces import hunt_faces

D = 128


def unit_rows(count: int, seed: int = 1) -> Vectors:
    rows = np.random.default_rng(seed).standard_normal((count, D)).astype(np.float32)
    return np.ascontiguousarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def near(vector: Vectors, score: float, seed: int) -> Vectors:
    """A unit vector with this cosine similarity."""
    other = unit_rows(1, seed)[0]
    other -= (other @ vector) * vector
    made: Vectors = score * vector + np.sqrt(1 - score**2) * other / np.linalg.norm(other)
    return made.astype(np.float32)


def add_faces(context: Context, vectors: Vectors, *, name: str = "retro", days: float = 30) -> Ids:
    """Faces of a `retro` source as `match_faces` leaves them: their ids."""
    conn = context.conn
    listing_id = make_listing(conn, name, policy=Policy.RETRO, days=30)
    (page_id,) = conn.execute("select page_id from listing where listing_id = %s", [listing_id]).fetchone() or (0,)
    (sample_id,) = conn.execute(
        """insert into sample (listing_id, page_id, kind, sha256, size, state)
           values (%s, %s, 'image', %s, 1, 'done')
           on conflict (listing_id, sha256) do update set size = 1 returning sample_id""",
        [listing_id, page_id, "0" * 64],
    ).fetchone() or (0,)
    (first,) = conn.execute("select coalesce(max(ordinal), 0) + 1 from face").fetchone() or (0,)
    matrix_id = context.keys.matrix_id(D)
    expires = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    with conn.cursor().copy(
        """copy face (sample_id, ordinal, x, y, width, height, landmarks, score, sharpness, pack, matrix_id, template,
                      outcome, expires_at, state) from stdin"""
    ) as copy:
        for at, vector in enumerate(vectors.astype("<f4")):
            copy.write_row((sample_id, first + at, 0, 0, 50, 50, [0.0] * 10, 0.9, 50, "opencv-zoo", matrix_id,
                            vector.tobytes(), "unmatched", expires, "done"))  # fmt: skip
    ids = [row[0] for row in conn.execute("select face_id from face where ordinal >= %s order by 1", [first])]
    keep_fresh_faces(conn, ids)
    return np.array(ids, np.int64)


def template_of(context: Context, subject_id: UUID) -> Vectors:
    rows = list_live_templates(context.conn, "opencv-zoo", list(range(1, 100)))
    (row,) = [row for row in rows if row.subject_id == subject_id]
    return np.frombuffer(open_vector(context.keys, row), "<f4").astype(np.float32)


def build(context: Context, face_ids: Ids) -> int:
    segment_id = write_segment(context, [], face_ids.tolist())
    assert segment_id is not None
    return segment_id


def hunt(context: Context) -> None:
    while hunt_faces(context):
        pass


def matched(conn: Connection, subject_id: UUID) -> list[int]:
    rows = conn.execute("select face_id from match where subject_id = %s order by face_id", [subject_id]).fetchall()
    return [face_id for (face_id,) in rows]


def draw_strangers(context: Context, people: list[UUID], count: int, seed: int = 1) -> Vectors:
    """Unit vectors that score 0 with these people: of drawn ones, one in some hundred thousand is above the cut."""
    basis = np.linalg.qr(np.stack([template_of(context, each) for each in people], axis=1))[0]
    rows = unit_rows(count, seed)
    rows = rows - rows @ basis @ basis.T
    made: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return made


def plant(context: Context, subject_id: UUID, scores: list[float]) -> Vectors:
    vector = template_of(context, subject_id)
    return np.stack([near(vector, score, 100 + at) for at, score in enumerate(scores)])


def test_who_enrols_is_found_among_faces_of_segments_and_of_none(context: Context) -> None:
    """From enrolment to alert: two faces above the cut in a segment, one in none; a near miss is none."""
    conn = context.conn
    subject_id = enrol_person(context, "astronaut", confirmed=False)
    confirm_consent(conn, subject_id)
    planted = plant(context, subject_id, [0.9, 0.8, 0.3])
    withdraw_hunts(conn)
    first = add_faces(context, np.concatenate([draw_strangers(context, [subject_id], 500), planted[:1], planted[2:]]))
    build(context, first)
    second = add_faces(
        context, np.concatenate([draw_strangers(context, [subject_id], 200, 2), planted[1:2]]), name="other"
    )
    hunt(context)
    assert matched(conn, subject_id) == sorted([int(first[500]), int(second[200])])
    assert count(conn, "select count(*) from alert where subject_id = %s", subject_id) == 2, "one a dataset"
    assert count(conn, "select count(*) from delivery where kind = 'alert'") == 2
    (row,) = list_hunts(conn, 10, open_only=False)
    assert (row.state, row.parts, row.parts_done, row.faces, row.matches) == ("done", 2, 2, 703, 2)
    assert row.finished_at is not None
    scores = conn.execute("select score from match order by score").fetchall()
    assert [round(score, 4) for (score,) in scores] == [0.8, 0.9]
    kept = count(conn, "select count(*) from face where outcome = 'matched' and template is not null")
    assert kept == 2, "what was matched is kept until its days are over"
    hunt(context)
    assert count(conn, "select count(*) from match") == 2


def withdraw_hunts(conn: Connection) -> None:
    conn.execute("delete from hunt")


def test_a_hunt_begins_by_itself_when_a_template_becomes_live(context: Context) -> None:
    subject_id = enrol_person(context, "astronaut", confirmed=False)
    assert hunt_faces(context) == 0
    assert list_hunts(context.conn, 10, open_only=False) == []
    confirm_consent(context.conn, subject_id)
    hunt(context)
    (row,) = list_hunts(context.conn, 10, open_only=False)
    assert (row.state, row.faces) == ("done", 0)


def test_faces_that_come_into_a_segment_during_a_hunt_are_searched(context: Context) -> None:
    conn = context.conn
    subject_id = enrol_person(context, "astronaut")
    planted = plant(context, subject_id, [0.9, 0.85])
    ids = add_faces(context, np.concatenate([draw_strangers(context, [subject_id], 20), planted[:1]]))
    assert begin_hunts(conn, "opencv-zoo", context.keys.matrix_id(D)) == 1
    first = build(context, ids)
    later = add_faces(context, np.concatenate([draw_strangers(context, [subject_id], 5, 3), planted[1:]]))
    rows = [row for row in segment_rows(context) if row.segment_id == first]
    joined = write_segment(context, rows, later.tolist())
    parts = conn.execute("select segment_id from hunt_part order by segment_id nulls last").fetchall()
    assert parts == [(joined,), (None,)]
    hunt(context)
    assert matched(conn, subject_id) == [int(ids[20]), int(later[5])]


def segment_rows(context: Context) -> list[SegmentRow]:
    return list(list_segments(context.conn, "opencv-zoo", context.keys.matrix_id(D)))


def test_a_withdrawn_person_is_not_hunted_and_their_hunt_ends(context: Context) -> None:
    conn = context.conn
    subject_id = enrol_person(context, "astronaut")
    build(context, add_faces(context, plant(context, subject_id, [0.9])))
    begin_hunts(conn, "opencv-zoo", context.keys.matrix_id(D))
    withdraw_consent(conn, subject_id)
    hunt(context)
    assert count(conn, "select count(*) from match") == 0
    (row,) = list_hunts(conn, 10, open_only=False)
    assert row.state == "ended"
    take_turn(context, Step.ERASE_SUBJECTS)
    assert list_hunts(conn, 10, open_only=False) == [], "the erasure takes the hunt with the template"


def test_a_template_kept_before_there_was_a_space_is_hunted_as_it_would_be_kept_today(context: Context) -> None:
    """As after an upgrade."""
    conn = context.conn
    subject_id = enrol_person(context, "astronaut")
    planted = plant(context, subject_id, [0.9])
    withdraw_hunts(conn)
    (row,) = [each for each in list_live_templates(conn, "opencv-zoo", [1, 2]) if each.subject_id == subject_id]
    plain = load_keys(context.settings.key_file)
    vector = unit_rows(1, 5)
    keyed = plain.protect_templates(vector)
    now = context.keys.protect_templates(vector)[0]
    sealed = encrypt(plain.unwrap_key(row.wrapped, str(row.key_id)), keyed.astype("<f4").tobytes(),
                     b"template:%d" % row.template_id)  # fmt: skip
    conn.execute("update template set sealed = %s, matrix_id = %s", [sealed, plain.matrix_id(D)])
    tick_gallery(conn)
    found, _ = add_faces(context, np.stack([near(now, 0.9, 3), planted[0]])).tolist()
    hunt(context)
    assert matched(conn, subject_id) == [found]
    (hunted,) = list_hunts(conn, 10, open_only=False)
    assert hunted.state == "done"


def test_a_hunt_whose_template_is_of_another_key_ends(context: Context) -> None:
    conn = context.conn
    enrol_person(context, "astronaut")
    withdraw_hunts(conn)
    conn.execute("update template set matrix_id = 'another'")
    add_faces(context, unit_rows(3))
    hunt(context)
    (hunted,) = list_hunts(conn, 10, open_only=False)
    assert (hunted.state, hunted.quarantined) == ("ended", 1)
    assert list_hunts(conn, 10, open_only=True) == []


def test_a_paused_hunt_waits_and_goes_on(context: Context) -> None:
    conn = context.conn
    subject_id = enrol_person(context, "astronaut")
    planted = plant(context, subject_id, [0.9, 0.8])
    for at in range(2):
        build(context, add_faces(context, planted[at : at + 1]))
    begin_hunts(conn, "opencv-zoo", context.keys.matrix_id(D))
    (row,) = list_hunts(conn, 10, open_only=True)
    assert hunt_faces(context) == 1
    assert pause_hunt(conn, row.hunt_id)
    assert not pause_hunt(conn, row.hunt_id)
    hunt(context)
    (row,) = list_hunts(conn, 10, open_only=True)
    assert (row.state, row.parts, row.parts_done) == ("paused", 3, 1)
    assert resume_hunt(conn, row.hunt_id)
    hunt(context)
    assert len(matched(conn, subject_id)) == 2
    assert not resume_hunt(conn, row.hunt_id), "it is done"


def test_resuming_tries_again_what_had_failed_too_often(context: Context) -> None:
    conn = context.conn
    subject_id = enrol_person(context, "astronaut")
    build(context, add_faces(context, plant(context, subject_id, [0.9])))
    begin_hunts(conn, "opencv-zoo", context.keys.matrix_id(D))
    conn.execute("update hunt_part set state = 'quarantined', attempts = 5 where segment_id is not null")
    hunt(context)
    (row,) = list_hunts(conn, 10, open_only=True)
    assert (row.state, row.quarantined) == ("running", 1)
    assert resume_hunt(conn, row.hunt_id)
    hunt(context)
    assert len(matched(conn, subject_id)) == 1


@pytest.mark.parametrize("harm", ["gone", "cut", "manifest", "everything"])
def test_a_damaged_segment_is_built_from_rows_and_searched(context: Context, harm: str) -> None:
    subject_id = enrol_person(context, "astronaut")
    ids = add_faces(
        context, np.concatenate([draw_strangers(context, [subject_id], 50), plant(context, subject_id, [0.9])])
    )
    segment_id = build(context, ids)
    folder = context.settings.home / "segments"
    path = folder / name_file(segment_id)
    before = path.read_bytes()
    if harm == "cut":
        path.write_bytes(before[:-1])
    elif harm == "manifest":
        (folder / name_manifest(segment_id)).unlink()
    else:
        for each in folder.iterdir() if harm == "everything" else [path]:
            each.unlink()
    hunt(context)
    assert matched(context.conn, subject_id) == [int(ids[-1])]
    assert path.read_bytes() == before


def test_100_flipped_bits_are_100_segments_built_anew(context: Context) -> None:
    segment_id = build(context, add_faces(context, unit_rows(60)))
    folder, chance = context.settings.home / "segments", random.Random(11)
    wanted = (folder / name_file(segment_id)).read_bytes()
    for at in range(100):
        path = folder / (name_manifest(segment_id) if at % 4 == 0 else name_file(segment_id))
        data = bytearray(path.read_bytes())
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        segment = open_segment(context, segment_id)
        assert segment is not None
        assert len(segment) == 60
        assert (folder / name_file(segment_id)).read_bytes() == wanted


def test_expired_faces_leave_files_with_their_segment_or_within_the_hour(context: Context) -> None:
    conn = context.conn
    subject_id = enrol_person(context, "astronaut")
    planted = plant(context, subject_id, [0.9, 0.8, 0.7])
    old = add_faces(context, planted[:1], days=10)
    both = np.concatenate([add_faces(context, planted[1:2], days=10), add_faces(context, planted[2:], days=11)])
    first, second = build(context, old), build(context, both)
    conn.execute("update face set expires_at = now() - interval '2 hours' where face_id = any(%s)",
                 [[int(old[0]), int(both[0])]])  # fmt: skip
    conn.execute("update segment set first_expires = now() - interval '2 hours'")
    conn.execute("update segment set last_expires = now() - interval '2 hours' where segment_id = %s", [first])
    folder = context.settings.home / "segments"
    assert segments_are_due(conn)
    drop_expired(context)
    assert build_segments(context) == 1
    assert not segments_are_due(conn)
    names = sorted(path.name for path in folder.iterdir() if path.name.startswith("segment"))
    assert len(names) == 2
    assert name_file(first) not in names
    assert name_file(second) not in names, "the one that held an expired face was written anew"
    files = b"".join((folder / name).read_bytes() for name in names)
    assert planted[0].tobytes() not in files
    assert planted[1].tobytes() not in files
    assert planted[2].tobytes() in files
    hunt(context)
    assert matched(conn, subject_id) == [int(both[1])]


def test_a_face_that_expired_is_not_matched_even_while_its_file_is_there(context: Context) -> None:
    subject_id = enrol_person(context, "astronaut")
    ids = add_faces(context, plant(context, subject_id, [0.9, 0.8]))
    build(context, ids)
    context.conn.execute("update face set expires_at = now() - interval '1 second' where face_id = %s", [int(ids[0])])
    hunt(context)
    assert matched(context.conn, subject_id) == [int(ids[1])]


def test_wrong_vectors_are_left_out_of_segments(context: Context) -> None:
    vectors = unit_rows(6)
    vectors[1], vectors[2], vectors[3] = np.nan, 0.0, vectors[3] * 3
    ids = add_faces(context, vectors)
    context.conn.execute("update face set matrix_id = 'other' where face_id = %s", [int(ids[4])])
    segment_id = build(context, ids)
    segment = context.segments.open(segment_id)
    assert segment.ids.tolist() == [int(ids[0]), int(ids[5])]
    assert count(context.conn, "select count(*) from fresh_face") == 0


def test_small_segments_of_a_day_grow_together(context: Context) -> None:
    conn = context.conn
    for at in range(3):
        add_faces(context, unit_rows(40, at), days=5)
        conn.execute("update fresh_face set since = now() - interval '1 day'")
        assert segments_are_due(conn)
        assert build_segments(context) == 1
    assert conn.execute("select faces from segment").fetchall() == [(120,)]
    add_faces(context, unit_rows(10, 9), days=9)
    conn.execute("update fresh_face set since = now() - interval '1 day'")
    build_segments(context)
    assert conn.execute("select faces from segment order by faces").fetchall() == [(10,), (120,)]
    assert not segments_are_due(conn)
    assert build_segments(context) == 0


def test_a_file_without_a_row_is_removed(context: Context) -> None:
    segment_id = build(context, add_faces(context, unit_rows(5)))
    folder = context.settings.home / "segments"
    for name in (name_file(99), name_manifest(99), ".segment-00000099.faces.ab.tmp"):
        (folder / name).write_bytes(b"left by a kill")
    build_segments(context)
    names = {path.name for path in folder.iterdir()} - {".lock"}
    assert names == {name_file(segment_id), name_manifest(segment_id)}


def test_a_face_that_three_people_would_share_is_held(context: Context) -> None:
    """Two were found in it before; the third makes it nobody."""
    conn = context.conn
    people = [enrol_person(context, name, confirmed=False) for name in ("astronaut", "t1-1", "t1-2")]
    for each in people:
        confirm_consent(conn, each)
    total = np.stack([template_of(context, each) for each in people]).sum(axis=0)
    for each in people:
        conn.execute("update consent set confirmed_at = null where subject_id = %s", [each])
    build(context, add_faces(context, (total / np.linalg.norm(total))[None]))
    context.settings = context.settings.replace("matching", false_alerts_per_day=1e6, faces_per_day=1)
    held = []
    for each in people:
        confirm_consent(conn, each)
        hunt(context)
        held.append(conn.execute("select held from match where subject_id = %s", [each]).fetchone())
    assert held == [(None,), (None,), ("hub_suspect",)]
    assert count(conn, "select count(*) from alert") == 2


def test_faces_of_a_retro_source_wait_for_a_hunt_and_ephemeral_ones_do_not(context: Context) -> None:
    """The whole way: samples are embedded, matched with nobody, kept; then the person enrols."""
    conn = context.conn
    add_sample(context, make_listing(conn, "kept", policy=Policy.RETRO, days=30), portrait("astronaut", 80))
    add_sample(context, make_listing(conn, "dropped"), portrait("t1-1", 80))
    run_steps(context)
    assert count(conn, "select count(*) from fresh_face") >= 1
    kept, other = enrol_person(context, "astronaut"), enrol_person(context, "t1-1")
    hunt(context)
    assert len(matched(conn, kept)) == 1
    assert matched(conn, other) == []
    assert count(conn, "select count(*) from delivery where kind = 'alert'") == 1


# -- several processes ------------------------------------------------------------------------------------------------

SCRIPT = """
import sys, time
from pathlib import Path
from vault.settings import Servers, Settings
from workers.context import Context
from workers import hunt_faces as step
step.BATCH = 1
settings = Settings(home=Path(sys.argv[1]), key_file=Path(sys.argv[2]),
                    servers=Servers(database_url=sys.argv[3], redis_url=sys.argv[4]))
context = Context(settings)
print("ready", flush=True)
while True:
    if step.hunt_faces(context):
        print("part", flush=True)
    else:
        time.sleep(0.05)
"""


def start_hunter(settings: Settings, home: Path) -> "subprocess.Popen[str]":
    servers = settings.servers
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(home), str(settings.key_file), servers.database_url, servers.redis_url],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def test_two_processes_with_separate_caches_share_a_hunt_and_killing_one_loses_nothing(
    context: Context, tmp_path: Path
) -> None:
    conn = context.conn
    people = [enrol_person(context, name) for name in ("astronaut", "t1-1")]
    wanted: dict[UUID, list[int]] = {each: [] for each in people}
    for at in range(12):
        planted = np.stack([near(template_of(context, each), 0.9, 50 * at + place)
                            for place, each in enumerate(people)])  # fmt: skip
        name = f"source-{at % 4}"  # a person in more datasets at once would be held as a flood
        ids = add_faces(context, np.concatenate([draw_strangers(context, people, 300, at), planted]), name=name)
        build(context, ids)
        for place, each in enumerate(people):
            wanted[each].append(int(ids[300 + place]))
    homes = [context.settings.home, tmp_path / "another"]
    hunters = [start_hunter(context.settings, home) for home in homes]
    try:
        assert hunters[0].stdout is not None
        while hunters[0].stdout.readline() != "part\n":
            pass
        hunters[0].send_signal(signal.SIGKILL)
        hunters[0].wait()
        conn.execute("update hunt_part set lease_until = now() where state = 'running'")  # 30 s are long for a test
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and list_hunts(conn, 10, open_only=True):
            time.sleep(0.1)
    finally:
        for hunter in hunters:
            hunter.kill()
            hunter.wait()
    assert {row.state for row in list_hunts(conn, 10, open_only=False)} == {"done"}
    for each in people:
        assert matched(conn, each) == wanted[each], "nothing lost, nothing twice"
    assert count(conn, "select count(*) from match where held is null") == 24
    assert count(conn, "select count(*) from alert") == 8
    assert count(conn, "select count(*) from delivery where kind = 'alert'") == 8
    assert list((tmp_path / "another/segments").glob("*.faces")), "the second had a cache of its own"


def test_the_command_lists_pauses_and_resumes(context: Context, capsys: pytest.CaptureFixture[str]) -> None:
    from cli.__main__ import make_parser
    from cli.commands import hunts
    from vault.errors import StoreError

    def say(*words: str) -> str:
        assert hunts.run(make_parser(("hunts",)).parse_args(["hunts", *words]), context.settings) == 0
        return capsys.readouterr().out

    subject_id = enrol_person(context, "astronaut")
    build(context, add_faces(context, plant(context, subject_id, [0.9])))
    begin_hunts(context.conn, "opencv-zoo", context.keys.matrix_id(D))
    (row,) = list_hunts(context.conn, 10, open_only=True)
    assert "running: 0 of 2 parts" in say()
    assert "is paused" in say("pause", str(row.hunt_id))
    assert "paused: 0 of 2 parts" in say("list")
    with pytest.raises(StoreError):
        say("pause", str(row.hunt_id))
    assert "goes on" in say("resume", str(row.hunt_id))
    hunt(context)
    assert say().startswith("0 hunts")
    assert '"matches": 1' in say("--all", "--json")
    for words in (("pause",), ("resume", "99")):
        with pytest.raises(StoreError):
            say(*words)
