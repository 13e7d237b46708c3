"""Pictures on real rows: what is truncated is matched and marked, what is crowded is counted and lets others pass."""

import numpy as np
import pytest

from cli.commands.enrol import enrol
from tests.fakes import Crowd
from tests.samples import (
    add_sample,
    count,
    draw_picture,
    encode,
    enrol_person,
    make_listing,
    png,
    portrait,
    run_steps,
)
from vault.records import Policy
from workers import embed_samples as embed_module
from workers.context import Context
from workers.embed_samples import embed_samples
from workers.make_templates import make_templates


def test_a_truncated_picture_is_matched_and_marked(context: Context) -> None:
    enrol_person(context, "astronaut")
    listing_id = make_listing(context.conn)
    data = portrait("astronaut", 60)
    cut = [add_sample(context, listing_id, data[:-2]), add_sample(context, listing_id, data[: len(data) * 7 // 10])]
    run_steps(context)
    rows = context.conn.execute("select sha256, state from sample").fetchall()
    assert dict(rows) == dict.fromkeys(cut, "done")
    assert count(context.conn, "select count(*) from sample where truncated") == 2
    assert count(context.conn, "select count(*) from match where alert_id is not null") == 2
    assert count(context.conn, "select count(*) from alert") == 1


def test_pictures_that_were_cut_alike_are_not_taken_for_one(context: Context) -> None:
    """A tenth of a picture above much grey: its perceptual hash would say nothing of what is in it."""
    listings = [make_listing(context.conn, f"source-{number}") for number in (1, 2)]
    for number, listing_id in enumerate(listings):
        for seed in range(3):
            data = encode(draw_picture(10 * number + seed), 90)
            add_sample(context, listing_id, data[: len(data) // 4])
            add_sample(context, listing_id, encode(draw_picture(100 * number + seed), 90)[:-2])
    run_steps(context)
    assert count(context.conn, "select count(*) from sample where truncated and state = 'done'") == 12
    assert count(context.conn, "select count(*) from picture_hash") == 6
    assert count(context.conn, "select count(distinct dataset_id) from listing") == 2


def test_a_picture_with_a_thousand_faces_ends_its_batch_and_the_rest_is_not_charged(context: Context) -> None:
    listing_id = make_listing(context.conn)
    for number in range(3):
        add_sample(context, listing_id, png(64, 64, "RGB", (number, 0, 0)))
    detector, context.engine.detector = context.engine.detector, Crowd(1300)
    try:
        assert embed_samples(context) == 1
        rows = context.conn.execute("select state, attempts, faces_left_out from sample order by sample_id").fetchall()
        assert rows == [("done", 1, 300), ("ready", 0, 0), ("ready", 0, 0)]
        assert count(context.conn, "select count(*) from face") == 1000
        assert embed_samples(context) == embed_samples(context) == 1
        assert embed_samples(context) == 0
    finally:
        context.engine.detector = detector
    assert count(context.conn, "select sum(faces_left_out) from sample") == 900


@pytest.mark.parametrize("policy", Policy)
def test_faces_embedded_in_parts_are_those_embedded_at_once(
    context: Context, monkeypatch: pytest.MonkeyPatch, policy: Policy
) -> None:
    listing_id = make_listing(context.conn, policy=policy, days=9)
    names = ["astronaut", "t1-1", "t1-2", "t1-3"]
    query = """select sample.sha256, ordinal, x, y, template, face.length from face join sample using (sample_id)
               order by 1, 2"""
    found = []
    for most in (1024, 1):
        monkeypatch.setattr(embed_module, "PART_VIEWS", most)
        for name in names:
            add_sample(context, listing_id, portrait(name))
        assert embed_samples(context) == len(names)
        found.append(context.conn.execute(query).fetchall())
        context.conn.execute("delete from face")
        context.conn.execute("delete from sample")
    (first, second) = ([row[:4] for row in rows] for rows in found)
    assert first == second
    pairs = [(np.frombuffer(a[4], "<f4"), np.frombuffer(b[4], "<f4")) for a, b in zip(*found, strict=True)]
    assert min(float(a @ b) for a, b in pairs) > 0.999


def test_an_enrolment_photo_that_lacks_its_last_bytes_is_taken(context: Context) -> None:
    photo = portrait("astronaut")[:-2]
    enrol(context.conn, context.keys, context.settings, "x@test.example", photo, recorded_by="test")
    assert make_templates(context) == 1
    assert context.conn.execute("select state from template").fetchone() == ("done",)
