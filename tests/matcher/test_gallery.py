"""The gallery and its files: exact, live, whole under kills, refused when changed, rebuilt from rows."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cli.supervisor import ROOT
from matcher.gallery import Gallery
from matcher.generations import MANIFEST, open_generation, read_manifest, save_generation
from tests.samples import enrol_person
from vault.errors import IndexFileError, VectorError
from vault.keys import Keys, Vectors
from vault.store.withdrawals import withdraw_consent
from workers.context import Context

D = 128


def unit_rows(count: int, seed: int = 1) -> Vectors:
    rows = np.random.default_rng(seed).standard_normal((count, D)).astype(np.float32)
    return np.ascontiguousarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def save(folder: Path, count: int, seed: int = 1) -> Vectors:
    vectors = unit_rows(count, seed)
    ids = np.arange(1, count + 1, dtype=np.int64)
    save_generation(folder, ids=ids, vectors=vectors, pack="p", matrix_id="m", dimension=D, clock=seed)
    return vectors


def test_a_generation_is_read_back_exactly(tmp_path: Path) -> None:
    vectors = save(tmp_path, 500)
    generation = read_manifest(tmp_path)
    assert generation is not None
    assert (generation.count, generation.last_id, generation.number) == (500, 500, 1)
    index, ids = open_generation(tmp_path, generation)
    assert ids.tolist() == list(range(1, 501))
    scores, labels = index.search(vectors[:20], 1)
    assert labels[:, 0].tolist() == list(range(1, 21))
    assert np.abs(scores[:, 0] - 1).max() < 1e-5


def test_an_older_generation_is_removed_when_the_next_is_there(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        save(tmp_path, 10, seed)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gallery-00000003-0.faiss", MANIFEST]


@pytest.mark.parametrize("kind", ["nan", "inf", "zero", "long"])
def test_wrong_vectors_never_get_into_a_file(tmp_path: Path, kind: str) -> None:
    vectors = unit_rows(3)
    vectors[1] = {"nan": np.nan, "inf": np.inf, "zero": 0.0, "long": 5.0}[kind]
    with pytest.raises(VectorError):
        save_generation(tmp_path, ids=np.arange(3), vectors=vectors, pack="p", matrix_id="m", dimension=D, clock=1)
    assert read_manifest(tmp_path) is None


def test_any_flipped_bit_is_refused(tmp_path: Path) -> None:
    """100 random bits of index and manifest: 100 refused."""
    save(tmp_path, 200)
    chance = random.Random(7)
    for path in tmp_path.iterdir():
        original = path.read_bytes()
        for _ in range(50):
            changed = bytearray(original)
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
            path.write_bytes(changed)
            with pytest.raises(IndexFileError) as caught:
                generation = read_manifest(tmp_path)
                assert generation is not None
                open_generation(tmp_path, generation)
            assert caught.value.stable_code in ("index_changed", "index_missing")
        path.write_bytes(original)


@pytest.mark.parametrize("change", ["cut", "gone", "other"])
def test_a_short_or_missing_file_is_refused(tmp_path: Path, change: str) -> None:
    save(tmp_path, 50)
    generation = read_manifest(tmp_path)
    assert generation is not None
    path = tmp_path / generation.file
    if change == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-7] if change == "cut" else b"other")
    with pytest.raises(IndexFileError):
        open_generation(tmp_path, generation)


def test_25_kills_while_saving_leave_25_whole_generations(tmp_path: Path) -> None:
    """SIGKILL at random moments of a process that saves without end: what is there is always one whole generation."""
    script = (
        "import sys\nimport numpy as np\nfrom pathlib import Path\nfrom matcher.generations import save_generation\n"
        "ids = np.arange(2000)\nvectors = np.eye(128, dtype=np.float32)[ids % 128]\nprint('go', flush=True)\n"
        "while True:\n    save_generation(Path(sys.argv[1]), ids=ids, vectors=vectors, pack='p', matrix_id='m', "
        "dimension=128, clock=1)\n"
    )
    save(tmp_path, 2000, 1)
    chance = random.Random(3)
    numbers = []
    for _ in range(25):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0, 0.08))
        process.send_signal(signal.SIGKILL)
        process.wait()
        generation = read_manifest(tmp_path)
        assert generation is not None
        index, ids = open_generation(tmp_path, generation)
        assert index.ntotal == len(ids) == 2000
        numbers.append(generation.number)
    assert numbers == sorted(numbers)
    assert numbers[-1] > numbers[0]


# -- the gallery on rows ----------------------------------------------------------------------------------------------


def make_gallery(context: Context) -> Gallery:
    return Gallery(context.settings.home / "index", context.keys, pack="opencv-zoo", dimension=D)


def keyed(context: Context, name: str) -> Vectors:
    """The keyed probe vector of a person's portrait."""
    from tests.samples import portrait

    with context.box.batch() as child:
        faces = context.engine.find_faces(child.open_picture(portrait(name, 70)).pixels)
    crop = max(faces, key=lambda face: face.box[2]).crop
    assert crop is not None
    return context.keys.protect_templates(context.engine.embed_crops([crop]))


