"""What the template key is worth, from the thief's side: who holds keyed vectors and some photos, and how far they get.

People are drawn, since no real picture may be here: templates and one other photo each, with the spread of scores
between strangers and between photos of one person that the shipped calibration measured on LFW. A photo's own plain
vector is found at rank 1 among 1,000 keyed templates of people whom the thief did not know, or not: 0.1 % by chance.
"""

from pathlib import Path

import numpy as np
import pytest

from matcher.calibration import load_calibration
from matcher.space import Matrix, load_space
from vault.keys import Keys, Vectors, load_keys, make_key_file

PEOPLE, HELD_OUT, D = 1600, 1000, 128
STOLEN = 500  # rows of which it is not known whose they are
FALL = 86.0  # variance of direction i of the space is e^(-i / FALL): a fit to LFW's people
NOISE, UNEVEN = 1.12, 0.27  # of a photo beside its template, and how much that differs from photo to photo (log-normal)
SPACE = load_space("opencv-zoo")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    path: Path = tmp_path_factory.mktemp("key") / "key"
    make_key_file(path)
    return SPACE.bind(load_keys(path))


def draw_people(seed: int = 1) -> tuple[Vectors, Vectors]:
    """(PEOPLE, 128) plain vectors of templates, and of another photo of each, as the recogniser gives them."""
    chance = np.random.default_rng(seed)
    spread = np.exp(-np.arange(D) / FALL / 2)
    spread *= np.sqrt(D / (spread**2).sum())
    people = chance.standard_normal((PEOPLE, D)) * spread
    noise = NOISE * np.exp(UNEVEN * chance.standard_normal((PEOPLE, 1)))
    photos = people + noise * chance.standard_normal((PEOPLE, D))
    turn = np.linalg.qr(chance.standard_normal((D, D)))[0]
    first, second = (SPACE.revert(np.asarray(normalise(each @ turn), np.float32)) for each in (people, photos))
    return first, second


def normalise(rows: Matrix) -> Matrix:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float64)


TEMPLATES, PHOTOS = draw_people()


# -- the thief ---------------------------------------------------------------------------------------------------------


def solve_rotation(plain: Vectors, keyed: Vectors) -> Matrix:
    """The orthonormal R nearest to keyed = R·plain in the space, which is public (Schönemann 1966, "Procrustes")."""
    left, _, right = np.linalg.svd(keyed.T.astype(np.float64) @ SPACE.convert(plain))
    return np.asarray(left @ right, np.float64)


def fit_map(plain: Vectors, keyed: Vectors) -> Matrix:
    """The linear map of least squares, held small (ridge): better than a rotation where pairs are few."""
    rows = SPACE.convert(plain).astype(np.float64)
    return np.asarray(np.linalg.solve(rows.T @ rows + np.eye(D), rows.T @ keyed).T, np.float64)


def find_share(found: Matrix, keyed: Vectors, photos: Vectors) -> float:
    """The share of photos whose own keyed template is the nearest."""
    scores = (SPACE.convert(photos) @ found.T) @ keyed.T
    return float((scores.argmax(axis=1) == np.arange(len(keyed))).mean())


def attack(keys: Keys, known: Vectors, pairs: int) -> float:
    """The best that either way finds of the people who were not among the pairs."""
    keyed = keys.protect_templates(TEMPLATES)
    held = slice(PEOPLE - HELD_OUT, None)
    ways = solve_rotation, fit_map
    return max(find_share(way(known[:pairs], keyed[:pairs]), keyed[held], PHOTOS[held]) for way in ways)


