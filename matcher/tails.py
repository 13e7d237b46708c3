"""Rates that are too low to count: in come the highest scores of strangers, out come rates beyond them, with intervals.

Exceedances over a high threshold follow a generalised Pareto distribution (Pickands 1975); it is fitted by probability-
weighted moments (Hosking and Wallis 1987). Where the tail starts is a choice, so the interval includes it; and it
resamples people, not pairs, because the pairs of one person are not independent (Bolle, Ratha and Pankanti 2004).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

STARTS = (100, 200, 400, 800, 1600)  # exceedances above the threshold at which the tail may start
USUAL_START = 400
HIGHEST_SHAPE = 0.2  # a heavier tail than this is an artefact of few values: scores end at 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """The false match rate at a score, with its 95 % interval. `counted`: errors above it; 0 where it is modelled."""

    score: float
    rate: float
    low: float
    high: float
    counted: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Tops:
    """The highest impostor scores, descending, with the two people of each; `pairs` in all, `people` in all."""

    scores: Scores
    left: Numbers
    right: Numbers
    pairs: int
    people: int


def fit_tail(excess: Scores, weights: Scores) -> tuple[float, float]:
    """Shape and scale of the generalised Pareto distribution of (n,) ascending excesses with weights: with
    b0 = E[x] and a1 = E[x·(1 - F(x))], shape = 2 - b0 / (b0 - 2·a1), scale = 2·b0·a1 / (b0 - 2·a1)."""
    share = (np.cumsum(weights) - weights / 2) / weights.sum()
    b0 = float(np.average(excess, weights=weights))
    a1 = float(np.average(excess * (1 - share), weights=weights))
    spread = max(b0 - 2 * a1, 1e-12)
    shape = 2 - b0 / spread
    if shape <= HIGHEST_SHAPE:
        return shape, 2 * b0 * a1 / spread
    return HIGHEST_SHAPE, b0 * (1 - HIGHEST_SHAPE)


def exceed_tail(over: Scores, shape: float, scale: float) -> Scores:
    """Share of the tail that lies more than `over` above its start. Never quite none: a bounded tail is continued by an
    exponential one of the same scale, because the bound is the least certain of all that is fitted."""
    plain = np.exp(-over / scale)
    if abs(shape) < 1e-6:
        return plain
    inner = np.maximum(1 + shape * over / scale, 0)
    bent = np.where(inner > 0, np.maximum(inner, 1e-300) ** (-1 / shape), 0.0)
    return np.asarray(np.maximum(bent, plain**2) if shape < 0 else bent)


def model_rates(tops: Tops, grid: Scores, start: int, weights: Scores | None = None) -> Scores:
    """The rate at each score of the grid that lies in the tail (0 elsewhere). `weights` of people."""
    held = np.ones(len(tops.scores)) if weights is None else weights[tops.left] * weights[tops.right]
    above = np.cumsum(held)
    at = min(int(np.searchsorted(above, start)), len(held) - 2)
    threshold = tops.scores[at + 1]
    excess, mass = tops.scores[: at + 1][::-1] - threshold, held[: at + 1][::-1]
    used = mass > 0
    shape, scale = fit_tail(excess[used], mass[used])
    over = grid - threshold
    share = above[at] / tops.pairs
    return np.asarray(np.where(over >= 0, share * exceed_tail(np.maximum(over, 0), shape, scale), 0.0))


def measure_rates(tops: Tops, grid: Sequence[float], *, fewest: int, resamples: int = 100) -> list[Rate]:
    """A rate at each score of an ascending grid, counted where at least `fewest` errors lie above, else modelled; the
    intervals come from resampled people and, where modelled, from every start of the tail."""
    scores = np.array(grid)
    chance = np.random.default_rng(1)
    drawn = [np.bincount(chance.integers(0, tops.people, tops.people), minlength=tops.people).astype(float)
             for _ in range(resamples)]  # fmt: skip
    ascending = -tops.scores
    ends = np.searchsorted(ascending, -scores, side="right")
    starts = [start for start in STARTS if start < len(tops.scores) - 1] or [max(len(tops.scores) - 2, 1)]
    usual = min(starts, key=lambda start: abs(start - USUAL_START))
    counted_by = np.stack([np.concatenate([[0.0], np.cumsum(w[tops.left] * w[tops.right])])[ends] / tops.pairs
                           for w in drawn])  # fmt: skip
    modelled_by = np.concatenate([np.stack([model_rates(tops, scores, start, w) for w in drawn]) for start in starts])
    modelled = model_rates(tops, scores, usual)
    rates: list[Rate] = []
    for number, score in enumerate(scores.tolist()):
        errors = int(ends[number])
        source = counted_by if errors >= fewest else modelled_by
        low, high = np.percentile(source[:, number], (2.5, 97.5))
        rate = errors / tops.pairs if errors >= fewest else float(modelled[number])
        rate = min(rate, rates[-1].rate) if rates else rate  # where the model takes over it must not rise
        rates.append(Rate(score=score, rate=rate, low=float(min(low, rate)), high=float(max(high, rate)),
                          counted=errors if errors >= fewest else 0))  # fmt: skip
    return rates
