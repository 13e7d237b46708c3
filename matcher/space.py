"""The space in which faces are compared: in come unit vectors of a recogniser, out come those whose cosine decides.

Two photographs of one person differ more in some directions than in others, and all faces have something in common. A
space takes both out, once a vector, so that a search stays one product: y = normalise(A·(v - m)). The record holds the
mean m and the matrix A of named data: sums over thousands of people, no vector of anybody.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vault.errors import CalibrationError, VectorError
from vault.keys import Keys, Vectors

FOLDER = Path(__file__).parent / "spaces"
FORMAT = 1
# Share of the within-class covariance that is replaced by its mean variance in every direction. Less fits the people
# it is measured on, more does nothing; 0.7 to 0.9 are equal on LFW (bench/accuracy.py).
SHRINKAGE = 0.8
# score = cosine · (length / usual length)^-LENGTH_POWER, for a probe whose raw vector is that long: faces that are hard
# to read have short vectors (Meng et al. 2021, "MagFace") and low scores with everybody, mates and strangers alike.
LENGTH_POWER = 0.25
FACTOR_RANGE = (0.9, 1.2)  # of that factor; a much shorter vector is no face
QUALITY_EDGES = (0.9, 1.02)  # of a raw length to the usual one: a fifth of LFW is poor, two fifths are good
QUALITIES = ("poor", "fair", "good")
# Of the usual length. Nobody is enrolled by less: heavily blurred faces lie there, and 3 of the 5,749 people of LFW.
# (People enrolled by one below 0.8, one in a hundred, are missed in 16 % of their photos at FPIR 1 %, all in 2.2 %.)
UNCLEAR = 0.65
NO_SPACE = "plain"

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """`mean` (d,) and `matrix` (d, d) f64; a pack without a record is compared as it is, by the plain cosine."""

    space_id: str
    recogniser_sha256: str
    mean: Matrix | None
    matrix: Matrix | None
    usual_length: float
    length_power: float
    record: dict[str, Any]

    @property
    def is_plain(self) -> bool:
        return self.mean is None or self.matrix is None

    def bind(self, keys: Keys) -> Keys:
        """The keys with which templates are kept in this space."""
        return keys if self.is_plain else keys.in_space(self.space_id, self.convert)

    def convert(self, vectors: Vectors) -> Vectors:
        """(n, d) f32 unit vectors of the recogniser to (n, d) f32 unit vectors of this space. Raises VectorError for
        another d. Rows of zeros (no usable vector) stay zeros."""
        if self.mean is None or self.matrix is None:
            return vectors
        if vectors.shape[1:] != self.mean.shape:
            raise VectorError("vector_wrong_length", f"{vectors.shape[1:]} values, expected {self.mean.shape}")
        moved = (vectors.astype(np.float64) - self.mean) @ self.matrix.T
        lengths = np.linalg.norm(moved, axis=1, keepdims=True)
        usable = vectors.any(axis=1, keepdims=True) & (lengths > 0)
        return np.ascontiguousarray(np.divide(moved, lengths, out=np.zeros_like(moved), where=usable), dtype=np.float32)

    def revert(self, vectors: Vectors) -> Vectors:
        """The unit vectors that `convert` was given: v = m + t·w with w = A^-1·y and the t > 0 at which |v| = 1 (one,
        since |m| < 1). So what is stored can be brought into another space without a picture."""
        if self.mean is None or self.matrix is None:
            return vectors
        directions = np.linalg.solve(self.matrix, vectors.astype(np.float64).T).T
        a, b = (directions**2).sum(axis=1), directions @ self.mean
        t = (-b + np.sqrt(b**2 + a * (1 - self.mean @ self.mean))) / a
        return np.ascontiguousarray(self.mean + t[:, None] * directions, dtype=np.float32)

    def weigh(self, lengths: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(n,) factors of probes with raw vectors of these lengths; 1 where the length is not known (0)."""
        known = lengths > 0
        ratio = np.divide(lengths, self.usual_length, out=np.ones_like(lengths), where=known)
        return np.asarray(np.clip(ratio**-self.length_power, *FACTOR_RANGE), np.float32)

    def is_unclear(self, length: float) -> bool:
        """Is the raw vector of a face so short (0: there is none) that nobody should be enrolled by it?"""
        return not self.is_plain and length < UNCLEAR * self.usual_length


