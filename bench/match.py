"""How fast are probes matched with an enrolled gallery? Batches of 10,000 probes against 1k to 1M templates, with
tombstones, and a cut of its own for each probe (what its factor asks for), beside numpy's f32 product (results kept
nowhere) and FAISS's exact index (range search at the cut); and one probe against as many, beside reading the f32 matrix
once.

    .venv/bin/python -m bench.match --folder FOLDER_OF_FACES
    .venv/bin/python -m bench.match --quick --json bench/out/match.json
    .venv/bin/python -m bench.match --threads 2

All sides have the same number of threads and run in turn; medians. `--folder` defaults to FACEWARDEN_EVAL_DATA/lfw and
is only read for its mean and covariance (`bench/fillers.py`), once.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # numpy reads the number of threads when it is loaded: see `main`
    from bench.fillers import Faces
    from bench.report import Report
    from matcher.search import Hits

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
CUT = 0.473  # between the cuts that opencv-zoo's calibration gives for false match rates of 1e-5 and 1e-6
DEAD_SHARE = 0.01
BLOCK = 1000
NEAR = 1e-5  # f32 products differ by less


def parse(arguments: list[str] | None) -> argparse.Namespace:
    from bench.report import add_options

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="pictures of faces")
    parser.add_argument("--threads", type=int, default=1, help="of every side")
    parser.add_argument("--probes", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=5)
    add_options(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    if any(os.environ.get(name) != str(args.threads) for name in THREAD_VARIABLES):  # read when numpy is loaded
        environ = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(args.threads))}
        os.execve(sys.executable, [sys.executable, "-m", "bench.match", *(arguments or sys.argv[1:])], environ)
    return measure(args)


def measure(args: argparse.Namespace) -> int:
    import faiss

    from bench.fillers import load_faces
    from bench.report import Report
    from matcher.products import choose_product

    faces = load_faces(args.folder)
    faiss.omp_set_num_threads(args.threads)
    probe_count = 2000 if args.quick else args.probes
    report = Report("match", args)
    report.settings({"threads": args.threads, "product": choose_product().__name__, "cut": CUT, "dead": DEAD_SHARE,
                     "normalisation": "a factor for each probe"})  # fmt: skip
    report.describe(faces=faces.source, probes=probe_count)
    for size in (1000, 10_000, 100_000, 1_000_000):
        measure_size(report, args, faces, size, BLOCK if args.quick and size == 1_000_000 else probe_count)
    report.show()
    report.write(args.json)
    return int(bool(report.failed))


def measure_size(report: "Report", args: argparse.Namespace, faces: "Faces", size: int, probe_count: int) -> None:
    """Batches and single probes against `size` templates."""
    import faiss
    import numpy as np

    from bench.fillers import plant_faces
    from bench.report import alternate
    from matcher.codes import encode
    from matcher.search import search
    from matcher.space import FACTOR_RANGE

    probes, templates = faces.draw(probe_count, 1), faces.draw(size, 10 + size)
    for number in range(0, 200, 2):  # probes of somebody enrolled, so that there is something to find
        templates[(number * 7919) % size] = plant_faces(probes[number], 1, CUT + 0.2, number)[0][0]
    codes, dead = encode(templates), np.random.default_rng(size).random(size) < DEAD_SHARE
    # what a probe's factor does to its cut (matcher/space.py)
    factors = np.random.default_rng(size + 1).uniform(*FACTOR_RANGE, probe_count)
    flat = faiss.IndexFlatIP(faces.dimension)
    flat.add(templates)
    starts, pool = range(0, probe_count, BLOCK), ThreadPoolExecutor(args.threads)
    name = f"{size // 1000}k" if size < 1_000_000 else "1m"

    def ours(start: int, stop: int, weighed: bool) -> "Hits":
        return search(codes, templates, probes[start:stop], CUT / factors[start:stop] if weighed else CUT, dead=dead)

    def clock(work: Callable[[], object]) -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    def each_block(work: Callable[[int], object]) -> Callable[[], float]:
        """For what has threads of its own; ours are given blocks of probes."""
        return lambda: clock(lambda: [work(start) for start in starts])

    def our_blocks(weighed: bool) -> Callable[[], float]:
        return lambda: clock(lambda: list(pool.map(lambda start: ours(start, start + BLOCK, weighed), starts)))

    times = alternate(1 if size == 1_000_000 and args.quick else 3 if args.quick or size == 1_000_000 else args.runs, {
        "ours": our_blocks(True),
        "ours_cosine": our_blocks(False),
        "numpy": each_block(lambda start: probes[start : start + BLOCK] @ templates.T),
        "faiss": each_block(lambda start: flat.range_search(probes[start : start + BLOCK], CUT)),
    })  # fmt: skip
    report.add(f"match.probes_per_second_{name}", probe_count / times["ours"], "probes/s")
    report.add(f"match.ratio_blas_{name}", times["numpy"] / times["ours"], "x numpy's f32 product",
               bar=">= 1.4" if size == 100_000 else "")  # fmt: skip
    report.add(f"match.ratio_blas_cosine_{name}", times["numpy"] / times["ours_cosine"], "x, cut on the cosine")
    report.add(f"match.ratio_faiss_{name}", times["faiss"] / times["ours_cosine"], "x FAISS flat range search")

    checked = min(BLOCK, 100_000_000 // size)
    scores = probes[:checked] @ templates.T
    wrong, hits_found = 0, 0
    for weighed in (False, True):
        hits, exact = ours(0, checked, weighed), scores * factors[:checked, None] if weighed else scores
        found = np.zeros(exact.shape, bool)
        found[hits.probe, hits.row] = True
        wrong += int(((found != ((exact >= CUT) & ~dead)) & (np.abs(exact - CUT) > NEAR)).sum())
        hits_found += len(hits)
    report.add(f"match.wrong_hits_{name}", wrong, f"of {hits_found} hits, more than {NEAR} from the cut", bar="== 0")

    words, single = templates.view(np.int32), np.ascontiguousarray(probes[:1])
    singles = alternate(15, {
        "ours": lambda: clock(lambda: search(codes, templates, single, CUT, dead=dead)),
        "read": lambda: clock(words.max),
        "numpy": lambda: clock(lambda: templates @ single[0]),
        "faiss": lambda: clock(lambda: flat.search(single, 10)),
    })  # fmt: skip
    report.add(f"match.ms_one_{name}", singles["ours"] * 1000, "ms, one probe")
    report.add(f"match.ratio_read_{name}", singles["ours"] / singles["read"], "x reading the f32 matrix once",
               bar="<= 0.5" if size == 1_000_000 else "")  # fmt: skip
    report.add(f"match.ratio_gemv_{name}", singles["ours"] / singles["numpy"], "x numpy's f32 product")
    report.add(f"match.ratio_faiss_one_{name}", singles["ours"] / singles["faiss"], "x FAISS flat search")


if __name__ == "__main__":
    sys.exit(main())
