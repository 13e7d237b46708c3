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
class Hits:
    """Pairs at or above the cut, by probe, then row, with their cosine similarity."""

    probe: Rows
    row: Rows
    score: Scores

    def __len__(self) -> int:
        return len(self.row)


def search(codes: Codes, vectors: Vectors, probes: Vectors, cut: float | Floats, *, dead: Mask | None = None) -> Hits:
    """Every pair of (m, d) unit probes and (n, d) unit vectors at or above the cut, one for all or (m,) of each probe,
    but for rows marked `dead`."""
    cuts = np.broadcast_to(np.asarray(cut, np.float32), len(probes))
    probe, row = find_pairs(codes, probes, cuts.astype(np.float64))
    if dead is not None and len(row):
        alive = ~dead[row]
        probe, row = probe[alive], row[alive]
    kept: list[tuple[Rows, Rows, Scores]] = []
    for at in range(0, len(row), RESCORE_PAIRS):
        some, rows = probe[at : at + RESCORE_PAIRS], row[at : at + RESCORE_PAIRS]
        score = score_pairs(probes[some], vectors[rows])
        above = score >= cuts[some]
        kept.append((some[above], rows[above], score[above]))
    if not kept:
        nothing = np.zeros(0, np.int64)
        return Hits(probe=nothing, row=nothing, score=np.zeros(0, np.float32))
    joined = [np.concatenate(column) for column in zip(*kept, strict=True)]
    order = np.lexsort((joined[1], joined[0]))
    return Hits(probe=joined[0][order], row=joined[1][order], score=joined[2][order])


def score_pairs(left: Vectors, right: Vectors) -> Scores:
    """The (n,) cosine similarities of (n, d) and (n, d) unit vectors, row by row."""
    scores: Scores = np.einsum("ij,ij->i", left, right, dtype=np.float64).astype(np.float32)
    return scores
