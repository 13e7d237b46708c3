"""The default pack: YuNet finds faces, SFace makes vectors."""

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from workers.faces.align import Pixels, Points
from workers.faces.graphs import prepare_yunet
from workers.faces.runtimes import OnnxSession

STRIDES = (8, 16, 32)
MULTIPLE = 32  # YuNet's input sides
DETECT_SIDE = 640  # longest side handed to the detector at first
# A face of 24 pixels, the smallest that counts, is still 15 for the detector. On LFW at 0.64 as many faces are found as
# at full size and their vectors are no worse (bench/accuracy.py), in 0.4 instead of 0.8 ms.
SMALL_SCALE, SMALL_SIDE = 0.64, 160
LARGE, NEAR_FACE = 1000, 60  # a large picture without a face of 60 pixels is looked at again at full size
SCORE = 0.6
OVERLAP = 0.3  # OpenCV Zoo's own non-maximum suppression threshold

Boxes = npt.NDArray[np.float32]  # (n, 4): x, y, width, height
Cells = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


class YuNet:
    """Wu et al. 2023, "YuNet: A Tiny Millisecond-level Face Detector"; decoded as OpenCV's FaceDetectorYN does. Always
    on onnxruntime: pictures differ in size, and others compile anew for each."""

    size = f"{SMALL_SCALE} of the picture, from {SMALL_SIDE} to {DETECT_SIDE} pixels"

    def __init__(self, model: bytes) -> None:
        self._session = OnnxSession(prepare_yunet(model))

    def detect(self, pixels: Pixels, *, whole: bool = False) -> tuple[Boxes, npt.NDArray[np.float32], Points]:
        """(n, 4) boxes, (n,) scores in [0, 1], (n, 5, 2) landmarks, all f32 in the coordinates of `pixels`
        ((h, w, 3) uint8 BGR), best score first. `whole`: at the picture's full size, however long that takes."""
        if whole:
            return self._detect_at(pixels, 1.0)
        found = self._detect_at(pixels, choose_scale(*pixels.shape[:2]))
        if max(pixels.shape[:2]) > LARGE and not np.any(np.minimum(found[0][:, 2], found[0][:, 3]) >= NEAR_FACE):
            return self._detect_at(pixels, 1.0)
        return found

    def _detect_at(self, pixels: Pixels, scale: float) -> tuple[Boxes, npt.NDArray[np.float32], Points]:
        padded, across, down = self.fit(pixels, scale)
        boxes, scores, landmarks = decode_outputs(self.infer(padded), list_cells(*padded.shape[2:]))
        if len(boxes) > 1:
            keep = np.array(cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), SCORE, OVERLAP), np.int64).reshape(-1)
            boxes, scores, landmarks = boxes[keep], scores[keep], landmarks[keep]
        ratio = np.array([across, down, across, down], np.float32)
        return boxes * ratio, scores, landmarks * ratio[:2]

    def fit(self, pixels: Pixels, scale: float | None = None) -> tuple[npt.NDArray[np.float32], float, float]:
        """The detector's (1, 3, h, w) f32 input, and how many pixels of the picture one of its pixels is, across and
        down."""
        scale = choose_scale(*pixels.shape[:2]) if scale is None else scale
        height, width = pixels.shape[:2]
        if scale < 1:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            way = cv2.INTER_LINEAR if scale > 0.5 else cv2.INTER_AREA  # below a half, pixels would be passed over
            pixels = np.asarray(cv2.resize(pixels, size, interpolation=way), np.uint8)
        inner_height, inner_width = pixels.shape[:2]
        down, right = -inner_height % MULTIPLE, -inner_width % MULTIPLE
        if down or right:
            pixels = np.asarray(cv2.copyMakeBorder(pixels, 0, down, 0, right, cv2.BORDER_CONSTANT), np.uint8)
        return cv2.dnn.blobFromImage(pixels), width / inner_width, height / inner_height

    def infer(self, padded: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
        """The outputs for a fitted input."""
        return self._session.run(padded)


def choose_scale(height: int, width: int) -> float:
    """How much a picture is shrunk for the detector."""
    return min(1.0, DETECT_SIDE / max(height, width), max(SMALL_SCALE, SMALL_SIDE / max(height, width)))


def decode_outputs(outputs: list[npt.NDArray[np.float32]], cells: Cells) -> tuple[Boxes, Boxes, Points]:
    """YuNet's outputs (`prepare_yunet`) as boxes, scores and landmarks: score = sqrt(class · object), centre = (cell +
    offset) · stride, side = exp(size) · stride."""
    product, boxes, points = outputs[0][0, :, 0], outputs[1][0], outputs[2][0]
    found = np.flatnonzero(product >= SCORE * SCORE)
    places, strides = cells[0][found], cells[1][found]
    centre = places + boxes[found, :2] * strides
    size = np.exp(boxes[found, 2:]) * strides
    landmarks = points[found].reshape(-1, 5, 2) * strides[:, None] + places[:, None]
    scores = np.sqrt(np.minimum(product[found], 1))
    return np.concatenate([centre - size / 2, size], axis=1), scores, landmarks


@lru_cache(maxsize=64)
def list_cells(height: int, width: int) -> Cells:
    """The (n, 2) f32 corners of the cells of an input of this size, and their (n, 1) strides, as the outputs lie."""
    places, strides = [], []
    for stride in STRIDES:
        rows, columns = np.mgrid[0 : height // stride, 0 : width // stride]
        places.append(np.stack([columns.ravel(), rows.ravel()], axis=1) * stride)
        strides.append(np.full((rows.size, 1), stride))
    return np.concatenate(places).astype(np.float32), np.concatenate(strides).astype(np.float32)


class PublishedSFace:
    """Zhong et al. 2021, "SFace: Sigmoid-Constrained Hypersphere Loss for Robust Face Recognition", as published, one
    crop a call: what the rewritten one is checked against."""

    def __init__(self, model: bytes) -> None:
        self._session = OnnxSession(model)

    def embed(self, crops: Pixels) -> npt.NDArray[np.float32]:
        """(n, 112, 112, 3) uint8 BGR crops to (n, 128) f32 vectors, not normalised."""
        planes = np.ascontiguousarray(crops[..., ::-1].transpose(0, 3, 1, 2), dtype=np.float32)
        return np.concatenate([self._session.run(planes[at : at + 1])[0] for at in range(len(planes))])
