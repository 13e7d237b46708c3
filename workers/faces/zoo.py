"""The default pack: YuNet finds faces, SFace makes vectors."""

import cv2
import numpy as np
import numpy.typing as npt

from workers.faces.align import Pixels, Points
from workers.faces.graphs import free_picture_size
from workers.faces.runtimes import OnnxSession

STRIDES = (8, 16, 32)
MULTIPLE = 32  # YuNet's input sides
DETECT_SIDE = 640  # longest side handed to the detector
SCORE = 0.6
OVERLAP = 0.3  # OpenCV Zoo's own non-maximum suppression threshold

Boxes = npt.NDArray[np.float32]  # (n, 4): x, y, width, height


class YuNet:
    """Wu et al. 2023, "YuNet: A Tiny Millisecond-level Face Detector"; decoded as OpenCV's FaceDetectorYN does. Always
    on onnxruntime: pictures differ in size, and others compile anew for each."""

    side = DETECT_SIDE

    def __init__(self, model: bytes) -> None:
        self._session = OnnxSession(free_picture_size(model))

    def detect(self, pixels: Pixels) -> tuple[Boxes, npt.NDArray[np.float32], Points]:
        """(n, 4) boxes, (n,) scores in [0, 1], (n, 5, 2) landmarks, all f32 in the coordinates of `pixels`
        ((h, w, 3) uint8 BGR), best score first."""
        scale = min(1.0, DETECT_SIDE / max(pixels.shape[:2]))
        if scale < 1:
            size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
            pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
        height, width = pixels.shape[:2]
        padded = np.zeros((1, 3, -(-height // MULTIPLE) * MULTIPLE, -(-width // MULTIPLE) * MULTIPLE), np.float32)
        padded[0, :, :height, :width] = pixels.transpose(2, 0, 1)
        outputs = self._session.run(padded)
        boxes, scores, landmarks = decode_outputs(outputs, padded.shape[3])
        keep = np.array(cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), SCORE, OVERLAP), np.int64).reshape(-1)
        return boxes[keep] / scale, scores[keep], landmarks[keep] / scale


def decode_outputs(outputs: list[npt.NDArray[np.float32]], width: int) -> tuple[Boxes, npt.NDArray[np.float32], Points]:
    """YuNet's twelve outputs (class, object, box, landmarks, each at three strides) as boxes, scores and landmarks:
    score = sqrt(class · object), centre = (cell + offset) · stride, side = exp(size) · stride."""
    boxes, scores, landmarks = [], [], []
    for level, stride in enumerate(STRIDES):
        classes, objects, offsets, points = (outputs[level + 3 * kind][0] for kind in range(4))
        score = np.sqrt(np.clip(classes[:, 0], 0, 1) * np.clip(objects[:, 0], 0, 1))
        found = np.flatnonzero(score >= SCORE)
        columns = width // stride
        cell = np.stack([found % columns, found // columns], axis=1).astype(np.float32)
        centre = (cell + offsets[found, :2]) * stride
        size = np.exp(offsets[found, 2:]) * stride
        boxes.append(np.concatenate([centre - size / 2, size], axis=1))
        scores.append(score[found])
        landmarks.append((points[found].reshape(-1, 5, 2) + cell[:, None]) * stride)
    return np.concatenate(boxes), np.concatenate(scores), np.concatenate(landmarks)


class PublishedSFace:
    """Zhong et al. 2021, "SFace: Sigmoid-Constrained Hypersphere Loss for Robust Face Recognition", as published, one
    crop a call: what the rewritten one is checked against."""

    def __init__(self, model: bytes) -> None:
        self._session = OnnxSession(model)

    def embed(self, crops: Pixels) -> npt.NDArray[np.float32]:
        """(n, 112, 112, 3) uint8 BGR crops to (n, 128) f32 vectors, not normalised."""
        planes = np.ascontiguousarray(crops[..., ::-1].transpose(0, 3, 1, 2), dtype=np.float32)
        return np.concatenate([self._session.run(planes[at : at + 1])[0] for at in range(len(planes))])
