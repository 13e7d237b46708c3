"""Segment files: exact, whole under kills, refused when changed; threads find the same."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.supervisor import ROOT
from matcher.segments import (
    SHARE_ROWS,
    Segments,
    drop_other_segments,
    name_file,
    name_manifest,
    open_segment,
    save_segment,
    search_segments,
    writing,
)
from vault.errors import IndexFileError, VectorError
from vault.keys import Vectors

D = 128


def unit_rows(count: int, seed: int = 1, dimension: int = D) -> Vectors:
    rows = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return np.ascontiguousarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def save(folder: Path, count: int, segment_id: int = 1) -> Vectors:
    vectors = unit_rows(count, segment_id)
    ids = np.arange(count, dtype=np.int64) * 3 + 10**6 * segment_id
    save_segment(folder, segment_id=segment_id, ids=ids, vectors=vectors, pack="p", matrix_id="m", dimension=D)
    return vectors


def make_segments(folder: Path) -> Segments:
    return Segments(folder, pack="p", matrix_id="m", dimension=D)


def test_a_segment_is_read_back_exactly(tmp_path: Path) -> None:
    vectors = save(tmp_path, 700)
    segment = make_segments(tmp_path).open(1)
    assert segment.vectors.tobytes() == vectors.tobytes()
    assert segment.ids.tolist() == [3 * at + 10**6 for at in range(700)]
    found = search_segments([segment], vectors[:9], 0.999)
    assert [(hits.probe.tolist(), hits.row.tolist()) for _, hits in found] == [(list(range(9)), list(range(9)))]
    assert len(make_segments(tmp_path).open(1)) == 700


def test_an_empty_segment_is_one_too(tmp_path: Path) -> None:
    save(tmp_path, 0)
    segment = make_segments(tmp_path).open(1)
    assert len(segment) == 0
    assert search_segments([segment], unit_rows(2), 0.1) == []


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 300), min_size=1, max_size=4),
    probes=st.integers(1, 30),
    cut=st.floats(0.0, 0.6),
    threads=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_segments_find_what_the_whole_product_finds(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], probes: int, cut: float, threads: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("segments")
    vectors = {number: save(folder, size, number) for number, size in enumerate(sizes, start=1)}
    store = make_segments(folder)
    segments = [store.open(number) for number in vectors]
    asked = unit_rows(probes, seed + 7)
    found = {
        (int(probe), int(segment.ids[row])): float(score)
        for segment, hits in search_segments(segments, asked, cut, threads=threads)
        for probe, row, score in zip(hits.probe, hits.row, hits.score, strict=True)
    }
    for segment in segments:
        scores = asked.astype(np.float64) @ np.asarray(segment.vectors, np.float64).T
        for probe in range(probes):
            for row, face_id in enumerate(segment.ids.tolist()):
                score = scores[probe, row]
                if abs(score - cut) > 1e-5:
                    assert ((probe, face_id) in found) == (score > cut)


def test_threads_share_a_segment_by_rows(tmp_path: Path) -> None:
    vectors = save(tmp_path, SHARE_ROWS + 1000)
    segment = make_segments(tmp_path).open(1)
    asked = vectors[[5, SHARE_ROWS - 1, SHARE_ROWS, SHARE_ROWS + 999]]
    for threads in (1, 2):
        rows = sorted(int(row) for _, hits in search_segments([segment], asked, 0.99, threads=threads)
                      for row in hits.row)  # fmt: skip
        assert rows == [5, SHARE_ROWS - 1, SHARE_ROWS, SHARE_ROWS + 999]


@pytest.mark.parametrize("kind", ["nan", "inf", "zero", "long", "length", "order"])
def test_wrong_vectors_never_get_into_a_file(tmp_path: Path, kind: str) -> None:
    vectors, ids = unit_rows(3), np.arange(3)
    if kind == "length":
        vectors = unit_rows(3, dimension=64)
    elif kind == "order":
        ids = np.array([2, 1, 3])
    else:
        vectors[1] = {"nan": np.nan, "inf": np.inf, "zero": 0.0, "long": 5.0}[kind]
    with pytest.raises(VectorError):
        save_segment(tmp_path, segment_id=1, ids=ids, vectors=vectors, pack="p", matrix_id="m", dimension=D)
    assert list(tmp_path.iterdir()) == []


def test_100_flipped_bits_are_100_refusals(tmp_path: Path) -> None:
    """In every part of the file, the filling between them, and the manifest."""
    save(tmp_path, 300)
    chance = random.Random(7)
    for path, bits in ((tmp_path / name_file(1), 70), (tmp_path / name_manifest(1), 30)):
        original = path.read_bytes()
        for _ in range(bits):
            changed = bytearray(original)
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
            path.write_bytes(changed)
            with pytest.raises(IndexFileError) as caught:
                make_segments(tmp_path).open(1)
            assert caught.value.stable_code in ("index_changed", "index_missing")
            assert "segment-00000001" in caught.value.message
        path.write_bytes(original)
    assert len(make_segments(tmp_path).open(1)) == 300


@pytest.mark.parametrize("change", ["cut", "gone", "other", "no_manifest", "swapped", "pack"])
def test_a_short_missing_or_foreign_file_is_refused(tmp_path: Path, change: str) -> None:
    save(tmp_path, 50)
    save(tmp_path, 60, 2)
    path, manifest = tmp_path / name_file(1), tmp_path / name_manifest(1)
    store = make_segments(tmp_path)
    if change == "gone":
        path.unlink()
    elif change == "no_manifest":
        manifest.unlink()
    elif change == "swapped":
        manifest.write_bytes((tmp_path / name_manifest(2)).read_bytes())
    elif change == "pack":
        store = Segments(tmp_path, pack="other", matrix_id="m", dimension=D)
    else:
        path.write_bytes(path.read_bytes()[:-7] if change == "cut" else b"other")
    with pytest.raises(IndexFileError):
        store.open(1)


def test_a_file_that_becomes_another_is_checked_again(tmp_path: Path) -> None:
    save(tmp_path, 50)
    store = make_segments(tmp_path)
    first = store.open(1)
    assert store.open(1) is first
    save(tmp_path, 20)
    assert len(store.open(1)) == 20
    assert len(first) == 50, "whoever searches goes on with what is mapped"
    assert first.vectors.tobytes() == unit_rows(50, 1).tobytes()
    path = tmp_path / name_file(1)
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(IndexFileError):
        store.open(1)


def test_25_kills_while_saving_leave_25_whole_segments_or_none(tmp_path: Path) -> None:
    """SIGKILL at random moments of a process that saves without end: whatever opens is whole, and what was saved before
    the last one opens."""
    script = (
        "import sys\nimport numpy as np\nfrom pathlib import Path\nfrom matcher.segments import save_segment\n"
        "vectors = np.eye(128, dtype=np.float32)[np.arange(3000) % 128]\nprint('go', flush=True)\n"
        "number = int(sys.argv[2])\nwhile True:\n    number += 1\n"
        "    save_segment(Path(sys.argv[1]), segment_id=number, ids=np.arange(3000), vectors=vectors, pack='p',"
        " matrix_id='m', dimension=128)\n    print(number, flush=True)\n"
    )
    chance = random.Random(3)
    last = 0
    for _ in range(25):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path), str(last)], cwd=ROOT, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0, 0.08))
        process.send_signal(signal.SIGKILL)
        said = [int(line) for line in process.stdout.read().split()]
        process.wait()
        last = max([last, *said])
        for number in said:
            assert len(make_segments(tmp_path).open(number)) == 3000, "what was said to be saved is there"
        try:
            assert len(make_segments(tmp_path).open(last + 1)) == 3000
        except IndexFileError as exc:
            assert exc.case == "index_missing", "half of a segment never has a manifest"
    assert drop_other_segments(tmp_path, {last}) > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [name_file(last), name_manifest(last)]


def test_one_process_writes_a_folder_at_a_time(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom matcher.segments import writing\n"
        "with writing(Path(sys.argv[1])):\n    print('mine', flush=True)\n"
    )
    save(tmp_path, 10)
    with writing(tmp_path):
        process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE,
                                   env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.5)
        assert len(open_segment(tmp_path, 1)) == 10, "a reader does not wait"
    assert process.communicate(timeout=20)[0] == b"mine\n"
