"""The first pass: in come 8-bit codes of unit vectors and probes, out come all pairs that may reach their floor.

A code c stands for the value step * (c - 127), one step for all values of an index. What that loses is measured when
the codes are made: `error` is the largest |g - g^| of any row, `reach` the largest |g^|. For a probe p that is itself
rounded to p^, Cauchy and Schwarz give |p·g - p^·g^| <= |p| error + |p - p^| reach, so a pair whose p^·g^ is more than
that below its floor cannot reach it: no hit is ever missed, and what is left is scored again from the f32 vectors.
"""

from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from matcher.products import MOST_PROBE, Bytes8, Signed8, Sums, make_product
from vault.keys import Vectors

BLOCK_SUMS = 1 << 20  # int32 sums at a time: 4 MB stay in the cache between the product and the test
LEAST_ROWS, MOST_ROWS = 256, 16384  # of a block
PROBE_BLOCK = 1000
ENCODE_ROWS = 16384
ROUNDING = 1e-5  # of f32 arithmetic in FAISS's scan, far above 128 * 2^-24
HOT_SHARE = 0.25  # of probes with something above the floor in a block; fewer are looked at one by one

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Codes:
    """(n, d) C-contiguous codes, perhaps a mapped file. `limit`: the largest absolute value they stand for."""

    values: Bytes8
    limit: float
    error: float
    reach: float

    @property
    def step(self) -> float:
        return 2 * self.limit / 255

    def cut_rows(self, start: int, stop: int) -> "Codes":
        return Codes(values=self.values[start:stop], limit=self.limit, error=self.error, reach=self.reach)


def encode(vectors: Vectors) -> Codes:
    """The codes of (n, d) f32 vectors, with the bounds of their error."""
    values = np.empty(vectors.shape, np.uint8)
    limit = max((float(np.abs(vectors[at : at + ENCODE_ROWS]).max()) for at in range(0, len(vectors), ENCODE_ROWS)),
                default=1.0) or 1.0  # fmt: skip
    step, error, reach = np.float32(2 * limit / 255), 0.0, 0.0
    for at in range(0, len(vectors), ENCODE_ROWS):
        block = vectors[at : at + ENCODE_ROWS]
        values[at : at + ENCODE_ROWS] = np.clip(np.rint(block / step) + np.float32(127), 0, 255)
        meant = (values[at : at + ENCODE_ROWS].astype(np.float32) - np.float32(127)) * np.float32(2 * limit / 255)
        error = max(error, float(np.sqrt(np.einsum("ij,ij->i", block - meant, block - meant).max())))
        reach = max(reach, float(np.sqrt(np.einsum("ij,ij->i", meant, meant).max())))
    return Codes(values=values, limit=limit, error=error * (1 + 1e-5) + 1e-6, reach=reach * (1 + 1e-5) + 1e-6)


def find_pairs(codes: Codes, probes: Vectors, floors: Floats) -> tuple[Rows, Rows]:
    """(probe, row) of every pair whose p·g is at least the probe's floor, and of some whose is not much less."""
    if not len(codes.values):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    if len(probes) == 1:
        rows = scan_codes(codes, probes[0], float(floors[0]))
        return np.zeros(len(rows), np.int64), rows
    found = [multiply_codes(codes, probes, floors, at) for at in range(0, len(probes), PROBE_BLOCK)]
    return np.concatenate([probe for probe, _ in found]), np.concatenate([row for _, row in found])


