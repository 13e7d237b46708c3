"""Measure how strangers score: in comes a folder of labelled faces (one a person), out comes a calibration record.

    python -m bench.calibrate --folder FOLDER --name "LFW deep-funneled" --out matcher/calibrations/opencv-zoo.json

Only people of calibration names are used (`matcher.calibration.is_calibration_name`); the demo draws from the others.
Compared as in use: the probe is one face's vector, the template the enrolled way (image and mirror image), both in f32.
The face nearest the centre of a picture is the labelled one. No image and no name goes into the record.
"""

import argparse
import datetime as dt
import json
import time
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import numpy.typing as npt

from matcher.calibration import FORMAT, derive_cut, is_calibration_name, parse_calibration
from vault.box import Box
from vault.errors import InputRefused
from vault.keys import Vectors
from vault.settings import load_settings
from workers.faces.engine import load_engine

LOW, WIDTH, BINS = -1.0, 0.001, 2000
CAVEAT = (
    "public figures, mostly adult, male and light-skinned; the model may have seen them in training; the pairs are not "
    "independent, so rates counted from few errors are looser than they look"
)


def embed_people(part: list[tuple[int, Path]]) -> list[tuple[int, bytes, bytes]]:
    """(person, probe vector, enrolled vector) of each picture with a face."""
    engine = load_engine(load_settings())
    rows = []
    with Box() as box, box.batch() as child:
        for person, path in part:
            try:
                picture = child.open_picture(path.read_bytes())
            except InputRefused:
                continue
            height, width = picture.pixels.shape[:2]
            faces = [face for face in engine.find_faces(picture.pixels) if face.crop is not None]
            if not faces:
                continue
            centre = min(
                faces,
                key=lambda f: (f.box[0] + f.box[2] / 2 - width / 2) ** 2 + (f.box[1] + f.box[3] / 2 - height / 2) ** 2,
            )
            assert centre.crop is not None
            probe, enrolled = engine.embed_crops([centre.crop]), engine.embed_enrolled(centre.crop)
            rows.append((person, probe.tobytes(), enrolled.tobytes()))
    return rows


def count_impostors(people: npt.NDArray[np.int64], probes: Vectors, enrolled: Vectors) -> list[int]:
    """Histogram of the cosine of every probe with every template of another person."""
    counts = np.zeros(BINS, np.int64)
    for start in range(0, len(probes), 500):
        scores = probes[start : start + 500] @ enrolled.T
        others = people[start : start + 500, None] != people[None]
        counts += np.histogram(np.clip(scores[others], LOW, -LOW - 1e-6), BINS, (LOW, LOW + BINS * WIDTH))[0]
    return [int(count) for count in counts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--name", required=True, help="what the data are called in the record")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    names = sorted(p.name for p in args.folder.iterdir() if p.is_dir() and is_calibration_name(p.name))
    jobs = [(number, path) for number, name in enumerate(names) for path in sorted((args.folder / name).iterdir())]
    started = time.monotonic()
    with Pool(args.processes) as pool:
        parts = pool.map(embed_people, [jobs[start :: args.processes] for start in range(args.processes)])
    rows = sorted((row for part in parts for row in part), key=lambda row: row[0])
    people = np.array([person for person, _, _ in rows], np.int64)
    probes = np.stack([np.frombuffer(probe, np.float32) for _, probe, _ in rows])
    enrolled = np.stack([np.frombuffer(vector, np.float32) for _, _, vector in rows])
    counts = count_impostors(people, probes, enrolled)
    pack = load_engine(load_settings()).pack
    record = {
        "format": FORMAT,
        "pack": pack.name,
        "detector_sha256": pack.detector.sha256,
        "recogniser_sha256": pack.recogniser.sha256,
        "method": "cosine of a probe vector and a template of image and mirror image, f32",
        "measured": dt.datetime.now(dt.UTC).date().isoformat(),
        "data": {
            "name": args.name,
            "people": len(set(people.tolist())),
            "images": len(rows),
            "selection": "names whose SHA-256 has an odd first byte; the face nearest the centre",
            "caveat": CAVEAT,
        },
        "impostor": {
            "low": LOW,
            "width": WIDTH,
            "bins": BINS,
            "pairs": sum(counts),
            "counts": [[index, count] for index, count in enumerate(counts) if count],
        },
    }
    text = json.dumps(record, ensure_ascii=False)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(text + "\n", encoding="utf-8")
    calibration = parse_calibration(text)
    print(f"{len(rows)} images of {len(names)} people, {calibration.pairs} pairs, {time.monotonic() - started:.0f} s")
    print("false match rate   cut")
    for rate in (1e-3, 1e-4, 1e-5, 1e-6):
        cut = derive_cut(calibration, false_alerts=rate, faces=1, templates=1)
        print(f"{rate:16.0e}   {cut.score:.3f}{'' if cut.supported else '  (the data do not support this rate)'}")


if __name__ == "__main__":
    main()
