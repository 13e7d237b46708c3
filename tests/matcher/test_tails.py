"""Rates below those that can be counted: right where the truth is known, with intervals that hold it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matcher.tails import Tops, exceed_tail, fit_tail, measure_rates


def draw_tops(pairs: int, seed: int, people: int = 2000) -> Tops:
    """The highest 20,000 of so many exponential scores (rate 20: P(score > s) = exp(-20 s))."""
    chance = np.random.default_rng(seed)
    count = 20_000
    upper = np.sort(chance.random(count))[::-1] * count / pairs  # shares of the highest, largest share first
    scores = np.sort(-np.log(upper) / 20)[::-1]
    left, right = chance.integers(0, people, (2, count))
    return Tops(scores=scores, left=left, right=right, pairs=pairs, people=people)


def test_counted_and_modelled_rates_are_those_of_the_distribution() -> None:
    tops = draw_tops(10_000_000, 1)
    for each in measure_rates(tops, [0.4, 0.5, 0.6, 0.7, 0.8], fewest=30):
        truth = np.exp(-20 * each.score)
        assert each.counted == 0 or each.counted >= 30
        assert each.low <= truth <= each.high
        assert each.low <= each.rate <= each.high
        if each.counted:
            assert each.rate == pytest.approx(truth, rel=0.4)


def test_a_modelled_interval_holds_the_truth_a_decade_below_what_is_counted() -> None:
    held = 0
    for seed in range(20):
        (each,) = measure_rates(draw_tops(10_000_000, seed), [0.75], fewest=30, resamples=40)
        held += each.low <= np.exp(-20 * 0.75) <= each.high
    assert held >= 18


@settings(max_examples=50, deadline=None)
@given(st.floats(-0.8, 0.2), st.floats(0.005, 0.2))
def test_a_tail_falls_and_never_quite_ends(shape: float, scale: float) -> None:
    shares = exceed_tail(np.linspace(0, 0.5, 50), shape, scale)
    assert shares[0] == pytest.approx(1)
    assert (np.diff(shares) <= 1e-12).all()
    assert (shares > 0).all()


def test_an_exponential_tail_has_no_shape() -> None:
    values = np.sort(np.random.default_rng(2).exponential(0.05, 5000))
    shape, scale = fit_tail(values, np.ones(5000))
    assert abs(shape) < 0.1
    assert scale == pytest.approx(0.05, rel=0.1)