def scan_codes(codes: Codes, probe: Vectors, floor: float) -> Rows:
    """For one probe FAISS's scan of a scalar quantiser is faster than a product: it reads each code once, in f32."""
    dimension = codes.values.shape[1]
    library: Any = faiss  # its types do not know the half of it
    quantiser = library.ScalarQuantizer(dimension, library.ScalarQuantizer.QT_8bit_uniform)
    # the library takes the middle of [c, c + 1) of the range from -limit: step * (c - 127), as we do
    faiss.copy_array_to_vector(np.array([-codes.limit, 2 * codes.limit], np.float32), quantiser.trained)
    nothing = faiss.IndexFlatIP(dimension)  # scanners belong to inverted lists, which this one does not look at
    scanner = quantiser.select_InvertedListScanner(faiss.METRIC_INNER_PRODUCT, nothing, True, None, False)
    query = np.ascontiguousarray(probe, np.float32)
    scanner.set_query(faiss.swig_ptr(query))
    scanner.set_list(0, 0.0)
    found = faiss.RangeSearchResult(1)
    found.buffer_size = 4096  # pairs; 3 MB by default, for each scan
    partial = library.RangeSearchPartialResult(found)
    slack = float(np.linalg.norm(probe)) * codes.error + ROUNDING
    scanner.scan_codes_range(
        len(codes.values), faiss.swig_ptr(codes.values), None, floor - slack, partial.new_result(0)
    )
    partial.finalize()
    count = int(faiss.rev_swig_ptr(found.lims, 2)[1])
    return faiss.rev_swig_ptr(found.labels, count).astype(np.int64) if count else np.zeros(0, np.int64)


def multiply_codes(codes: Codes, probes: Vectors, floors: Floats, first: int) -> tuple[Rows, Rows]:
    """`find_pairs` for a block of probes from `first` on: one product a block of rows, tested while in the cache."""
    block = probes[first : first + PROBE_BLOCK]
    rounded, steps, slack = round_probes(codes, block)
    product, offsets = make_product(rounded), 127 * rounded.sum(axis=0, dtype=np.int64)
    least = np.ceil((floors[first : first + PROBE_BLOCK] - slack) / (steps * codes.step) + offsets).astype(np.int32)
    rows = min(max(BLOCK_SUMS // len(block), LEAST_ROWS), MOST_ROWS)
    sums = np.empty((rows, len(block)), np.int32)
    found: list[tuple[Rows, Rows]] = []
    for start in range(0, len(codes.values), rows):
        values = codes.values[start : start + rows]
        out = sums[: len(values)]
        product.multiply(values, out)
        row, probe = select_sums(out, least)
        if len(row):
            found.append((probe + first, row + start))
    return (
        np.concatenate([probe for probe, _ in found]) if found else np.zeros(0, np.int64),
        np.concatenate([row for _, row in found]) if found else np.zeros(0, np.int64),
    )


def round_probes(codes: Codes, probes: Vectors) -> tuple[Signed8, Floats, Floats]:
    """(m, d) probes as (d, m) whole numbers in [-64, 64], the step of each, and how far its scores may be off."""
    exact = probes.astype(np.float64)
    steps = np.abs(exact).max(axis=1) / MOST_PROBE
    whole = np.rint(exact / steps[:, None])
    lost = np.linalg.norm(exact - whole * steps[:, None], axis=1)
    slack = np.linalg.norm(exact, axis=1) * codes.error + lost * codes.reach + ROUNDING
    return np.ascontiguousarray(whole.T.astype(np.int8)), steps, slack


def select_sums(sums: Sums, least: npt.NDArray[np.int32]) -> tuple[Rows, Rows]:
    """(row, column) of (n, m) sums that reach their column's `least`; one cheap test where nothing does."""
    hot = np.flatnonzero(find_highest(sums) >= least)
    if not len(hot):
        return hot, hot
    dense = len(hot) > HOT_SHARE * len(least)
    above = sums >= least if dense else sums[:, hot] >= least[hot]
    row, column = np.divmod(np.flatnonzero(above), above.shape[1])  # 20 times as fast as nonzero in two dimensions
    return row, column if dense else hot[column]


def find_highest(sums: Sums) -> npt.NDArray[np.int32]:
    """The maximum of each column. Few columns are taken several rows at a time: numpy is slow on short rows."""
    n, m = sums.shape
    together = max(1, 1024 // m)
    whole = n - n % together
    highest: npt.NDArray[np.int32] = sums[whole:].max(axis=0, initial=np.iinfo(np.int32).min)
    if whole:
        folded = sums[:whole].reshape(-1, together * m).max(axis=0).reshape(together, m).max(axis=0)
        highest = np.maximum(highest, folded)
    return highest
