"""Which runtime: in come a prepared recogniser and the setting, out comes the fastest one here whose vectors hold.

Tried once a machine and model, with fixed crops, in a second or two; what was found is kept beside the prepared models
and made again when processor, versions or model differ. A setting forces a runtime.
"""

import contextlib
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from vault.errors import ModelError
from vault.files import hold_file, write_whole
from vault.log import get_logger
from workers.faces.prepared import draw_crops, measure_cosines
from workers.faces.runtimes import Runtime, Session, list_runtimes, name_processor, open_session

AUTO = "auto"
ROUNDS = 5
CROPS = 16
# Of a runtime's vectors to onnxruntime's in f32, over the fixed crops. Over LFW's faces bf16 has a median of 0.9999 and
# loses nothing that counts (docs/performance.md); plain static INT8 had 0.93.
LOWEST_COSINE = 0.995
LOWEST_MEDIAN = 0.999
WORTH = 0.97  # of the time of f32, or reduced precision is not worth embedding some faces twice

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """What one runtime did: milliseconds a face (median of ROUNDS) and its lowest and median cosine to onnxruntime."""

    runtime: Runtime
    milliseconds: float
    lowest: float
    median: float

    @property
    def holds(self) -> bool:
        return self.lowest >= LOWEST_COSINE and self.median >= LOWEST_MEDIAN


def choose_runtime(wanted: str, model: bytes, folder: Path | None) -> Runtime:
    """The runtime for a prepared recogniser: the one that is wanted, or with "auto" the fastest that holds. Raises
    ModelError: runtime_missing."""
    if wanted != AUTO:
        return Runtime(wanted)
    mark = mark_machine(model)
    if folder is None:
        return pick(try_runtimes(model))
    try:
        with hold_file(folder / "runtime.lock"):  # two workers that try at once would slow each other
            trials = read_trials(folder, mark)
            if trials is None:
                trials = try_runtimes(model)
                write_trials(folder, mark, trials)
                log.info("a runtime was chosen", runtime=pick(trials).value,
                         **{each.runtime.value: round(each.milliseconds, 2) for each in trials})  # fmt: skip
    except OSError as exc:
        log.warning("the choice of a runtime cannot be kept", folder=str(folder), why=exc.strerror)
        trials = try_runtimes(model)
    return pick(trials)


def pick(trials: list[Trial]) -> Runtime:
    """The fastest whose vectors hold; f32 if reduced precision gains next to nothing."""
    fair = [each for each in trials if each.holds]
    exact = min((each for each in fair if each.runtime.exact), key=lambda each: each.milliseconds)
    best = min(fair, key=lambda each: each.milliseconds)
    return best.runtime if best.milliseconds < WORTH * exact.milliseconds else exact.runtime


def try_runtimes(model: bytes) -> list[Trial]:
    """Every runtime of this machine on the same crops, alternated."""
    sessions: dict[Runtime, Session] = {}
    for runtime in list_runtimes():
        try:
            sessions[runtime] = open_session(model, runtime)
        except ModelError as exc:
            log.warning("a runtime does not take the model", runtime=runtime.value, why=exc.message)
    crops = draw_crops(CROPS)
    found = {runtime: embed_all(session, crops) for runtime, session in sessions.items()}
    times: dict[Runtime, list[float]] = {runtime: [] for runtime in sessions}
    for _ in range(ROUNDS):
        for runtime, session in sessions.items():
            started = time.perf_counter()
            embed_all(session, crops)
            times[runtime].append((time.perf_counter() - started) / CROPS * 1000)
    trials = []
    for runtime, spent in times.items():
        cosines = measure_cosines(found[Runtime.ONNXRUNTIME], found[runtime])
        trials.append(
            Trial(
                runtime=runtime,
                milliseconds=float(np.median(spent)),
                lowest=float(cosines.min()),
                median=float(np.median(cosines)),
            )
        )
    return trials


def embed_all(session: Session, crops: Sequence[Any] | Any) -> Any:
    """(n, d) outputs for n crops, an array or a list of them, in the session's batches."""
    parts = [session.run(np.asarray(crops[at : at + session.batch]))[0] for at in range(0, len(crops), session.batch)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def mark_machine(model: bytes) -> dict[str, str]:
    """What a choice depends on."""
    versions = {}
    for name in ("onnxruntime", "onnxruntime-gpu", "openvino"):
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {"processor": name_processor(), "model": hashlib.sha256(model).hexdigest(), **versions}


def read_trials(folder: Path, mark: dict[str, str]) -> list[Trial] | None:
    """What was found on this machine before, None if that does not count any more."""
    try:
        table = json.loads((folder / "runtime.json").read_text(encoding="utf-8"))
        if table["mark"] != mark:
            return None
        return [Trial(**{**each, "runtime": Runtime(each["runtime"])}) for each in table["trials"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_trials(folder: Path, mark: dict[str, str], trials: list[Trial]) -> None:
    table = [
        {"runtime": each.runtime, "milliseconds": each.milliseconds, "lowest": each.lowest, "median": each.median}
        for each in trials
    ]
    write_whole(folder / "runtime.json", json.dumps({"mark": mark, "trials": table}, indent=1).encode())
