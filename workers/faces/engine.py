"""From pixels to faces and vectors, whichever pack and runtime are in use. One engine a process."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from vault.errors import VectorError
from vault.keys import Vectors
from vault.settings import Settings
from workers.faces.align import Pixels, Points, align_face
from workers.faces.choice import choose_runtime, embed_all
from workers.faces.graphs import prepare_recogniser
from workers.faces.packs import Pack, get_pack, read_model
from workers.faces.prepared import read_prepared
from workers.faces.quality import Quality, measure_quality
from workers.faces.runtimes import Runtime, Session, open_session
from workers.faces.vary import mirror_crop, vary_crop

MOST_FACES = 1000  # of one picture, the largest
SMALLEST_FACE = 24.0  # pixels of the picture as opened; a smaller face is counted, not matched


class Detector(Protocol):
    size: str  # at which pictures are looked at, in words

    def detect(
        self, pixels: Pixels, *, whole: bool = False
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], Points]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundFace:
    """A face in the coordinates of the pixels it was found in; `crop` and `quality` are None where it is too
    small to be matched."""

    box: tuple[float, float, float, float]
    landmarks: Points
    score: float
    quality: Quality | None
    crop: Pixels | None


class Engine:
    def __init__(self, pack: Pack, *, folder: Path | None = None, runtime: str = Runtime.ONNXRUNTIME) -> None:
        """Loads and checks both models, choosing a runtime if that is "auto". `folder`: where prepared models lie.
        Raises ModelError."""
        self.pack = pack
        self.detector = open_detector(pack)
        self._model = read_recogniser(pack, folder)
        self.runtime = choose_runtime(runtime, self._model, folder)
        self._session = open_session(self._model, self.runtime)

    @cached_property
    def _exact_session(self) -> Session:
        return self._session if self.runtime.exact else open_session(self._model, Runtime.ONNXRUNTIME)

    def find_faces(self, pixels: Pixels) -> list[FoundFace]:
        """The faces in (h, w, 3) uint8 BGR pixels, the MOST_FACES largest, from left to right."""
        return self.find_all(pixels)[0]

    def find_all(self, pixels: Pixels) -> tuple[list[FoundFace], int]:
        """As `find_faces`, and how many smaller ones were left out."""
        boxes, scores, landmarks = self.detector.detect(pixels)
        rows = sorted(enumerate(boxes.tolist()), key=lambda row: -row[1][2] * row[1][3])[:MOST_FACES]
        faces = []
        for at, (x, y, width, height) in sorted(rows, key=lambda row: row[1][:2]):
            crop = align_face(pixels, landmarks[at]) if min(width, height) >= SMALLEST_FACE else None
            faces.append(
                FoundFace(
                    box=(x, y, width, height),
                    landmarks=landmarks[at],
                    score=float(scores[at]),
                    quality=measure_quality(crop, landmarks[at]) if crop is not None else None,
                    crop=crop,
                )
            )
        return faces, len(boxes) - len(rows)

    def embed_crops(self, crops: Sequence[Pixels]) -> Vectors:
        """(n, d) f32 unit vectors of n crops, by the chosen runtime. Rows that are not finite or zero come back as
        zeros, never as vectors. With `runtime.exact` they may decide, else they only propose."""
        return normalise(self._run(self._session, crops))

    def embed_exact(self, crops: Sequence[Pixels]) -> Vectors:
        """As `embed_crops`, in f32: what decides, and what is enrolled."""
        return normalise(self._run(self._exact_session, crops))

    def embed_faces(self, crops: Sequence[Pixels]) -> tuple[Vectors, npt.NDArray[np.float32]]:
        """As `embed_crops`, with (n,) lengths of the vectors before they were normalised."""
        raw = self._run(self._session, crops)
        return normalise(raw), np.asarray(np.linalg.norm(raw, axis=1), np.float32)

    def view_faces(self, pixels: Pixels, landmarks: Sequence[Points]) -> list[list[Pixels]]:
        """Crops of faces for a second look: for each (5, 2) landmarks of the first, the crop they give, and the one
        that the detector's landmarks at the picture's full size give, if it finds the face there."""
        views = [[align_face(pixels, points)] for points in landmarks]
        whole = self.detector.detect(pixels, whole=True)[2] if len(landmarks) else np.zeros((0, 5, 2), np.float32)
        for view, points in zip(views, landmarks, strict=True):
            near = find_near(points, whole)
            if near is not None:
                view.append(align_face(pixels, near))
        return views

    def embed_again(self, views: Sequence[Sequence[Pixels]]) -> tuple[Vectors, npt.NDArray[np.float32]]:
        """The second look at faces near the cut, in f32: (n, d) unit vectors of the sum over a face's first view
        mirrored and its last view as it is, and (n,) mean lengths of the two before they were normalised, small for
        faces that are hard to read. Zeros where the model gave no usable vector. (Both views and both their mirror
        images took twice as long and were no better: docs/performance.md.)"""
        raw = self._run(self._exact_session, [*(mirror_crop(view[0]) for view in views), *(view[-1] for view in views)])
        unit = normalise(raw).reshape(2, len(views), -1)
        usable = np.asarray(unit.any(axis=2).all(axis=0), bool)
        lengths = np.linalg.norm(raw, axis=1).reshape(2, len(views)).mean(axis=0)
        return normalise(unit.sum(axis=0)) * usable[:, None], np.where(usable, lengths, 0).astype(np.float32)

    def _run(self, session: Session, crops: Sequence[Pixels]) -> npt.NDArray[np.float32]:
        if not len(crops):
            return np.zeros((0, self.pack.dimension), np.float32)
        return np.asarray(embed_all(session, crops), np.float32)

    def embed_enrolled(self, views: Sequence[Pixels]) -> Vectors:
        """(1, d) f32: the unit vector of the sum of the vectors of a face's views, of the first one's variants
        (`vary_crop`), and of their mirror images. Time is free here.

        Raises VectorError if the model gives no usable vector.
        """
        crops = vary_crop(views[0]) + [crop for view in views[1:] for crop in (view, mirror_crop(view))]
        combined = normalise(self.embed_exact(crops).sum(axis=0, keepdims=True))
        if not combined.any():
            raise VectorError("vector_not_finite", "the model gave no usable vector")
        return combined

    def describe(self) -> dict[str, str | int | bool]:
        """The settings that speed and accuracy depend on."""
        return {
            "pack": self.pack.name,
            "runtime": self.runtime.value.split("-")[0],
            "precision": self.runtime.precision,
            "detector_size": self.detector.size,
            "mirrored_probe": False,
            "second_look": "f32, two detector scales, mirrored",
        }


def find_near(points: Points, others: Points) -> Points | None:
    """Of (n, 5, 2) landmarks the nearest to these (5, 2), if it is the same face: on average no further off than half
    the distance between the eyes."""
    if not len(others):
        return None
    apart = np.linalg.norm(others - points, axis=2).mean(axis=1)
    nearest = int(apart.argmin())
    eyes = float(np.linalg.norm(points[1] - points[0]))
    return np.asarray(others[nearest], np.float32) if apart[nearest] <= eyes / 2 else None


def open_detector(pack: Pack) -> Detector:
    """Raises ModelError."""
    data = read_model(pack.detector)
    if pack.is_insightface:
        from workers.faces.insight import InsightDetector

        return InsightDetector(pack.detector.path)
    from workers.faces.zoo import YuNet

    return YuNet(data)


def read_recogniser(pack: Pack, folder: Path | None) -> bytes:
    """The pack's recogniser made ready, checked against the published one. Raises ModelError."""
    read_model(pack.recogniser)  # nothing is opened whose digest is not the expected one
    if pack.is_insightface:
        from workers.faces.insight import InsightRecogniser

        published = InsightRecogniser(pack.recogniser.path)
        prepare = partial(prepare_recogniser, mean=published.mean, scale=1 / published.deviation)
        return read_prepared(pack.recogniser, folder, prepare, published.embed)
    from workers.faces.zoo import PublishedSFace

    return read_prepared(
        pack.recogniser,
        folder,
        prepare_recogniser,
        lambda crops: PublishedSFace(read_model(pack.recogniser)).embed(crops),
    )


def normalise(vectors: npt.NDArray[np.float32]) -> Vectors:
    """Rows of length 1; rows that cannot be become zeros."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    usable = np.isfinite(norms) & (norms > 1e-6) & np.isfinite(vectors).all(axis=1, keepdims=True)
    unit = np.divide(vectors, norms, out=np.zeros_like(vectors), where=usable)
    return np.ascontiguousarray(unit, dtype=np.float32)


def load_engine(settings: Settings) -> Engine:
    """The engine of the settings. Raises ModelError."""
    return Engine(get_pack(settings), folder=settings.models_folder / "prepared", runtime=settings.faces.runtime)
