"""How long does a new enrolment's search among all kept faces take? One template and 64 against 1M and 10M faces in
segments on disk, warm, re-ranking from the stored vectors included; beside reading the 8-bit codes once with the same
threads, and bare FAISS (8-bit, one scale, top 100, no re-ranking). Memory a face, recall against the exact f32 product,
1 and 2 workers (processes) that share the segments, and how long a lost segment takes to be built from rows.

    .venv/bin/python -m bench.retro --folder FOLDER_OF_FACES --json bench/out/retro.json     (7 GB of disk, minutes)
    .venv/bin/python -m bench.retro --quick                                                  (1M faces, no database)

Fillers have the mean and covariance of real keyed vectors (`bench/fillers.py`); 10,000 planted faces have exact scores
from 0.05 below to 0.2 above the cut. Workers here take segments from a list; that they may as well be killed is what
`tests/workers/test_hunts.py` shows, on rows.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # numpy reads the number of threads when it is loaded: see `main`
    from bench.fillers import Faces
    from bench.report import Report
    from matcher.segments import Segment
    from vault.keys import Vectors

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
CUT = 0.473  # between the cuts that opencv-zoo's calibration gives for false match rates of 1e-5 and 1e-6
SEGMENT = 1_000_000
PLANTED = 10_000
TEMPLATES = 64
NEAR = 1e-5
REBUILT = 100_000
KIND = {"pack": "bench", "matrix_id": "bench"}


def parse(arguments: list[str] | None) -> argparse.Namespace:
    from bench.report import add_options

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="pictures of faces")
    parser.add_argument("--work", type=Path, help="where the segments are written (7 GB); removed afterwards")
    parser.add_argument("--faces", type=int, default=10_000_000, help="a multiple of a million")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=9)
    add_options(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    if any(os.environ.get(name) != "1" for name in THREAD_VARIABLES):  # threads are ours, over segments
        environ = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1")}
        os.execve(sys.executable, [sys.executable, "-m", "bench.retro", *(arguments or sys.argv[1:])], environ)
    from bench.fillers import load_faces
    from bench.report import Report
    from matcher.products import choose_product

    if args.quick:
        args.faces, args.runs = SEGMENT, 5
    faces = load_faces(args.folder)
    report = Report("retro", args)
    report.settings({"threads": args.threads, "product": choose_product().__name__, "cut": CUT})
    report.describe(faces=faces.source, count=args.faces, planted=PLANTED)
    with tempfile.TemporaryDirectory(prefix="facewarden-retro-", dir=args.work) as name:
        folder = Path(name)
        templates = write_faces(report, folder, faces, args.faces // SEGMENT)
        measure(report, args, folder, templates)
        measure_workers(report, folder, templates, args.faces // SEGMENT)
    if not args.quick:
        measure_rebuild(report, faces)
    report.show()
    report.write(args.json)
    return int(bool(report.failed))


def write_faces(report: "Report", folder: Path, faces: "Faces", count: int) -> "Vectors":
    """`count` segments of a million; the templates, around the first of which faces are planted."""
    import numpy as np

    from bench.fillers import plant_faces
    from matcher.segments import save_segment

    templates = faces.draw(TEMPLATES, 1)
    planted, _ = plant_faces(templates[0], PLANTED, CUT, 2)
    seconds = 0.0
    for number in range(count):
        vectors = faces.draw(SEGMENT, 100 + number)
        some = planted[number::count]
        vectors[np.random.default_rng(number).choice(SEGMENT, len(some), replace=False)] = some
        started = time.perf_counter()
        ids = np.arange(SEGMENT, dtype=np.int64) + number * SEGMENT
        save_segment(folder, segment_id=number + 1, ids=ids, vectors=vectors, dimension=faces.dimension, **KIND)
        seconds += time.perf_counter() - started
    report.add("retro.write_seconds_1m", seconds / count, "s to encode, write and sync a segment")
    return templates


def open_all(folder: Path, count: int, dimension: int) -> list["Segment"]:
    from matcher.segments import Segments

    store = Segments(folder, dimension=dimension, **KIND)
    return [store.open(number + 1) for number in range(count)]


def measure(report: "Report", args: argparse.Namespace, folder: Path, templates: "Vectors") -> None:
    from bench.children import make_pool

    count = args.faces // SEGMENT
    started = time.perf_counter()
    everything = open_all(folder, count, templates.shape[1])
    report.add("retro.open_seconds_1m", (time.perf_counter() - started) / count, "s to check and map a segment")
    for size in sorted({1, count}):
        measure_size(report, args, everything[:size], templates)
    found, wanted, wrong = compare(everything, templates, args.threads)
    report.add("retro.recall", found / wanted, f"of {wanted} pairs above the cut", bar=">= 0.999")
    report.add("retro.wrong_hits", wrong, "pairs below the cut", bar="== 0")
    with make_pool(1) as one_process:
        used = one_process.submit(measure_memory, folder, count, templates).result()
    report.add("retro.bytes_per_face", used, "bytes of memory a face", bar="<= 145")


def measure_size(
    report: "Report", args: argparse.Namespace, segments: Sequence["Segment"], templates: "Vectors"
) -> None:
    from bench.report import alternate
    from matcher.segments import search_segments

    one, pool, indexes = templates[:1], ThreadPoolExecutor(args.threads), make_bare(segments)
    times = alternate(args.runs, {
        "one": lambda: clock(lambda: search_segments(segments, one, CUT, threads=args.threads)),
        "read": lambda: clock(lambda: read_codes(segments, pool)),
        "faiss": lambda: clock(lambda: list(pool.map(lambda index: index.search(one, 100), indexes))),
    })  # fmt: skip
    many = alternate(3, {
        "many": lambda: clock(lambda: search_segments(segments, templates, CUT, threads=args.threads)),
        "faiss": lambda: clock(lambda: list(pool.map(lambda index: index.search(templates, 100), indexes))),
    })  # fmt: skip
    full, name = len(segments) == 10, f"{len(segments)}m"
    report.add(f"retro.ms_{name}", times["one"] * 1000, "ms, one template", bar="<= 50" if full else "")
    report.add(f"retro.ms_{name}_64", many["many"] * 1000, "ms, 64 templates", bar="<= 900" if full else "")
    report.add("retro.ratio_read" if full else f"retro.ratio_read_{name}", times["one"] / times["read"],
               "x reading the codes once", bar="<= 1.9" if full else "")  # fmt: skip
    report.add(f"retro.ms_read_{name}", times["read"] * 1000, "ms, reading the codes once")
    report.add(f"retro.faiss_ms_{name}", times["faiss"] * 1000, "ms, bare FAISS, one template")
    report.add(f"retro.faiss_ms_{name}_64", many["faiss"] * 1000, "ms, bare FAISS, 64 templates")


def clock(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def read_codes(segments: Sequence["Segment"], pool: ThreadPoolExecutor) -> None:
    """The fastest way in which numpy can look at every byte, in the same shares."""
    import numpy as np

    from matcher.segments import SHARE_ROWS

    shares = [segment.codes.values[start : start + SHARE_ROWS]
              for segment in segments for start in range(0, len(segment), SHARE_ROWS)]  # fmt: skip
    list(pool.map(lambda share: share.reshape(-1).view(np.uint64).max(), shares))


def make_bare(segments: Sequence["Segment"]) -> list[Any]:
    """FAISS's own index over the same codes, one a segment."""
    import faiss
    import numpy as np

    library: Any = faiss
    library.omp_set_num_threads(1)
    indexes = []
    for segment in segments:
        index = library.IndexScalarQuantizer(segment.manifest.dimension, library.ScalarQuantizer.QT_8bit_uniform,
                                             library.METRIC_INNER_PRODUCT)  # fmt: skip
        limit = segment.codes.limit
        library.copy_array_to_vector(np.array([-limit, 2 * limit], np.float32), index.sq.trained)
        index.is_trained = True
        index.add_sa_codes(np.ascontiguousarray(segment.codes.values))
        indexes.append(index)
    return indexes


