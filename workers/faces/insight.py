"""insightface's own classes behind the same two methods: SCRFD or RetinaFace finds faces, ArcFace makes vectors."""

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vault.errors import ModelError
from workers.faces.align import Pixels, Points

INPUT_SIZE = (640, 640)  # pinned: SCRFD otherwise follows each picture
PROVIDERS = ["CPUExecutionProvider"]
SCORE = 0.6
MOST_VALUES = 4096  # of a template


def open_model(path: Path) -> Any:
    """A model as insightface's zoo opens it. Raises ModelError: model_unknown."""
    import onnxruntime
    from insightface.model_zoo import get_model

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            model = get_model(str(path), providers=PROVIDERS, sess_options=options)
    except Exception as exc:  # whatever a stranger's file makes the library raise
        raise ModelError("model_unknown", f"insightface cannot open {path.name}: {type(exc).__name__}") from exc
    if model is None:
        raise ModelError("model_unknown", f"insightface does not know what {path.name} is")
    return model


def classify_model(path: Path) -> tuple[str, int]:
    """What insightface takes a file for: ("detector" | "recogniser" | "other", template length or 0)."""
    try:
        model = open_model(path)
    except ModelError:
        return "other", 0
    task = getattr(model, "taskname", "")
    if task == "recognition":
        width = model.output_shape[-1]  # a name, where the graph does not say
        return ("recogniser", int(width)) if isinstance(width, int) and 0 < width <= MOST_VALUES else ("other", 0)
    if task == "detection":
        try:  # the library guesses by the shape of the input; whether it can read the outputs shows only here
            InsightDetector(path).detect(np.zeros((64, 64, 3), np.uint8))
        except Exception:
            return "other", 0
        return "detector", 0
    return "other", 0


class InsightDetector:
    size = "{} x {}".format(*INPUT_SIZE)

    def __init__(self, path: Path) -> None:
        self._model = open_model(path)
        self._model.prepare(ctx_id=-1, input_size=INPUT_SIZE, det_thresh=SCORE)

    def detect(
        self, pixels: Pixels, *, whole: bool = False
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], Points]:
        """As `YuNet.detect`; the library knows one input size, so `whole` changes nothing."""
        found, landmarks = self._model.detect(pixels, input_size=INPUT_SIZE)
        corners = np.asarray(found, np.float32).reshape(-1, 5)
        boxes = np.concatenate([corners[:, :2], corners[:, 2:4] - corners[:, :2]], axis=1)
        points = np.asarray(landmarks if landmarks is not None else [], np.float32).reshape(-1, 5, 2)
        return boxes, corners[:, 4], points


class InsightRecogniser:
    """The published recogniser: what the rewritten one is checked against."""

    def __init__(self, path: Path) -> None:
        self._model = open_model(path)
        self.mean, self.deviation = float(self._model.input_mean), float(self._model.input_std)

    def embed(self, crops: Pixels) -> npt.NDArray[np.float32]:
        """(n, 112, 112, 3) uint8 BGR crops to (n, d) f32 vectors, not normalised, as the library makes them."""
        vectors = [self._model.get_feat(crop) for crop in crops]  # some published graphs have batch 1
        return np.concatenate(vectors).astype(np.float32)
