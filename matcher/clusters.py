"""Faces of one person in one dataset, as a pure function: in come the faces near the cut, out come the vector and the
factor that decide on each. A leak shows a person many times, and the mean of several pictures is nearer to that person.

The cut is that of single faces: clusters give about as many false alerts or fewer (bench/clusters.py: 0.6 to 1.1
times as many where they can be counted). The mean of the scores would need a cut of its own, and finds no more.
"""

import numpy as np
import numpy.typing as npt

from vault.keys import Vectors

# Two faces of one dataset are taken for one person where strangers' scores reach so high this rarely. On LFW 3e-6 gives
# the same (bench/clusters.py); at 1e-6 fewer people are found, at 1e-4 faces of others join and people are missed.
SAME_PERSON_RATE = 2e-6

Numbers = npt.NDArray[np.int64]
Factors = npt.NDArray[np.float32]


def pool_faces(
    vectors: Vectors, factors: Factors, datasets: Numbers, same_person: float
) -> tuple[Vectors, Factors, Numbers]:
    """(n, d) f32 unit vectors of second looks, (n,) factors and datasets to vectors and factors of the same shapes, and
    (n,) the first face of the cluster of each. A cluster has one vector, the normalised sum, and the mean factor; a
    face that is alone keeps its own, to the bit."""
    clusters = find_clusters(vectors, factors, datasets, same_person)
    pooled, weighed = vectors.copy(), factors.copy()
    for first, size in zip(*np.unique(clusters, return_counts=True), strict=True):
        if size > 1:
            rows = clusters == first
            total = vectors[rows].sum(axis=0, dtype=np.float64)
            pooled[rows] = total / np.linalg.norm(total)
            weighed[rows] = factors[rows].mean()
    return pooled, weighed, clusters


def find_clusters(vectors: Vectors, factors: Factors, datasets: Numbers, same_person: float) -> Numbers:
    """(n,) the first face of each one's cluster: faces of one dataset joined by chains of scores of at least
    `same_person` (single linkage). Takes n² memory."""
    roots = np.sqrt(factors)
    joined = ((vectors @ vectors.T) * roots[:, None] * roots >= same_person) & (datasets[:, None] == datasets)
    np.fill_diagonal(joined, val=True)
    clusters = np.arange(len(vectors))
    while True:
        nearer = np.where(joined, clusters, len(vectors)).min(axis=1, initial=len(vectors))
        if (nearer == clusters).all():
            return clusters
        clusters = nearer