def compare(segments: Sequence["Segment"], templates: "Vectors", threads: int) -> tuple[int, int, int]:
    """Pairs found of those above the cut by numpy's f32 product, how many those are, and pairs found below it."""
    import numpy as np

    from matcher.segments import search_segments

    found: dict[int, set[tuple[int, int]]] = {id(segment): set() for segment in segments}
    for segment, hits in search_segments(segments, templates, CUT, threads=threads):
        found[id(segment)] |= set(zip(hits.probe.tolist(), hits.row.tolist(), strict=True))
    right = wanted = wrong = 0
    for segment in segments:
        above, near = set[tuple[int, int]](), set[tuple[int, int]]()
        for start in range(0, len(segment), 50_000):
            scores = templates @ segment.vectors[start : start + 50_000].T
            for kept, least in ((above, CUT), (near, CUT - NEAR)):
                probe, row = np.divmod(np.flatnonzero(scores >= least), scores.shape[1])
                kept |= set(zip(probe.tolist(), (row + start).tolist(), strict=True))
        right += len(above & found[id(segment)])
        wanted += len(above)
        wrong += len(found[id(segment)] - near)
    return right, wanted, wrong


def measure_memory(folder: Path, count: int, templates: "Vectors") -> float:
    """Bytes a face that opening and searching adds to a process: private pages, and pages of codes and ids that are
    mapped, shared or not; not the page cache of the stored vectors."""
    from matcher.codes import encode
    from matcher.search import search
    from matcher.segments import search_segments

    for probes in (templates[:1], templates):  # libraries are loaded and have their buffers
        search(encode(templates), templates, probes, CUT)
    before = count_pages()
    segments = open_all(folder, count, templates.shape[1])
    for probes in (templates[:1], templates):
        search_segments(segments, probes, CUT, threads=2)
    return (count_pages() - before) / sum(len(segment) for segment in segments)


