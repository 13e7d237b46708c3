"""Exact search: whatever is drawn, the two passes find what one f64 product finds, and nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matcher.codes import PROBE_BLOCK, encode, find_pairs, scan_codes
from matcher.products import Bytes8, FloatProduct, IntegerProduct, Sums, is_exact, make_product
from matcher.search import search
from vault.keys import Vectors


def unit(rng: np.random.Generator, count: int, dimension: int, spread: float) -> Vectors:
    """Vectors about a common mean, as faces are: the smaller the spread, the higher the scores."""
    rows = rng.standard_normal((count, dimension)) * spread + np.ones(dimension)
    return np.ascontiguousarray((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32))


def exact_pairs(vectors: Vectors, probes: Vectors, cuts: np.ndarray) -> dict[tuple[int, int], float]:
    scores = (probes.astype(np.float64) @ vectors.astype(np.float64).T).astype(np.float32)
    return {(int(i), int(j)): float(scores[i, j]) for i, j in np.argwhere(scores >= cuts[:, None].astype(np.float32))}


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(0, 700),
    probes=st.integers(1, 90),
    dimension=st.sampled_from([16, 64, 128, 512]),
    spread=st.sampled_from([0.3, 1.0, 3.0, 30.0]),
    cut=st.floats(-0.2, 1.0),
    apart=st.sampled_from([0.0, 0.3]),
    buried=st.booleans(),
)
def test_search_finds_what_the_whole_product_finds(
    seed: int, rows: int, probes: int, dimension: int, spread: float, cut: float, apart: float, buried: bool
) -> None:
    rng = np.random.default_rng(seed)
    vectors, asked = unit(rng, rows, dimension, spread), unit(rng, probes, dimension, spread)
    if rows:
        asked[0] = vectors[rng.integers(rows)]
    cuts = cut + apart * rng.random(probes)
    dead = rng.random(rows) < 0.3 if buried else None
    hits = search(encode(vectors), vectors, asked, cuts if apart else cut, dead=dead)
    found = {(int(i), int(j)): float(s) for i, j, s in zip(hits.probe, hits.row, hits.score, strict=True)}
    wanted = exact_pairs(vectors, asked, cuts)
    if dead is not None:
        wanted = {pair: score for pair, score in wanted.items() if not dead[pair[1]]}
    near = {pair for pair in found.keys() ^ wanted.keys() if abs({**wanted, **found}[pair] - cuts[pair[0]]) > 1e-5}
    assert not near, "only what lies on the cut to the last bit of an f32 may differ"
    assert all(abs(found[pair] - wanted[pair]) < 1e-5 for pair in found.keys() & wanted.keys())
    assert len(found) == len(hits), "no pair twice"
    assert list(zip(hits.probe, hits.row, strict=True)) == sorted(zip(hits.probe, hits.row, strict=True))


def test_a_score_does_not_depend_on_the_way_it_was_found() -> None:
    rng = np.random.default_rng(5)
    vectors, probes = unit(rng, 900, 128, 1.0), unit(rng, 40, 128, 1.0)
    together = search(encode(vectors), vectors, probes, 0.4)
    for at in range(len(probes)):
        alone = search(encode(vectors), vectors, probes[at : at + 1], 0.4)
        assert alone.row.tolist() == together.row[together.probe == at].tolist()
        assert alone.score.tobytes() == together.score[together.probe == at].tobytes()


def test_more_probes_than_a_block_and_more_rows_than_a_block() -> None:
    rng = np.random.default_rng(6)
    vectors, probes = unit(rng, 3000, 32, 8.0), unit(rng, PROBE_BLOCK + 77, 32, 8.0)
    hits = search(encode(vectors), vectors, probes, 0.6)
    wanted = exact_pairs(vectors, probes, np.full(len(probes), 0.6))
    assert set(zip(hits.probe.tolist(), hits.row.tolist(), strict=True)) == wanted.keys()
    assert len(wanted) > 100


def test_the_first_pass_keeps_little_that_the_second_drops() -> None:
    """The bound is of use: for vectors like faces' it leaves a few times as many pairs as there are hits."""
    rng = np.random.default_rng(7)
    vectors, probes = unit(rng, 20000, 128, 3.0), unit(rng, 200, 128, 3.0)
    cut = 0.42
    hits = search(encode(vectors), vectors, probes, cut)
    first, _ = find_pairs(encode(vectors), probes, np.full(len(probes), cut))
    assert 0 < len(hits) <= len(first) < 10 * len(hits)


def test_codes_lose_no_more_than_they_say() -> None:
    rng = np.random.default_rng(8)
    vectors = unit(rng, 5000, 128, 4.0)
    codes = encode(vectors)
    meant = codes.step * (codes.values.astype(np.float64) - 127)
    assert np.linalg.norm(vectors - meant, axis=1).max() <= codes.error < 0.03
    assert np.linalg.norm(meant, axis=1).max() <= codes.reach


def test_the_scan_of_one_probe_agrees_with_the_values_of_the_codes() -> None:
    """FAISS's scalar quantiser means what `Codes` says: else the bound would be about something else."""
    rng = np.random.default_rng(9)
    vectors, probe = unit(rng, 4000, 128, 4.0), unit(rng, 1, 128, 4.0)[0]
    codes = encode(vectors)
    scores = (codes.step * (codes.values.astype(np.float64) - 127)) @ probe.astype(np.float64)
    for floor in np.quantile(scores, [0.0, 0.5, 0.999]) + codes.error:
        wanted = np.flatnonzero(scores >= floor - codes.error)
        assert set(wanted) <= set(scan_codes(codes, probe, float(floor)))
        assert len(scan_codes(codes, probe, float(floor))) <= len(wanted) + 5


@pytest.mark.parametrize("way", [IntegerProduct, FloatProduct])
def test_both_ways_of_multiplying_are_exact(way: type[IntegerProduct] | type[FloatProduct]) -> None:
    assert is_exact(way)


class SaturatingProduct(FloatProduct):
    """What a kernel does that adds two products in 16 bits, if the probes were not kept small."""

    def multiply(self, codes: Bytes8, out: Sums) -> None:
        super().multiply(codes, out)
        np.clip(out, -(2**15) * codes.shape[1] // 4, 2**15 * codes.shape[1] // 4, out=out)


def test_a_product_that_overflows_is_found_out() -> None:
    assert not is_exact(SaturatingProduct)
    assert isinstance(make_product(np.ones((128, 3), np.int8)), IntegerProduct | FloatProduct)
