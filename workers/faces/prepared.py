"""Models made ready: in comes a model of a pack, out come bytes that were rewritten, checked against it, and kept.

The published file is read and its digest checked every time; what was made of it lies in `<models>/prepared`, named by
both digests, and is made again if it is missing or not what its name says.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from vault.errors import ModelError
from vault.files import write_whole
from vault.log import get_logger
from workers.faces.align import SIDE
from workers.faces.packs import Model, read_model

WAYS = "1"  # of the rewriting; another number makes everything anew
LOWEST_COSINE = 0.9999  # of a rewritten model to its original, in f32

log = get_logger(__name__)

Embed = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]


def read_prepared(model: Model, folder: Path | None, prepare: Callable[[bytes], bytes], check: Embed | None) -> bytes:
    """The bytes of a model after `prepare`, from `folder` if they lie there. `check` is the original's own way from
    crops to vectors: without it nothing is compared. Raises ModelError: as `read_model`, and model_differs."""
    data = read_model(model)
    start = f"{model.sha256[:24]}-{WAYS}-"
    for path in sorted(folder.glob(f"{start}*.onnx")) if folder is not None else []:
        kept = path.read_bytes()
        if hashlib.sha256(kept).hexdigest() == path.stem.removeprefix(start):
            return kept
        log.warning("a prepared model has changed on disk; it is made again", file=path.name)
        path.unlink(missing_ok=True)
    made = prepare(data)
    if check is not None:
        compare_vectors(made, check)
    if folder is not None:
        try:
            write_whole(folder / f"{start}{hashlib.sha256(made).hexdigest()}.onnx", made)
        except OSError as exc:  # a read-only folder costs half a second at each start
            log.warning("a prepared model cannot be kept", folder=str(folder), why=exc.strerror)
    return made


def compare_vectors(made: bytes, original: Embed) -> None:
    """Raises ModelError: model_differs, if any fixed crop has another vector than the original gives it."""
    from workers.faces.runtimes import Runtime, open_session

    crops = draw_crops(4)
    session = open_session(made, Runtime.ONNXRUNTIME)
    lowest = float(measure_cosines(original(crops), session.run(crops)[0]).min())
    if not lowest >= LOWEST_COSINE:
        raise ModelError(
            "model_differs",
            f"rewritten for speed, the model gives other vectors (cosine {lowest:.5f})",
            mend="report this with the model's name; nothing was kept",
        )


def draw_crops(count: int) -> npt.NDArray[np.uint8]:
    """(count, 112, 112, 3) uint8: fixed inputs, smooth as faces are, the same on every machine."""
    rng = np.random.default_rng(112)
    coarse = rng.uniform(0, 255, (count, 14, 14, 3)).astype(np.float32)
    fine = rng.uniform(-20, 20, (count, SIDE, SIDE, 3)).astype(np.float32)
    large = np.stack([cv2.resize(each, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for each in coarse])
    return np.clip(large + fine, 0, 255).astype(np.uint8)


def measure_cosines(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Cosine similarity row by row; 0 where a row is not finite or zero."""
    first, second = first.astype(np.float64), second.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        length = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
        products = np.einsum("ij,ij->i", first, second)
        cosines = np.divide(products, length, out=np.zeros_like(length), where=length > 0)
    return np.where(np.isfinite(cosines), cosines, 0.0)
