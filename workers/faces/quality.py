"""How good a face is: in come an aligned crop and its landmarks, out come numbers that `docs/performance.md` bins
by."""

import math
from dataclasses import dataclass

import cv2

from workers.faces.align import Pixels, Points

BLACK, WHITE = 16, 239  # grey levels below and above which a pixel says nothing (ITU-R BT.601 limits of luma)


@dataclass(frozen=True, kw_only=True, slots=True)
class Quality:
    """`sharpness`: variance of the Laplacian of the grey crop (Pech-Pacheco et al. 2000), low means blurred. `yaw`: how
    far the nose tip lies from the middle between the eyes, in halves of the distance between the eyes: 0 is frontal,
    about 1 a half profile. `exposure`: share of the crop's pixels that are neither black nor white."""

    sharpness: float
    yaw: float
    exposure: float


def measure_quality(crop: Pixels, landmarks: Points) -> Quality:
    """From a (112, 112, 3) uint8 BGR crop and (5, 2) landmarks in any coordinates."""
    grey = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)
    edges = cv2.Laplacian(grey, cv2.CV_16S)
    mean = cv2.sumElems(edges)[0] / grey.size
    usable = cv2.countNonZero(cv2.inRange(grey, BLACK, WHITE))
    return Quality(
        sharpness=cv2.norm(edges, cv2.NORM_L2SQR) / grey.size - mean**2,
        yaw=measure_yaw(landmarks),
        exposure=usable / grey.size,
    )


def measure_yaw(landmarks: Points) -> float:
    """See `Quality.yaw`; measured along the line between the eyes, so a tilted head is not a turned one."""
    (right_x, right_y), (left_x, left_y), (nose_x, nose_y) = landmarks[:3].tolist()
    x, y = left_x - right_x, left_y - right_y
    length: float = math.hypot(x, y)
    if length < 1e-6:
        return 9.0
    along = (nose_x - (right_x + left_x) / 2) * x + (nose_y - (right_y + left_y) / 2) * y
    return float(min(9.0, abs(along) / length / (length / 2)))
