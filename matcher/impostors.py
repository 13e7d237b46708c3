"""How strangers score among harvested faces: in come vectors and datasets, out come histogram, highest scores, and what
was left out.

Nobody knows who these people are. So pairs within one dataset (linked listings are one) are left out, since it shows
one person many times; pictures that look alike; and pairs above `one_person`, taken for one person, because one person
sold twice looks like an impostor. They are counted, not named: which faces are one person's is a search. What is left
can only be too low: the record says so.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from matcher.tails import Rate, Tops, measure_rates
from vault.keys import Vectors

LOW, WIDTH, BINS = -1.0, 0.001, 2000
STEP = 0.005
MOST_TOPS = 60_000  # scores that are looked at one by one
LOWEST_RATE = 1e-13
BLOCK = 1000

Counts = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Strangers:
    """`counts` in bins of WIDTH from LOW; `left_out`: how many ordered pairs, by why."""

    counts: Counts
    tops: Tops
    left_out: dict[str, int]


def count_scores(scores: Scores) -> Counts:
    return np.asarray(np.histogram(np.clip(scores, LOW, -LOW - 1e-6), BINS, (LOW, LOW + BINS * WIDTH))[0], np.int64)


def list_counts(counts: Counts) -> list[list[int]]:
    return [[index, int(count)] for index, count in enumerate(counts) if count]


def describe_counts(counts: Counts) -> dict[str, Any]:
    """A histogram as it stands in a record."""
    return {"low": LOW, "width": WIDTH, "bins": BINS, "pairs": int(counts.sum()), "counts": list_counts(counts)}


def list_rates(tops: Tops, fewest: int) -> list[Rate]:
    """Rates from the lowest of the highest scores upwards."""
    lowest = np.ceil(tops.scores[-1] / STEP) * STEP
    grid = [round(float(score), 4) for score in np.arange(lowest, 1.0, STEP)]
    return [each for each in measure_rates(tops, grid, fewest=fewest) if each.rate > LOWEST_RATE]


def write_rates(rates: list[Rate]) -> list[list[float]]:
    return [[each.score, *(float(f"{value:.3g}") for value in (each.rate, each.low, each.high)), each.counted]
            for each in rates]  # fmt: skip


def tally_strangers(
    vectors: Vectors, factors: npt.NDArray[np.float32], datasets: Counts, pictures: Counts, *, one_person: float
) -> Strangers:
    """(n, d) f32 unit vectors, (n,) factors of each as a probe, (n,) datasets, (n,) groups of pictures that look alike.
    Every ordered pair of faces of two datasets and two pictures counts once. Intervals resample faces, which here stand
    for people."""
    counts = np.zeros(BINS, np.int64)
    tops: list[tuple[Scores, Counts, Counts]] = []
    left_out = {"one_dataset": 0, "one_picture": 0, "one_person": 0}
    numbers = np.arange(len(vectors))
    for start in range(0, len(vectors), BLOCK):
        rows = numbers[start : start + BLOCK]
        scores = np.asarray((vectors[rows] @ vectors.T) * factors[rows][:, None], np.float64)
        linked = datasets[rows][:, None] == datasets[None]
        alike = (pictures[rows][:, None] == pictures[None]) & ~linked
        same = (scores >= one_person) & ~linked & ~alike
        for name, mask in (("one_dataset", linked), ("one_picture", alike), ("one_person", same)):
            left_out[name] += int(mask.sum())
        fair = ~(linked | alike | same)
        counts += count_scores(scores[fair])
        strangers = np.where(fair, scores, -9.0)
        keep = min(MOST_TOPS // 10, strangers.size)
        cut = max(float(np.partition(strangers.ravel(), -keep)[-keep]), LOW)
        a, b = np.nonzero(strangers >= cut)
        tops.append((strangers[a, b], rows[a], b))
    found, one, other = (np.concatenate(parts) for parts in zip(*tops, strict=True))
    order = np.argsort(-found, kind="stable")[:MOST_TOPS]
    return Strangers(
        counts=counts,
        tops=Tops(
            scores=found[order], left=one[order], right=other[order], pairs=int(counts.sum()), people=len(vectors)
        ),
        left_out=left_out,
    )