def train_space(
    vectors: Vectors, people: npt.NDArray[np.int64], lengths: npt.NDArray[np.float32], *, shrinkage: float = SHRINKAGE
) -> tuple[Matrix, Matrix, float]:
    """Mean, matrix and usual length from (n, d) f32 unit vectors, the person of each, and lengths before normalising.

    m is the mean of the people's means; A = W'^(-1/2) with the pooled within-class covariance W (Hatch, Kajarekar and
    Stolcke 2006, "Within-class covariance normalization") shrunk towards a multiple of the identity (Ledoit and Wolf
    2004), W' = (1 - s)·W + s·tr(W)/d·I, scaled so that the mean square of A's eigenvalues is 1.
    Raises VectorError where nobody has two vectors.
    """
    people = np.unique(people, return_inverse=True)[1]
    counts = np.bincount(people)
    sums = np.zeros((len(counts), vectors.shape[1]))
    np.add.at(sums, people, vectors.astype(np.float64))
    means = sums / counts[:, None]
    freedom = int((counts - 1).sum())
    if freedom == 0:
        raise VectorError("vector_wrong_length", "no person has two vectors")
    apart = vectors - means[people]
    within = apart.T @ apart / freedom
    size = len(within)
    shrunk = (1 - shrinkage) * within + shrinkage * np.trace(within) / size * np.eye(size)
    values, directions = np.linalg.eigh(shrunk)
    values /= size / (1 / values).sum()
    return means.mean(axis=0), (directions / np.sqrt(values)) @ directions.T, float(np.exp(np.log(lengths).mean()))


def make_space(
    mean: Matrix, matrix: Matrix, usual_length: float, *, length_power: float = LENGTH_POWER, **described: Any
) -> Space:
    """A space with a record of it; `described`: pack, digests, data and counts."""
    upper = matrix[np.triu_indices(len(matrix))]  # A is symmetric
    return parse_space(
        json.dumps(
            {
                "format": FORMAT,
                **described,
                "method": "less the mean, within-class covariance whitened; probe factor by raw length",
                "length_power": length_power,
                "usual_length": round(usual_length, 4),
                "mean": write_values(mean),
                "matrix": write_values(upper),
            },
            ensure_ascii=False,
        )
    )


def parse_space(text: str) -> Space:
    """A record as `make_space` writes it. Raises CalibrationError."""
    try:
        record = json.loads(text)
        if record["format"] != FORMAT:
            raise ValueError(f"format {record['format']}")
        mean, upper = read_values(record["mean"]), read_values(record["matrix"])
        matrix = np.zeros((len(mean), len(mean)))
        matrix[np.triu_indices(len(mean))] = upper
        matrix += np.triu(matrix, 1).T
        usual = float(record["usual_length"])
        if not (np.isfinite(upper).all() and mean @ mean < 1 and usual > 0 and np.linalg.eigvalsh(matrix).min() > 0):
            raise ValueError("values that cannot be")
        digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
        return Space(
            space_id=f"{record['pack']}-{digest[:12]}",
            recogniser_sha256=str(record["recogniser_sha256"]),
            mean=mean,
            matrix=matrix,
            usual_length=usual,
            length_power=float(record["length_power"]),
            record=record,
        )
    except (ValueError, KeyError, TypeError, np.linalg.LinAlgError) as exc:
        raise CalibrationError(f"a space's record is damaged: {exc}", mend="put the released file back") from exc


@lru_cache(maxsize=8)
def load_space(pack: str) -> Space:
    """The space shipped with a pack, or the plain one for a pack that has none. Raises CalibrationError."""
    path = FOLDER / f"{pack.replace(':', '_')}.json"
    if not path.exists():
        return plain_space()
    return parse_space(path.read_text(encoding="utf-8"))


def plain_space() -> Space:
    return Space(
        space_id=NO_SPACE, recogniser_sha256="", mean=None, matrix=None, usual_length=1.0, length_power=0.0, record={}
    )


def write_values(values: Matrix) -> str:
    """f32, little endian, base64."""
    return base64.b64encode(values.astype("<f4").tobytes()).decode()


def read_values(text: str) -> Matrix:
    return np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float64)


def name_quality(space: Space, length: float) -> str:
    """The bin of a probe by the length of its raw vector: poor, fair or good."""
    ratio = length / space.usual_length
    return QUALITIES[sum(ratio >= edge for edge in QUALITY_EDGES)]
