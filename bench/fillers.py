"""Faces in any number for measuring an index: unit vectors with the mean and covariance of real keyed ones.

A few hundred pictures of a folder are embedded once with the pack in use (mean and covariance are kept in bench/out);
what is drawn from them are nobody's faces. White noise would not do: it has 300 times too few scores
above 0.40, so nearly nothing would ever be scored a second time.
"""

import contextlib
import hashlib
import secrets
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.report import ROOT, find_folder
from vault.box import Box
from vault.errors import FacewardenError
from vault.keys import Vectors, make_matrix
from vault.settings import load_settings

FEWEST, IMAGES = 300, 800
CACHE = ROOT / "bench/out"
CUT = 0.473  # of opencv-zoo's shipped calibration for 1e-5; all that matters here is that it is one


@dataclass(frozen=True, kw_only=True, slots=True)
class Faces:
    """Mean (d,) and a Cholesky factor (d, d) of the covariance of real unit vectors, keyed."""

    mean: Vectors
    factor: Vectors
    source: str

    @property
    def dimension(self) -> int:
        return len(self.mean)

    def draw(self, count: int, seed: int) -> Vectors:
        """(count, d) f32 unit vectors."""
        noise = np.random.default_rng(seed).standard_normal((count, self.dimension), dtype=np.float32)
        rows: Vectors = (noise @ self.factor.T + self.mean).astype(np.float32, copy=False)
        lengths: Vectors = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        return np.divide(rows, lengths[:, None], out=rows)


def load_faces(folder: Path | None) -> Faces:
    """From the cache of this folder's statistics, or from its pictures. Raises SystemExit where there is neither."""
    found = find_folder(folder)
    cache = CACHE / f"faces-{hashlib.sha256(str(found.resolve()).encode()).hexdigest()[:12]}.npz"
    if cache.exists():
        kept = np.load(cache)
        mean, covariance, number = kept["mean"], kept["covariance"], int(kept["number"])
    else:
        vectors = embed_folder(found)
        mean, covariance, number = vectors.mean(axis=0), np.cov(vectors.T), len(vectors)
        cache.parent.mkdir(parents=True, exist_ok=True)
        np.savez(cache, mean=mean, covariance=covariance, number=number)
    key = make_matrix(secrets.token_bytes(32), len(mean)).astype(np.float64)  # R, as templates are stored
    factor = np.linalg.cholesky(key @ covariance @ key.T + 1e-9 * np.eye(len(mean)))
    source = f"drawn with mean and covariance of {number} embedded faces, keyed"
    return Faces(mean=(key @ mean).astype(np.float32), factor=factor.astype(np.float32), source=source)


def embed_folder(folder: Path) -> Vectors:
    """(n, d) f32 unit vectors of the largest face of some of the pictures, spread over the folder."""
    from workers.faces.engine import load_engine

    engine, box = load_engine(load_settings()), Box()
    paths = sorted(folder.rglob("*.jpg"))
    crops = []
    with box.batch() as child:
        for path in paths[:: max(1, len(paths) // IMAGES)][:IMAGES]:
            with contextlib.suppress(FacewardenError):
                faces = engine.find_faces(child.open_picture(path.read_bytes()).pixels)
                crop = max(faces, key=lambda face: face.box[2]).crop if faces else None
                if crop is not None:
                    crops.append(crop)
    box.close()
    if len(crops) < FEWEST:
        raise SystemExit(f"{folder} has {len(crops)} faces in what was looked at; {FEWEST} are needed")
    vectors: Vectors = engine.embed_crops(crops)
    good: Vectors = vectors[np.linalg.norm(vectors, axis=1) > 0.5]  # a vector that is none comes back as zeros
    return good


def plant_faces(probe: Vectors, count: int, cut: float, seed: int) -> tuple[Vectors, Vectors]:
    """(count, d) f32 unit vectors whose cosines to a unit probe are spread evenly from 0.05 below to 0.2 above the cut,
    and those (count,) cosines, exact."""
    rng = np.random.default_rng(seed)
    wanted = rng.permutation(np.linspace(cut - 0.05, cut + 0.2, count))[:, None]
    exact = probe.astype(np.float64) / np.linalg.norm(probe.astype(np.float64))
    others = rng.standard_normal((count, len(probe)))
    others -= (others @ exact)[:, None] * exact
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    planted = (wanted * exact + np.sqrt(1 - wanted**2) * others).astype(np.float32)
    exactly: Vectors = (planted.astype(np.float64) @ probe.astype(np.float64)).astype(np.float32)
    return planted, exactly
