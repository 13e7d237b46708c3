"""Exact search: in come probes and a part of an index, out come all pairs at or above the cut, with their f32 score.

Two passes: 8-bit codes find what may be above the cut (`matcher/codes.py`), the f32 vectors decide. A score is the dot
product of the f32 vectors summed in f64 and rounded to f32, so it is the same on every machine.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from matcher.codes import Codes, Floats, Rows, find_pairs
from vault.keys import Vectors

RESCORE_PAIRS = 32768  # at a time: two gathered blocks of 16 MB

Scores = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Norm:
    """A score normalisation that is linear in the cosine s of probe i and template j:

    (probe_gain[i] + template_gain[j]) s - (probe_shift[i] + template_shift[j]), gains >= 0, their sum > 0.

    Z-norm is template_gain = 1/sigma_j, template_shift = mu_j/sigma_j, the probe's zero; T-norm the other way round;
    S-norm half of both (Matejka et al. 2017, "Analysis of score normalization in multilingual speaker recognition").
    """

    probe_gain: Floats
    probe_shift: Floats
    template_gain: Floats
    template_shift: Floats

    def floors(self, cut: float, start: int, stop: int) -> Floats:
        """For each probe, the lowest cosine with which any template of [start, stop) may reach the cut."""
        needed = cut + self.probe_shift + self.template_shift[start:stop].min()
        gains = self.template_gain[start:stop]
        floors: Floats = needed / (self.probe_gain + np.where(needed > 0, gains.max(), gains.min()))
        return floors

    def pair_floors(self, cut: float, probe: Rows, row: Rows) -> Floats:
        """For each pair, the lowest cosine with which it reaches the cut."""
        needed: Floats = cut + self.probe_shift[probe] + self.template_shift[row]
        return needed / (self.probe_gain[probe] + self.template_gain[row])

    def apply(self, cosine: Scores, probe: Rows, row: Rows) -> Scores:
        gain = self.probe_gain[probe] + self.template_gain[row]
        return (gain * cosine - (self.probe_shift[probe] + self.template_shift[row])).astype(np.float32)


@dataclass(frozen=True, kw_only=True, slots=True)
class Hits:
    """Pairs at or above the cut, by probe, then row. `score` is what was compared with the cut; `cosine` is raw."""

    probe: Rows
    row: Rows
    score: Scores
    cosine: Scores

    def __len__(self) -> int:
        return len(self.row)


def search(
    codes: Codes, vectors: Vectors, probes: Vectors, cut: float, *, dead: Mask | None = None, norm: Norm | None = None
) -> Hits:
    """Every pair of (m, d) unit probes and (n, d) unit vectors at or above the cut, but for rows marked `dead`."""
    still = np.full(len(probes), cut, np.float64)
    if norm is None:
        probe, row = find_pairs(codes, probes, lambda start, stop: still)
    else:
        probe, row = find_pairs(
            codes, probes, lambda start, stop: norm.floors(cut, start, stop),
            lambda probe, row: norm.pair_floors(cut, probe, row),
        )  # fmt: skip
    if dead is not None and len(row):
        alive = ~dead[row]
        probe, row = probe[alive], row[alive]
    kept: list[tuple[Rows, Rows, Scores, Scores]] = []
    for at in range(0, len(row), RESCORE_PAIRS):
        some, rows = probe[at : at + RESCORE_PAIRS], row[at : at + RESCORE_PAIRS]
        cosine = score_pairs(probes[some], vectors[rows])
        score = cosine if norm is None else norm.apply(cosine, some, rows)
        above = score >= np.float32(cut)
        kept.append((some[above], rows[above], score[above], cosine[above]))
    if not kept:
        nothing, none = np.zeros(0, np.int64), np.zeros(0, np.float32)
        return Hits(probe=nothing, row=nothing, score=none, cosine=none)
    joined = [np.concatenate(column) for column in zip(*kept, strict=True)]
    order = np.lexsort((joined[1], joined[0]))
    return Hits(probe=joined[0][order], row=joined[1][order], score=joined[2][order], cosine=joined[3][order])


def score_pairs(left: Vectors, right: Vectors) -> Scores:
    """The (n,) cosine similarities of (n, d) and (n, d) unit vectors, row by row."""
    scores: Scores = np.einsum("ij,ij->i", left, right, dtype=np.float64).astype(np.float32)
    return scores
