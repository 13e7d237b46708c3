"""Labelled faces for the benches: in comes a folder (one folder a person), out come vectors, kept in bench/out.

The labelled face is the one nearest the centre of its picture. Three kinds of vectors, as the product makes them:
`first` (a harvested face), `again` (its second look, with the length of the raw vector), `enrolled` (a template).
Beside them `plain`, what the plain OpenCV loop makes of the same picture, and `whole`, a first look with the detector
at the picture's full size; `first_exact` and `whole_exact` are the same crops in f32.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from bench.children import make_pool
from bench.report import ROOT
from vault.box import Box, Child
from vault.errors import InputRefused, VectorError
from vault.settings import load_settings
from workers.faces.align import Pixels, align_face
from workers.faces.engine import Engine, FoundFace, load_engine
from workers.faces.packs import opencv_zoo

CACHE = ROOT / "bench/out"
PART = 64  # pictures a task of the pool
PLAIN_SCORE, PLAIN_OVERLAP, PLAIN_MOST = 0.6, 0.3, 5000  # of FaceDetectorYN in the plain loop

Rows = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Embedded:
    """One row a picture, zeros where no face was found: (n, d) f32 unit vectors of each kind asked for, (n,) raw
    lengths, sharpness and side of the face in pixels."""

    images: tuple[str, ...]
    people: tuple[str, ...]
    rows: Rows
    settings: dict[str, Any]

    @property
    def found(self) -> npt.NDArray[np.bool_]:
        return np.asarray(next(iter(self.rows.values())).reshape(len(self.images), -1).any(axis=1))


@lru_cache(maxsize=1)
def open_engine() -> Engine:
    return load_engine(load_settings(home=CACHE / "home"))


def list_images(folder: Path) -> list[str]:
    """`Name/Name_0001.jpg` of every picture, in order."""
    return sorted(f"{path.parent.name}/{path.name}" for path in folder.glob("*/*") if path.is_file())


def embed_images(folder: Path, images: Sequence[str], kind: str, *, processes: int = 2) -> Embedded:
    """The vectors of one kind ("probe": first and again, "enrolled", "plain"), from the cache where they are."""
    settings = open_engine().describe() | {"recogniser": open_engine().pack.recogniser.sha256[:16]}
    if kind == "plain":
        settings = {"runtime": f"opencv {cv2.__version__}"}
    mark = json.dumps([kind, folder.name, settings, print_maker(kind, folder)], sort_keys=True)
    path = CACHE / f"{kind}-{hashlib.sha256(mark.encode()).hexdigest()[:16]}.npz"
    kept = read_rows(path)
    known = set(kept["images"].tolist()) if kept else set()
    missing = sorted(set(images) - known)
    if missing:
        made = run_parts(MAKERS[kind], folder, missing, processes) | {"images": np.array(missing)}
        kept = {name: np.concatenate([kept[name], made[name]]) for name in made} if kept else made
        keep_rows(path, kept)
    place = {image: row for row, image in enumerate(kept["images"].tolist())}
    at = np.array([place[image] for image in images], np.int64)
    return Embedded(
        images=tuple(images),
        people=tuple(image.split("/")[0] for image in images),
        rows={name: values[at] for name, values in kept.items() if name != "images"},
        settings=settings,
    )


def print_maker(kind: str, folder: Path) -> list[list[float]]:
    """What the maker gives for one picture, roughly: vectors made by other code are not taken for those of today's."""
    rows = MAKERS[kind](folder, list_images(folder)[:1])
    return [np.round(rows[name].ravel()[:16].astype(float), 4).tolist() for name in sorted(rows)]


def read_rows(path: Path) -> Rows:
    """Nothing where there is no such file."""
    if not path.exists():
        return {}
    with np.load(path) as table:
        return {name: table[name] for name in table.files}


def keep_rows(path: Path, rows: Rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.stem}.{os.getpid()}.tmp.npz")
    np.savez(unfinished, **rows)  # type: ignore[arg-type]
    unfinished.rename(path)


def run_parts(make: Callable[[Path, list[str]], Rows], folder: Path, images: Sequence[str], processes: int) -> Rows:
    parts = [(folder, list(images[at : at + PART])) for at in range(0, len(images), PART)]
    open_engine()  # chosen and prepared once
    with make_pool(processes) as pool:
        done = list(pool.map(make, *zip(*parts, strict=True)))
    return {name: np.concatenate([part[name] for part in done]) for name in done[0]}