def bootstrap(keys: Keys, pairs: int, somewhere: int) -> float:
    """As `attack`, with photos of more people who are known to be among the stolen rows, but not as which: a photo and
    a row that are nearest to each other are taken for a pair, over and over."""
    keyed, held = keys.protect_templates(TEMPLATES), slice(PEOPLE - HELD_OUT, None)
    stolen = np.random.default_rng(2).permutation(keyed[pairs : pairs + STOLEN])
    photos = PHOTOS[pairs : pairs + somewhere]
    found = fit_map(PHOTOS[:pairs], keyed[:pairs])
    for _ in range(20):
        scores = (SPACE.convert(photos) @ found.T) @ stolen.T
        nearest = scores.argmax(axis=1)
        mutual = scores.argmax(axis=0)[nearest] == np.arange(somewhere)
        found = solve_rotation(
            np.concatenate([PHOTOS[:pairs], photos[mutual]]), np.concatenate([keyed[:pairs], stolen[nearest[mutual]]])
        )
    return find_share(found, keyed[held], PHOTOS[held])


# -- how far they get --------------------------------------------------------------------------------------------------


def count_moments(counts: Matrix) -> tuple[float, float]:
    """Mean and deviation of a histogram's scores: rows of bin and count."""
    scores, weights = counts[:, 0] / 1000 - 1, counts[:, 1]
    mean = float(np.average(scores, weights=weights))
    return mean, float(np.sqrt(np.average((scores - mean) ** 2, weights=weights)))


def test_the_drawn_people_score_as_those_of_the_shipped_calibration() -> None:
    record = load_calibration("opencv-zoo").record
    scores = SPACE.convert(PHOTOS) @ SPACE.convert(TEMPLATES).T
    same = np.eye(PEOPLE, dtype=bool)
    for drawn, name in ((scores[same], "genuine"), (scores[~same], "impostor")):
        measured = count_moments(np.array(record[name]["counts"], np.float64))
        assert (drawn.mean(), drawn.std()) == pytest.approx(measured, abs=0.015), name  # 0.657, 0.100; 0.000, 0.092


def test_the_thief_without_a_pair_finds_nobody_and_with_the_key_everybody(keys: Keys) -> None:
    keyed, held = keys.protect_templates(TEMPLATES), slice(PEOPLE - HELD_OUT, None)
    assert find_share(np.eye(D), keyed[held], PHOTOS[held]) < 0.01
    matrix = keys.protect_templates(SPACE.revert(np.eye(D, dtype=np.float32))).T.astype(np.float64)
    assert find_share(matrix, keyed[held], PHOTOS[held]) > 0.99


def test_128_pairs_of_the_same_picture_are_the_key(keys: Keys) -> None:
    keyed = keys.protect_templates(TEMPLATES)
    recovered = solve_rotation(TEMPLATES[:128], keyed[:128]).astype(np.float32)
    plain = SPACE.revert(keyed[128:] @ recovered)
    assert np.abs(plain - TEMPLATES[128:]).max() < 1e-3
    fewer = SPACE.revert(keyed[128:] @ solve_rotation(TEMPLATES[:64], keyed[:64]).astype(np.float32))
    assert (fewer * TEMPLATES[128:]).sum(axis=1).mean() < 0.8


@pytest.mark.parametrize(
    ("known", "pairs", "lowest", "highest"),
    [
        (TEMPLATES, 5, 0.0, 0.06),
        (TEMPLATES, 30, 0.6, 0.75),
        (TEMPLATES, 128, 0.99, 1.0),
        (PHOTOS, 5, 0.0, 0.03),
        (PHOTOS, 30, 0.18, 0.3),
        (PHOTOS, 128, 0.82, 0.92),
        (PHOTOS, 300, 0.97, 1.0),
    ],
)
def test_the_table_of_security_md(keys: Keys, known: Vectors, pairs: int, lowest: float, highest: float) -> None:
    assert lowest <= attack(keys, known, pairs) <= highest


def test_30_pairs_and_photos_of_400_more_people_among_500_stolen_rows_find_nearly_all(keys: Keys) -> None:
    assert bootstrap(keys, 30, 400) > 0.95
    assert bootstrap(keys, 5, 400) < 0.05
