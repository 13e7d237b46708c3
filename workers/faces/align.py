"""Alignment: in come pixels and five landmarks, out come 112 x 112 crops in which eyes, nose and mouth lie where the
recognisers expect them."""

import cv2
import numpy as np
import numpy.typing as npt

SIDE = 112
# Right eye, left eye, nose tip, right and left corner of the mouth, as seen: the template of ArcFace (Deng et al. 2019,
# insightface/utils/face_align.py arcface_dst), which OpenCV's SFace shares.
PLACES = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float64
)

Pixels = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float32]


def fit_similarity(landmarks: Points) -> npt.NDArray[np.float64]:
    """The (2, 3) similarity that brings (5, 2) landmarks onto PLACES with the least squared error.

    In the plane a similarity is y = a·x + b over complex numbers, so least squares has the closed form
    a = sum conj(x - mean x)·(y - mean y) / sum |x - mean x|^2 (Umeyama 1991 without reflections).
    """
    x = landmarks[:, 0].astype(np.float64) + 1j * landmarks[:, 1].astype(np.float64)
    y = PLACES[:, 0] + 1j * PLACES[:, 1]
    centred = x - x.mean()
    spread = float((np.abs(centred) ** 2).sum())
    a = (centred.conj() * (y - y.mean())).sum() / max(spread, 1e-12)
    b = y.mean() - a * x.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def align_face(pixels: Pixels, landmarks: Points) -> Pixels:
    """One (112, 112, 3) uint8 BGR crop from (h, w, 3) uint8 BGR pixels and (5, 2) landmarks in their coordinates."""
    crop = cv2.warpAffine(pixels, fit_similarity(landmarks), (SIDE, SIDE), flags=cv2.INTER_LINEAR)
    return np.asarray(crop, dtype=np.uint8)


def shrink(pixels: Pixels, long_side: int) -> Pixels:
    """The picture with its longer side at `long_side` pixels, or as it is where that is not larger."""
    scale = long_side / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
