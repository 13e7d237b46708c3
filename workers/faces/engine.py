"""From pixels to faces and vectors, whichever pack is in use. One engine a process."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from vault.errors import VectorError
from vault.keys import Vectors
from vault.settings import Settings
from workers.faces.align import Pixels, Points, align_face, measure_sharpness
from workers.faces.packs import Pack, get_pack, read_model

MOST_FACES = 64  # of one picture, the largest
EMBED_BATCH = 8  # crops a call: more takes no less time each, and 40 at once took 1.1 GB
SMALLEST_FACE = 24.0  # pixels of the picture as opened; a smaller face is counted, not matched


class Detector(Protocol):
    def detect(self, pixels: Pixels) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], Points]: ...


class Recogniser(Protocol):
    def embed(self, crops: Pixels) -> npt.NDArray[np.float32]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundFace:
    """A face in the coordinates of the pixels it was found in; `crop` is None where it is too small to be matched."""

    box: tuple[float, float, float, float]
    landmarks: Points
    score: float
    sharpness: float
    crop: Pixels | None


class Engine:
    def __init__(self, pack: Pack) -> None:
        """Loads and checks both models. Raises ModelError."""
        detector, recogniser = read_model(pack.detector), read_model(pack.recogniser)
        self.pack = pack
        self._detector: Detector
        self._recogniser: Recogniser
        if pack.is_insightface:
            from workers.faces.insight import InsightDetector, InsightRecogniser

            self._detector = InsightDetector(pack.detector.path)
            self._recogniser = InsightRecogniser(pack.recogniser.path)
        else:
            from workers.faces.zoo import SFace, YuNet

            self._detector, self._recogniser = YuNet(detector), SFace(recogniser)

    def find_faces(self, pixels: Pixels) -> list[FoundFace]:
        """The faces in (h, w, 3) uint8 BGR pixels, the 64 largest, from left to right."""
        boxes, scores, landmarks = self._detector.detect(pixels)
        largest = np.argsort(-(boxes[:, 2] * boxes[:, 3]), kind="stable")[:MOST_FACES]
        faces = []
        for row in sorted(largest, key=lambda index: (float(boxes[index, 0]), float(boxes[index, 1]))):
            x, y, width, height = (float(value) for value in boxes[row])
            crop = align_face(pixels, landmarks[row]) if min(width, height) >= SMALLEST_FACE else None
            faces.append(
                FoundFace(
                    box=(x, y, width, height),
                    landmarks=landmarks[row],
                    score=float(scores[row]),
                    sharpness=measure_sharpness(crop) if crop is not None else 0.0,
                    crop=crop,
                )
            )
        return faces

    def embed_crops(self, crops: list[Pixels]) -> Vectors:
        """(n, d) f32 unit vectors of n crops. Rows that are not finite or zero come back as zeros, never as vectors."""
        if not crops:
            return np.zeros((0, self.pack.dimension), np.float32)
        parts = [np.stack(crops[start : start + EMBED_BATCH]) for start in range(0, len(crops), EMBED_BATCH)]
        return normalise(np.concatenate([self._recogniser.embed(part) for part in parts]))

    def embed_enrolled(self, crop: Pixels) -> Vectors:
        """(1, d) f32: the unit vector of the sum of the face's vector and its mirror image's. Time is free here.

        Raises VectorError if the model gives no usable vector.
        """
        pair = self.embed_crops([crop, np.ascontiguousarray(crop[:, ::-1])])
        combined = normalise(pair.sum(axis=0, keepdims=True))
        if not combined.any():
            raise VectorError("vector_not_finite", "the model gave no usable vector")
        return combined


def normalise(vectors: npt.NDArray[np.float32]) -> Vectors:
    """Rows of length 1; rows that cannot be become zeros."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    usable = np.isfinite(norms) & (norms > 1e-6) & np.isfinite(vectors).all(axis=1, keepdims=True)
    unit = np.divide(vectors, norms, out=np.zeros_like(vectors), where=usable)
    return np.ascontiguousarray(unit, dtype=np.float32)


def load_engine(settings: Settings) -> Engine:
    return Engine(get_pack(settings))
