"""Clusters: one person in one dataset, whatever the order; a face alone is as it was."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from matcher.clusters import Factors, Numbers, find_clusters, pool_faces
from vault.keys import Vectors

SAME = 0.5
SEEDS = st.integers(0, 10_000)


def draw(seed: int, count: int = 40) -> tuple[Vectors, Factors, Numbers]:
    """Several pictures of some people, in three datasets."""
    chance = np.random.default_rng(seed)
    people = chance.standard_normal((8, 32))
    rows = people[chance.integers(0, 8, count)] + chance.uniform(0.3, 1.2) * chance.standard_normal((count, 32))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit.astype(np.float32), chance.uniform(0.9, 1.2, count).astype(np.float32), chance.integers(0, 3, count)


@settings(max_examples=50, deadline=None)
@given(SEEDS)
def test_the_order_of_faces_does_not_matter(seed: int) -> None:
    vectors, factors, datasets = draw(seed)
    order = np.random.default_rng(seed).permutation(len(vectors))
    straight, mixed = (pool_faces(vectors, factors, datasets, SAME),
                       pool_faces(vectors[order], factors[order], datasets[order], SAME))  # fmt: skip
    np.testing.assert_allclose(mixed[0], straight[0][order], atol=1e-6)
    np.testing.assert_allclose(mixed[1], straight[1][order], atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(SEEDS)
def test_a_cluster_never_joins_faces_of_two_datasets(seed: int) -> None:
    vectors, factors, datasets = draw(seed)
    vectors[1:6] = vectors[0]
    clusters = pool_faces(vectors, factors, datasets, SAME)[2]
    assert (datasets[clusters] == datasets).all()
    assert (clusters[:6][datasets[:6] == datasets[0]] == 0).all(), "one picture several times is one cluster"


@settings(max_examples=50, deadline=None)
@given(SEEDS)
def test_a_face_alone_keeps_its_vector_to_the_bit(seed: int) -> None:
    vectors, factors, datasets = draw(seed)
    pooled, weighed, clusters = pool_faces(vectors, factors, datasets, SAME)
    alone = np.bincount(clusters, minlength=len(vectors))[clusters] == 1
    assert (pooled[alone] == vectors[alone]).all()
    assert (weighed[alone] == factors[alone]).all()
    assert (pool_faces(vectors, factors, np.arange(len(vectors)), SAME)[0] == vectors).all()


@settings(max_examples=50, deadline=None)
@given(SEEDS)
def test_faces_that_score_high_with_each_other_are_in_one_cluster(seed: int) -> None:
    vectors, factors, datasets = draw(seed)
    pooled, weighed, clusters = pool_faces(vectors, factors, datasets, SAME)
    roots = np.sqrt(factors)
    high = (vectors @ vectors.T) * roots[:, None] * roots >= SAME + 1e-6
    assert ((clusters[:, None] == clusters) | ~high | (datasets[:, None] != datasets)).all()
    np.testing.assert_allclose(np.linalg.norm(pooled, axis=1), 1, atol=1e-5)
    assert (pooled == pooled[clusters]).all()
    assert (weighed == weighed[clusters]).all()


def test_a_chain_is_one_cluster_however_long() -> None:
    angles = np.arange(0, 12) * 0.5
    chain = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    ones = np.ones(12, np.float32)
    order = np.random.default_rng(1).permutation(12)
    assert set(find_clusters(chain[order], ones, np.zeros(12, np.int64), 0.85)) == {0}
    assert len(set(find_clusters(chain[order], ones, np.zeros(12, np.int64), 0.95))) == 12


def test_no_faces_are_no_clusters() -> None:
    nothing = np.zeros((0, 32), np.float32)
    pooled, weighed, clusters = pool_faces(nothing, np.zeros(0, np.float32), np.zeros(0, np.int64), SAME)
    assert (len(pooled), len(weighed), len(clusters)) == (0, 0, 0)


def test_the_mean_of_noisy_pictures_is_nearer_to_the_person() -> None:
    chance = np.random.default_rng(3)
    person = chance.standard_normal(64)
    rows = person + chance.standard_normal((6, 64))
    vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    pooled = pool_faces(vectors, np.ones(6, np.float32), np.zeros(6, np.int64), 0.3)[0]
    assert (pooled @ person).min() > (vectors @ person).max()
