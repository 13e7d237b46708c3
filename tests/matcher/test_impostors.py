"""What counts as a pair of strangers among harvested faces, and what does not."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from matcher.calibration import FEWEST_ERRORS, find_score, read_calibration
from matcher.impostors import describe_counts, list_rates, tally_strangers, write_rates
from vault.keys import Vectors

D = 24


def draw(count: int, seed: int) -> Vectors:
    rows = np.random.default_rng(seed).standard_normal((count, D))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 60), st.integers(1, 5), st.integers(0, 99))
def test_every_ordered_pair_is_counted_or_left_out(count: int, datasets: int, seed: int) -> None:
    chance = np.random.default_rng(seed)
    found = tally_strangers(
        draw(count, seed), np.ones(count, np.float32), chance.integers(0, datasets, count),
        chance.integers(0, count, count), one_person=0.6,
    )  # fmt: skip
    assert found.counts.sum() + sum(found.left_out.values()) == count * count
    assert found.left_out["one_dataset"] >= count, "nobody is compared with themselves"
    assert len(found.tops.scores) <= found.counts.sum()


def test_one_person_sold_twice_is_left_out_and_named_nowhere() -> None:
    vectors = draw(200, 1)
    vectors[150] = vectors[3]
    datasets = np.repeat([0, 1], 100)
    found = tally_strangers(vectors, np.ones(200, np.float32), datasets, np.arange(200), one_person=0.9)
    assert not hasattr(found, "suspects"), "which faces are one person's is told to nobody"
    assert found.left_out == {"one_dataset": 20_000, "one_picture": 0, "one_person": 2}
    assert found.tops.scores[0] < 0.9


def test_a_picture_that_is_offered_twice_is_no_pair() -> None:
    vectors = draw(10, 2)
    found = tally_strangers(vectors, np.ones(10, np.float32), np.arange(10), np.zeros(10, np.int64), one_person=0.9)
    assert found.counts.sum() == 0


def test_the_record_made_of_it_gives_cuts() -> None:
    found = tally_strangers(draw(600, 3), np.ones(600, np.float32), np.arange(600) % 7, np.arange(600), one_person=0.95)
    calibration = read_calibration(
        {
            "format": 2, "origin": "own", "pack": "p", "recogniser_sha256": "x", "space": "plain",
            "data": {"name": "n", "caveat": "c", "people": 600}, "impostor": describe_counts(found.counts),
            "rates": write_rates(list_rates(found.tops, FEWEST_ERRORS)),
        }
    )  # fmt: skip
    score, rate = find_score(calibration, 1e-3)
    assert 0.4 < score < 0.8
    assert rate <= 1e-3
    assert calibration.rates[-1].rate < calibration.lowest_rate