def read_centre(engine: Engine, child: Child, path: Path) -> tuple[FoundFace, list[Pixels]] | None:
    """The face nearest the centre of a picture, and its views for a second look."""
    try:
        pixels = child.open_picture(path.read_bytes()).pixels
    except InputRefused:
        return None
    faces = [face for face in engine.find_faces(pixels) if face.crop is not None]
    if not faces:
        return None
    face = min(faces, key=lambda each: measure_offset(each.box, pixels))
    return face, engine.view_faces(pixels, [face.landmarks])[0]


def measure_offset(box: Sequence[float], pixels: Pixels) -> float:
    height, width = pixels.shape[:2]
    return float((box[0] + box[2] / 2 - width / 2) ** 2 + (box[1] + box[3] / 2 - height / 2) ** 2)


def embed_probes(folder: Path, images: list[str]) -> Rows:
    cv2.setNumThreads(1)
    engine = open_engine()
    count, dimension = len(images), engine.pack.dimension
    rows: Rows = {name: np.zeros((count, dimension), np.float32) for name in ("first", "first_exact", "again")}
    rows |= {name: np.zeros(count, np.float32) for name in ("length", "sharpness", "side")}
    with Box() as box, box.batch() as child:
        faces = [read_centre(engine, child, folder / image) for image in images]
    at = [number for number, face in enumerate(faces) if face is not None]
    seen = [face for face, _ in filter(None, faces)]
    crops = [face.crop for face in seen if face.crop is not None]
    if at:
        rows["first"][at] = engine.embed_crops(crops)
        rows["first_exact"][at] = engine.embed_exact(crops)
        rows["again"][at], rows["length"][at] = engine.embed_again([views for _, views in filter(None, faces)])
        rows["sharpness"][at] = [face.quality.sharpness if face.quality else 0.0 for face in seen]
        rows["side"][at] = [min(face.box[2:]) for face in seen]
    return rows


def embed_whole(folder: Path, images: list[str]) -> Rows:
    """As `first`, but with the detector at the picture's full size."""
    cv2.setNumThreads(1)
    engine = open_engine()
    rows = {name: np.zeros((len(images), engine.pack.dimension), np.float32) for name in ("whole", "whole_exact")}
    crops: dict[int, Pixels] = {}
    for number, image in enumerate(images):
        pixels = np.asarray(cv2.imread(str(folder / image)), np.uint8)
        boxes, _, landmarks = engine.detector.detect(pixels, whole=True)
        if len(boxes):
            offsets = [measure_offset(box, pixels) for box in boxes.tolist()]
            crops[number] = align_face(pixels, landmarks[int(np.argmin(offsets))])
    rows["whole"][list(crops)] = engine.embed_crops(list(crops.values()))
    rows["whole_exact"][list(crops)] = engine.embed_exact(list(crops.values()))
    return rows


def embed_templates(folder: Path, images: list[str]) -> Rows:
    cv2.setNumThreads(1)
    engine = open_engine()
    enrolled = np.zeros((len(images), engine.pack.dimension), np.float32)
    with Box() as box, box.batch() as child:
        for number, image in enumerate(images):
            found = read_centre(engine, child, folder / image)
            if found is not None:
                try:
                    enrolled[number] = engine.embed_enrolled(found[1])
                except VectorError:
                    continue
    return {"enrolled": enrolled}


def embed_plainly(folder: Path, images: list[str]) -> Rows:
    """The plain OpenCV loop: read, detect, align, embed, one picture after the other."""
    cv2.setNumThreads(1)
    pack = opencv_zoo()
    detector = cv2.FaceDetectorYN.create(
        str(pack.detector.path), "", (250, 250), PLAIN_SCORE, PLAIN_OVERLAP, PLAIN_MOST
    )
    recogniser = cv2.FaceRecognizerSF.create(str(pack.recogniser.path), "")
    plain = np.zeros((len(images), pack.dimension), np.float32)
    for number, image in enumerate(images):
        pixels = np.asarray(cv2.imread(str(folder / image)), np.uint8)
        detector.setInputSize((pixels.shape[1], pixels.shape[0]))
        faces = detector.detect(pixels)[1]
        if faces is not None:
            centre = min(faces, key=lambda face: measure_offset(face[:4].tolist(), pixels))
            vector = recogniser.feature(recogniser.alignCrop(pixels, centre))[0]
            plain[number] = vector / np.linalg.norm(vector)
    return {"plain": plain}


MAKERS: dict[str, Callable[[Path, list[str]], Rows]] = {
    "probe": embed_probes, "enrolled": embed_templates, "plain": embed_plainly, "whole": embed_whole,
}  # fmt: skip
