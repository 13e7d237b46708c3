"""The second look: what is near the cut is embedded again, in the space that is shipped."""

from dataclasses import replace

import numpy as np
import pytest

from tests.samples import STRANGERS, add_sample, count, enrol_person, make_listing, portrait, run_steps
from vault.blobs import blob_path
from vault.keys import Keys, Vectors, load_keys
from vault.records import Policy
from workers.build_segments import read_faces
from workers.context import Context
from workers.embed_samples import embed_samples
from workers.faces.align import Pixels
from workers.faces.engine import Engine
from workers.faces.vary import mirror_crop, vary_crop
from workers.match_faces import match_faces


def test_a_face_near_the_cut_is_looked_at_again_and_others_are_not(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    original = Engine.embed_again

    def count_looks(self: Engine, views: list[list[Pixels]]) -> object:
        looked.append(len(views))
        return original(self, views)

    enrol_person(context, "astronaut")
    monkeypatch.setattr(Engine, "embed_again", count_looks)
    listing_id = make_listing(context.conn)
    add_sample(context, listing_id, portrait("astronaut", 60))
    add_sample(context, listing_id, portrait(STRANGERS[0].name))
    run_steps(context)
    rows = context.conn.execute("select outcome, length from face order by outcome").fetchall()
    assert [outcome for outcome, _ in rows] == ["matched", "unmatched"]
    assert all(5 < length < 20 for _, length in rows)
    assert sorted(looked) == [1], "one face was near the cut"


def test_the_score_of_a_match_can_be_computed_again_from_what_is_kept(context: Context) -> None:
    enrol_person(context, "astronaut")
    add_sample(context, make_listing(context.conn), portrait("astronaut", 60))
    context.conn.execute("update source set policy = 'retro', retention_days = 9")
    run_steps(context)
    row = context.conn.execute("select match.score, template, length from match join face using (face_id)").fetchone()
    assert row is not None
    score, template, length = row
    context.gallery.refresh(context.conn)
    probe = np.frombuffer(template, "<f4").astype(np.float32)[None]
    ((candidate,),) = context.gallery.search(probe, 0.3)
    factor = context.space.weigh(np.array([length], np.float32))[0]
    assert candidate.score * factor == pytest.approx(score, abs=1e-4)


def test_pictures_of_one_person_in_one_dataset_are_decided_together(context: Context) -> None:
    enrol_person(context, "astronaut")
    listings = [
        make_listing(context.conn, name, policy=Policy.RETRO, days=9) for name in ("one-source", "other-source")
    ]
    for listing_id, quality in ((listings[0], 60), (listings[0], 20), (listings[1], 30)):
        add_sample(context, listing_id, portrait("astronaut", quality))
    run_steps(context)
    rows = context.conn.execute(
        """select listing_id, match.score, template, length from match join face using (face_id)
           join sample using (sample_id) order by listing_id"""
    ).fetchall()
    assert [row[0] for row in rows] == [listings[0], listings[0], listings[1]]
    assert rows[0][1] == rows[1][1] != rows[2][1]
    context.gallery.refresh(context.conn)
    for cluster in (rows[:2], rows[2:]):
        vectors = np.stack([np.frombuffer(template, "<f4") for _, _, template, _ in cluster])
        together = vectors.sum(axis=0, keepdims=True) / np.linalg.norm(vectors.sum(axis=0))
        ((candidate,),) = context.gallery.search(together.astype(np.float32), 0.3)
        factor = context.space.weigh(np.array([length for *_, length in cluster], np.float32)).mean()
        assert candidate.score * factor == pytest.approx(cluster[0][1], abs=1e-4)


def test_a_picture_that_is_gone_leaves_the_first_look_to_decide(context: Context) -> None:
    enrol_person(context, "astronaut")
    add_sample(context, make_listing(context.conn), portrait("astronaut", 60))
    embed_samples(context)
    (key_id,) = context.conn.execute("select key_id from blob").fetchone() or (None,)
    blob_path(context.blobs, key_id).unlink()
    assert match_faces(context) == 1
    assert count(context.conn, "select count(*) from match where held is null") == 1


def test_what_the_data_cannot_support_is_held_and_nobody_is_told(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol_person(context, "astronaut")
    add_sample(context, make_listing(context.conn), portrait("astronaut", 60))
    cut = context.cut()
    monkeypatch.setattr(Context, "cut", lambda self: replace(cut, sent_score=1.5))
    run_steps(context)
    conn = context.conn
    assert count(conn, "select count(*) from match where held = 'beyond_data' and alert_id is null") == 1
    assert count(conn, "select count(*) from alert") == 0
    assert conn.execute("select outcome from face").fetchone() == ("held",)


def test_templates_kept_before_there_was_a_space_are_still_found(context: Context) -> None:
    enrol_person(context, "astronaut")
    assert not context.space.is_plain
    plain = replace_keys(context)
    keyed = context.keys.protect_templates(unit_rows(3))
    before = plain.protect_templates(unit_rows(3))
    renewed = context.keys.renew_templates(before, plain.matrix_id(128))
    assert renewed is not None
    assert np.abs(renewed - keyed).max() < 1e-5
    assert context.keys.renew_templates(before, "0" * 16) is None
    assert context.keys.renew_templates(keyed, context.keys.matrix_id(128)) is keyed


@pytest.mark.parametrize("policy", ["ephemeral", "retro"])
def test_a_face_that_waited_since_before_there_was_a_space_is_matched(context: Context, policy: str) -> None:
    enrol_person(context, "astronaut")
    add_sample(context, make_listing(context.conn), portrait("astronaut", 60))
    context.conn.execute("update source set policy = %s, retention_days = 9", [policy])
    keys, context.__dict__["keys"] = context.keys, replace_keys(context)
    embed_samples(context)
    context.__dict__["keys"] = keys
    assert match_faces(context) == 1
    assert count(context.conn, "select count(*) from match where held is null") == 1
    assert count(context.conn, "select count(*) from face where state = 'quarantined'") == 0


def test_faces_kept_since_before_there_was_a_space_come_into_a_segment(context: Context) -> None:
    listing_id = make_listing(context.conn, policy=Policy.RETRO, days=9)
    add_sample(context, listing_id, portrait("astronaut", 60))
    keys, context.__dict__["keys"] = context.keys, replace_keys(context)
    run_steps(context)
    context.__dict__["keys"] = keys
    for made in ("gallery", "segments"):  # a process of today has never known the other key
        context.__dict__.pop(made, None)
    (face_id,) = context.conn.execute("select face_id from face").fetchone() or (0,)
    ids, vectors, _ = read_faces(context, np.array([face_id], np.int64))
    assert ids.tolist() == [face_id]
    (plain,) = context.conn.execute("select template from face").fetchone() or (b"",)
    assert np.abs(vectors[0] - np.frombuffer(plain, "<f4")).max() > 0.01
    enrol_person(context, "astronaut")
    context.gallery.refresh(context.conn)
    ((candidate,),) = context.gallery.search(np.ascontiguousarray(vectors), 0.5)
    assert candidate.score > 0.5


def replace_keys(context: Context) -> Keys:
    return load_keys(context.settings.key_file)


def unit_rows(count_: int) -> Vectors:
    rows = np.random.default_rng(1).standard_normal((count_, 128)).astype(np.float32)
    return np.ascontiguousarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def test_a_second_look_is_the_same_for_a_face_and_its_mirror_image(engine: Engine) -> None:
    from cli.demo.people import open_t1

    faces = [face.crop for face in engine.find_faces(np.asarray(open_t1())[..., ::-1]) if face.crop is not None][:2]
    vectors, lengths = engine.embed_again([[crop] for crop in faces])
    mirrored, _ = engine.embed_again([[mirror_crop(crop)] for crop in faces])
    assert np.abs(vectors - mirrored).max() < 1e-4
    assert ((lengths > 5) & (lengths < 25)).all()
    assert len(vary_crop(faces[0])) == 22