def count_pages() -> int:
    """Resident bytes of this process, but for the stored vectors (a segment file's mapping from its beginning)."""
    total, counted = 0, True
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        fields = line.split()
        if fields[0].endswith(":"):
            if fields[0] == "Rss:" and counted:
                total += int(fields[1]) * 1024
        else:
            counted = not (fields[-1].endswith(".faces") and int(fields[2], 16) == 0)
    return total


# -- workers ----------------------------------------------------------------------------------------------------------

_opened: list["Segment"] = []


def start_worker(folder: Path, count: int, dimension: int) -> None:
    _opened.extend(open_all(folder, count, dimension))


def search_one(task: tuple[int, "Vectors"]) -> int:
    from matcher.segments import search_segments

    number, templates = task
    return sum(len(hits) for _, hits in search_segments([_opened[number]], templates, CUT))


def measure_workers(report: "Report", folder: Path, templates: "Vectors", count: int) -> None:
    """The same hunt of 64 templates by 1 and by 2 processes, each of one thread, that take a segment at a time."""
    from bench.children import make_pool

    results = {}
    for workers in (1, 2):
        with make_pool(workers, start_worker, (folder, count, templates.shape[1])) as pool:
            tasks = [(number, templates) for number in range(count)]
            list(pool.map(search_one, tasks * workers))  # warm: every worker has opened its files
            times = []
            for _ in range(5):
                started = time.perf_counter()
                results[workers] = sum(pool.map(search_one, tasks))
                times.append(time.perf_counter() - started)
        report.add(f"retro.ms_64_workers_{workers}", sorted(times)[2] * 1000, f"ms, {count}M faces, 64 templates")
    report.add("retro.workers_differ", abs(results[1] - results[2]), f"of {results[1]} hits", bar="== 0")


# -- a lost segment ---------------------------------------------------------------------------------------------------


def measure_rebuild(report: "Report", faces: "Faces") -> None:
    """Rows of kept faces in a database of its own, their segment built, lost, and built again."""
    import numpy as np

    from bench.servers import start_servers
    from matcher.segments import drop_other_segments
    from workers.build_segments import open_segment, write_segment
    from workers.context import Context

    with start_servers("retro") as settings:
        context = Context(settings)
        pack, matrix_id, _ = context.segments.kind
        conn = context.conn
        with conn.transaction():
            conn.execute("set local session_replication_role = replica")  # faces without a listing around them
            copy_query = """copy face (sample_id, ordinal, x, y, width, height, landmarks, score, sharpness, pack,
                                       matrix_id, template, outcome, expires_at, state) from stdin"""
            with conn.cursor().copy(copy_query) as copy:
                for at, vector in enumerate(faces.draw(REBUILT, 5).astype("<f4")):
                    copy.write_row((1, at, 0, 0, 50, 50, [0.0] * 10, 0.9, 50, pack, matrix_id, vector.tobytes(),
                                    "unmatched", "2999-01-01", "done"))  # fmt: skip
        ids = [row[0] for row in conn.execute("select face_id from face").fetchall()]
        started = time.perf_counter()
        segment_id = write_segment(context, [], ids)
        assert segment_id is not None
        report.add("retro.build_seconds_100k", time.perf_counter() - started, "s, rows to a segment")
        drop_other_segments(context.segments.folder, set())
        started = time.perf_counter()
        segment = open_segment(context, segment_id)
        report.add("retro.rebuild_seconds_100k", time.perf_counter() - started, "s, a lost segment from rows",
                   bar="<= 10")  # fmt: skip
        assert segment is not None
        assert np.array_equal(segment.ids, np.sort(ids))
        context.close()


if __name__ == "__main__":
    sys.exit(main())
