"""Variants of a crop: in comes one aligned face, out comes the same face moved, scaled, turned, lit a little otherwise.

Landmarks are never found twice at the same place; a template that is the mean over such variants and their mirror
images depends less on where they were found.
"""

import cv2
import numpy as np

from workers.faces.align import SIDE, Pixels

# Scale, shift to the right and down in pixels of the crop, turn in degrees. Moving by 4 pixels costs a template alone a
# quarter of its accuracy (bench/accuracy.py), so all of these are still the face.
MOVES = (
    (0.93, 0, 0, 0), (1.07, 0, 0, 0), (1.0, -4, 0, 0), (1.0, 4, 0, 0), (1.0, 0, -4, 0), (1.0, 0, 4, 0), (1.0, 0, 0, 5),
    (1.0, 0, 0, -5),
)  # fmt: skip
GAMMAS = (1.5, 0.67)  # darker, lighter


def mirror_crop(crop: Pixels) -> Pixels:
    return np.ascontiguousarray(crop[:, ::-1])


def vary_crop(crop: Pixels) -> list[Pixels]:
    """The (112, 112, 3) uint8 crop and its variants, each followed by its mirror image."""
    variants = [crop, *(move_crop(crop, *move) for move in MOVES), *(light_crop(crop, gamma) for gamma in GAMMAS)]
    return [each for variant in variants for each in (variant, mirror_crop(variant))]


def move_crop(crop: Pixels, scale: float, right: float, down: float, turn: float) -> Pixels:
    """What comes in over the edge is the mirror image of what is beside it."""
    middle = (SIDE - 1) / 2  # between pixels, so that a variant of the mirror image is the mirror image of a variant
    matrix = cv2.getRotationMatrix2D((middle, middle), turn, scale)
    matrix[:, 2] += (right, down)
    return np.asarray(cv2.warpAffine(crop, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT), np.uint8)


def light_crop(crop: Pixels, gamma: float) -> Pixels:
    return np.asarray((255 * (crop / 255.0) ** gamma), np.uint8)
