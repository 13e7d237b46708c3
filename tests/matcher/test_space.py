"""The space in which faces are compared: what goes in comes out again, and one person's pictures come closer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matcher.calibration import load_calibration
from matcher.space import FACTOR_RANGE, Space, load_space, make_space, parse_space, plain_space, train_space
from vault.errors import CalibrationError, VectorError
from vault.keys import Vectors
from workers.faces.packs import opencv_zoo

D = 16


def draw_people(people: int, pictures: int, seed: int) -> tuple[Vectors, np.ndarray]:
    """Unit vectors with a common part, of people whose pictures differ mostly in the first four directions."""
    chance = np.random.default_rng(seed)
    centres = np.repeat(chance.standard_normal((people, D)), pictures, axis=0) + 0.8
    noise = chance.standard_normal((people * pictures, D)) * np.where(np.arange(D) < 4, 1.5, 0.2)
    vectors = centres + noise
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), np.repeat(
        np.arange(people), pictures
    )


def train(seed: int = 1) -> Space:
    vectors, people = draw_people(60, 4, seed)
    mean, matrix, usual = train_space(vectors, people, np.full(len(people), 12.0, np.float32))
    return make_space(mean, matrix, usual, pack="p", recogniser_sha256="x")


def separate(vectors: Vectors, people: np.ndarray) -> float:
    """How far the mean scores of mates and strangers lie apart, in standard deviations of strangers' scores."""
    scores = vectors @ vectors.T
    same = people[:, None] == people[None]
    mates, strangers = scores[same & ~np.eye(len(scores), dtype=bool)], scores[~same]
    return float((mates.mean() - strangers.mean()) / strangers.std())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_what_is_converted_can_be_taken_back(seed: int) -> None:
    space = train()
    vectors, _ = draw_people(5, 2, seed)
    assert np.abs(space.revert(space.convert(vectors)) - vectors).max() < 1e-4
    assert np.abs(np.linalg.norm(space.convert(vectors), axis=1) - 1).max() < 1e-5


def test_people_who_were_not_seen_are_told_apart_better() -> None:
    space = train(1)
    vectors, people = draw_people(60, 4, 2)
    assert separate(space.convert(vectors), people) > 1.2 * separate(vectors, people)


def test_rows_without_a_vector_stay_so() -> None:
    assert not train().convert(np.zeros((2, D), np.float32)).any()


def test_a_vector_of_another_length_is_refused() -> None:
    with pytest.raises(VectorError):
        train().convert(np.ones((1, D + 1), np.float32))


def test_the_plain_space_changes_nothing() -> None:
    vectors, _ = draw_people(3, 1, 3)
    assert plain_space().convert(vectors) is vectors
    assert load_space("insightface:none").is_plain


def test_a_short_raw_vector_lifts_the_score_a_little() -> None:
    factors = train().weigh(np.array([0.0, 12.0, 6.0, 1.0, 14.0, 100.0], np.float32))
    assert factors[:2].tolist() == [1.0, 1.0]
    assert 1 < factors[2] <= factors[3] == pytest.approx(FACTOR_RANGE[1])
    assert factors[5] == pytest.approx(FACTOR_RANGE[0])
    assert factors[4] < 1


def test_a_space_needs_somebody_with_two_pictures() -> None:
    vectors, people = draw_people(5, 1, 4)
    with pytest.raises(VectorError):
        train_space(vectors, people, np.ones(5, np.float32))


SHORT = '{"format": 1, "pack": "p", "recogniser_sha256": "x", "usual_length": 1, "mean": "AAAA", "matrix": "AAAA"}'


@pytest.mark.parametrize("text", ["", "{}", SHORT])
def test_a_damaged_record_is_refused(text: str) -> None:
    with pytest.raises(CalibrationError):
        parse_space(text)


def test_the_shipped_space_belongs_to_the_shipped_models_and_calibration() -> None:
    space = load_space("opencv-zoo")
    assert space.recogniser_sha256 == opencv_zoo().recogniser.sha256
    assert load_calibration("opencv-zoo").space_id == space.space_id
    assert set(space.record) == {
        "format",
        "pack",
        "recogniser_sha256",
        "data",
        "method",
        "length_power",
        "usual_length",
        "mean",
        "matrix",
    }
    assert "LFW" in space.record["data"]["name"]