def found(context: Context, gallery: Gallery, name: str, cut: float = 0.5) -> list[str]:
    gallery.refresh(context.conn)
    (candidates,) = gallery.search(keyed(context, name), cut)
    return [str(candidate.subject_id) for candidate in candidates]


def test_an_enrolled_person_is_found_from_rows_then_from_a_generation(context: Context) -> None:
    gallery = make_gallery(context)
    assert found(context, gallery, "astronaut") == []
    subject_id = enrol_person(context, "astronaut", confirmed=False)
    assert found(context, gallery, "astronaut") == [], "nothing is searchable before it is confirmed"
    from vault.store.subjects import confirm_consent

    confirm_consent(context.conn, subject_id)
    assert found(context, gallery, "astronaut") == [str(subject_id)]
    assert gallery.needs_build()
    assert gallery.build(context.conn, context.heartbeat) is not None
    assert found(context, gallery, "astronaut") == [str(subject_id)]
    assert not gallery.needs_build()
    second = enrol_person(context, "t1-1")
    assert found(context, gallery, "t1-1") == [str(second)], "the delta beside the generation is searched as well"
    assert found(context, gallery, "t1-2") == []


def test_a_withdrawn_person_is_silent_at_once_and_gone_from_the_next_file(context: Context) -> None:
    gallery = make_gallery(context)
    subject_id = enrol_person(context, "astronaut")
    gallery.build(context.conn, context.heartbeat)
    folder = context.settings.home / "index"
    template = keyed_template(context, context.keys)
    assert template in next(folder.glob("gallery-00000001-*.faiss")).read_bytes()
    withdraw_consent(context.conn, subject_id)
    assert found(context, gallery, "astronaut") == []
    assert gallery.needs_build()
    gallery.build(context.conn, context.heartbeat)
    assert all(template not in path.read_bytes() for path in folder.iterdir())


def keyed_template(context: Context, keys: Keys) -> bytes:
    from vault.store.subjects import list_live_templates, open_vector

    (row,) = list_live_templates(context.conn, "opencv-zoo", [1])
    return open_vector(keys, row)


def test_a_broken_generation_is_refused_and_rows_are_searched_instead(context: Context) -> None:
    subject_id = enrol_person(context, "astronaut")
    make_gallery(context).build(context.conn, context.heartbeat)
    (path,) = (context.settings.home / "index").glob("gallery-00000001-*.faiss")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    gallery = make_gallery(context)
    assert found(context, gallery, "astronaut") == [str(subject_id)]
    assert "gallery-00000001-" in str(gallery.broken)
    assert gallery.needs_build()
    gallery.build(context.conn, context.heartbeat)
    assert found(context, gallery, "astronaut") == [str(subject_id)]
    assert gallery.broken is None


def test_an_index_of_another_pack_or_key_is_refused(context: Context) -> None:
    subject_id = enrol_person(context, "astronaut")
    save(context.settings.home / "index", 5)
    gallery = make_gallery(context)
    assert found(context, gallery, "astronaut") == [str(subject_id)]
    assert gallery.broken is not None
    assert "index_other_pack" in gallery.broken


def test_a_gallery_whose_folder_is_deleted_goes_on(context: Context) -> None:
    subject_id = enrol_person(context, "astronaut")
    gallery = make_gallery(context)
    gallery.build(context.conn, context.heartbeat)
    for path in (context.settings.home / "index").iterdir():
        path.unlink()
    assert found(context, gallery, "astronaut") == [str(subject_id)]


@pytest.mark.parametrize("kind", ["nan", "long", "dimension"])
def test_a_probe_that_may_not_be_searched_is_refused(context: Context, kind: str) -> None:
    gallery = make_gallery(context)
    probe = unit_rows(1)
    if kind == "dimension":
        probe = np.ascontiguousarray(probe[:, :64] / np.linalg.norm(probe[:, :64]))
    else:
        probe[0, 0] = np.nan if kind == "nan" else 9.0
    with pytest.raises(VectorError):
        gallery.search(probe, 0.5)


def test_the_manifest_names_what_it_describes(context: Context) -> None:
    enrol_person(context, "astronaut")
    make_gallery(context).build(context.conn, context.heartbeat)
    table = json.loads((context.settings.home / "index" / MANIFEST).read_text())
    assert table["pack"] == "opencv-zoo"
    assert table["matrix_id"] == context.keys.matrix_id(D)
    assert table["count"] == 1
