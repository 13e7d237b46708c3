"""The models: digests, graph work that changes nothing, both packs, and what may not become a vector."""

import hashlib
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from cli.demo.people import T1_FACES, open_t1
from tests.fakes import Crowd
from vault.errors import CalibrationError, ModelError
from vault.settings import Faces, Settings
from workers.faces.align import PLACES, align_face, fit_similarity
from workers.faces.engine import Engine, normalise
from workers.faces.graphs import prepare_recogniser
from workers.faces.insight import InsightRecogniser, classify_model
from workers.faces.packs import Model, add_pack, get_pack, list_packs, opencv_zoo, read_model
from workers.faces.runtimes import OnnxSession
from workers.faces.zoo import PublishedSFace, YuNet


def t1_pixels() -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    return np.ascontiguousarray(np.asarray(open_t1())[:, :, ::-1])


def test_the_digests_are_those_of_the_official_files() -> None:
    for model in (opencv_zoo().detector, opencv_zoo().recogniser):
        assert hashlib.sha256(read_model(model)).hexdigest() == model.sha256


@pytest.mark.parametrize("change", ["missing", "cut", "swapped", "flipped"])
def test_a_model_file_that_is_not_the_expected_one_stops_the_start(tmp_path: Path, change: str) -> None:
    pack = opencv_zoo()
    path = tmp_path / "model.onnx"
    data = bytearray(pack.detector.path.read_bytes())
    if change == "cut":
        del data[-100:]
    elif change == "flipped":
        data[len(data) // 2] ^= 1
    elif change == "swapped":
        data = bytearray(pack.recogniser.path.read_bytes())
    if change != "missing":
        path.write_bytes(data)
    with pytest.raises(ModelError) as caught:
        Engine(replace(pack, detector=Model(path=path, sha256=pack.detector.sha256)))
    assert caught.value.stable_code == ("model_missing" if change == "missing" else "model_digest_mismatch")


def test_the_faces_of_t1_are_found_where_they_are(engine: Engine) -> None:
    faces = engine.find_faces(t1_pixels())
    assert len(faces) == len(T1_FACES)
    for face, known in zip(faces, T1_FACES, strict=True):
        for value, expected in zip(face.box, known, strict=True):
            assert abs(value - expected) < 6
        assert face.score > 0.8
        assert face.crop is not None
        assert face.crop.shape == (112, 112, 3)
        assert face.quality is not None
        assert face.quality.sharpness > 20


def test_graph_work_changes_no_vector(engine: Engine) -> None:
    """Rewritten for speed: the same vectors as the published file gives, one by one, and the same norms."""
    crops = np.stack([face.crop for face in engine.find_faces(t1_pixels()) if face.crop is not None])
    expected = PublishedSFace(read_model(opencv_zoo().recogniser)).embed(crops)
    ours = OnnxSession(prepare_recogniser(read_model(opencv_zoo().recogniser))).run(crops)[0]
    assert np.abs(expected - ours).max() < 1e-4 * np.abs(expected).max()
    assert (normalise(expected) * engine.embed_crops(list(crops))).sum(axis=1).min() > 0.99999


def test_insightface_gives_the_same_vector_for_the_same_model(engine: Engine) -> None:
    """The research path is real: SFace opened by insightface.model_zoo, cosine >= 0.999 with ours."""
    crops = [face.crop for face in engine.find_faces(t1_pixels()) if face.crop is not None]
    theirs = normalise(InsightRecogniser(opencv_zoo().recogniser.path).embed(np.stack(crops)))
    assert (theirs * engine.embed_crops(crops)).sum(axis=1).min() >= 0.999


def test_insightface_tells_what_a_file_is() -> None:
    assert classify_model(opencv_zoo().recogniser.path) == ("recogniser", 128)
    assert classify_model(opencv_zoo().detector.path) == ("other", 0)  # YuNet's outputs are not SCRFD's


def test_a_mirrored_or_batched_face_has_the_vector_it_must_have(engine: Engine) -> None:
    crops = [face.crop for face in engine.find_faces(t1_pixels()) if face.crop is not None]
    alone = np.concatenate([engine.embed_crops([crop]) for crop in crops])
    together = engine.embed_crops(crops * 3)
    assert np.abs(together[: len(crops)] - alone).max() < 1e-5
    mirrored = [np.ascontiguousarray(crop[:, ::-1]) for crop in crops]
    for crop, mirror in zip(crops, mirrored, strict=True):
        assert np.abs(engine.embed_enrolled([crop]) - engine.embed_enrolled([mirror])).max() < 1e-4


@pytest.mark.parametrize("colour", [0, 128, 255])
def test_a_blank_picture_has_no_face_and_a_blank_crop_no_match(engine: Engine, colour: int) -> None:
    assert engine.find_faces(np.full((300, 300, 3), colour, np.uint8)) == []
    vector = engine.embed_crops([np.full((112, 112, 3), colour, np.uint8)])
    assert np.isfinite(vector).all()
    assert abs(np.linalg.norm(vector) - 1) < 1e-3 or not vector.any()


def test_values_that_are_no_vector_become_zeros_and_never_vectors() -> None:
    rows = np.array([[3.0, 4.0], [np.nan, 1.0], [np.inf, 1.0], [0.0, 0.0], [1e-9, 0.0]], np.float32)
    unit = normalise(rows)
    assert unit[0].tolist() == pytest.approx([0.6, 0.8])
    assert not unit[1:].any()


def test_every_face_of_a_contact_sheet_is_looked_at(engine: Engine) -> None:
    face = t1_pixels()[240:440, 20:200]
    tile = cv2.resize(face, (72, 80))
    wall = np.tile(tile, (9, 10, 1))[:640, :640]
    found, left_out = engine.find_all(np.ascontiguousarray(wall))
    assert len(found) > 64
    assert left_out == 0


@pytest.mark.parametrize(("faces", "left_out"), [(65, 0), (1000, 0), (1001, 1), (5000, 4000)])
def test_the_thousand_largest_faces_are_looked_at_and_the_rest_counted(faces: int, left_out: int) -> None:
    engine = Engine(opencv_zoo())
    engine.detector = Crowd(faces)
    found, beyond = engine.find_all(np.zeros((1280, 1280, 3), np.uint8))
    assert (len(found), beyond) == (min(faces, 1000), left_out)
    sides = sorted((side for side in Crowd(faces).sides), reverse=True)[: len(found)]
    assert sorted((each.box[2] for each in found), reverse=True) == pytest.approx(sides)


def test_a_face_of_a_few_pixels_is_counted_and_not_matched(engine: Engine) -> None:
    small = cv2.resize(t1_pixels(), None, fx=0.14, fy=0.14, interpolation=cv2.INTER_AREA)
    faces = engine.find_faces(np.ascontiguousarray(small))
    assert faces
    assert all(face.crop is None for face in faces)


def test_a_small_face_in_a_large_picture_is_found_at_full_size(engine: Engine) -> None:
    head = cv2.resize(t1_pixels()[200:480, :220], (51, 65), interpolation=cv2.INTER_AREA)
    wide = np.full((900, 1280, 3), 128, np.uint8)
    wide[400:465, 600:651] = head
    assert isinstance(engine.detector, YuNet)
    assert not len(engine.detector._detect_at(wide, 0.5)[0]), "the first look misses it"
    (found,) = engine.find_faces(wide)
    assert 605 < found.box[0] < 620
    assert 24 < min(found.box[2:]) < 40


def test_alignment_brings_landmarks_to_their_places() -> None:
    turned = PLACES @ np.array([[0.0, 2.0], [-2.0, 0.0]]) + 40  # turned by 90 degrees, twice as large, moved
    matrix = fit_similarity(turned.astype(np.float32))
    moved = turned @ matrix[:, :2].T + matrix[:, 2]
    assert np.abs(moved - PLACES).max() < 1e-4
    assert align_face(np.zeros((50, 50, 3), np.uint8), turned.astype(np.float32)).shape == (112, 112, 3)


def test_landmarks_on_one_point_do_not_crash() -> None:
    crop = align_face(np.zeros((50, 50, 3), np.uint8), np.full((5, 2), 20, np.float32))
    assert crop.shape == (112, 112, 3)


# -- packs added by hand ----------------------------------------------------------------------------------------------


def settings_with(tmp_path: Path, **faces: object) -> Settings:
    return Settings(home=tmp_path, key_file=tmp_path / "k", faces=Faces(**faces))  # type: ignore[arg-type]


def test_a_pack_states_its_licence_and_commercial_use_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "pack.zip"
    with zipfile.ZipFile(archive, "w") as package:
        package.write(opencv_zoo().recogniser.path, "w600k.onnx")
        package.writestr("det.onnx", make_scrfd())
        package.writestr("readme.txt", "not a model")
    settings = settings_with(tmp_path)
    with pytest.raises(ModelError) as caught:
        add_pack(settings, "insightface:test", "commercial", archive)
    assert caught.value.stable_code == "model_licence"
    pack = add_pack(settings, "insightface:test", "research-only", archive)
    assert (pack.dimension, pack.commercial) == (128, False)
    assert [each.name for each in list_packs(settings)] == ["opencv-zoo", "insightface:test"]
    engine = Engine(get_pack(settings_with(tmp_path, pack="insightface:test")))
    assert engine.find_faces(np.zeros((200, 200, 3), np.uint8)) == []
    with pytest.raises(ModelError) as caught:
        get_pack(settings_with(tmp_path, pack="insightface:test", commercial=True))
    assert caught.value.stable_code == "model_licence"
    pack.recogniser.path.write_bytes(b"swapped")
    with pytest.raises(ModelError) as caught:
        Engine(get_pack(settings_with(tmp_path, pack="insightface:test")))
    assert caught.value.stable_code == "model_digest_mismatch"


def make_scrfd() -> bytes:
    """A model of SCRFD's shape (insightface/model_zoo/scrfd.py: nine outputs at strides 8, 16, 32, two anchors a cell)
    that finds nothing."""
    import onnx
    from onnx import TensorProto, helper

    nodes, outputs, constants = [], [], []
    for kind, width in (("score", 1), ("box", 4), ("points", 10)):
        for stride in (8, 16, 32):
            cells = (640 // stride) ** 2 * 2
            name = f"{kind}_{stride}"
            values = np.zeros((cells, width), np.float32)
            constants.append(onnx.numpy_helper.from_array(values, f"{name}_zero"))
            nodes.append(helper.make_node("Add", [f"{name}_zero", "nothing"], [name]))
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [cells, width]))
    nodes.insert(0, helper.make_node("ReduceMin", ["input.1"], ["low"], keepdims=0))
    nodes.insert(1, helper.make_node("Mul", ["low", "zero"], ["nothing"]))
    constants.append(onnx.numpy_helper.from_array(np.array(0, np.float32), "zero"))
    inputs = [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [1, 3, "h", "w"])]
    graph = helper.make_graph(nodes, "scrfd", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("name", ["buffalo_l", "insightface:../x", "insightface:", "opencv-zoo"])
def test_a_packs_name_is_checked(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError):
        add_pack(settings_with(tmp_path), name, "research-only", tmp_path / "none.zip")


def test_a_pack_without_calibration_cannot_be_used_by_a_worker(tmp_path: Path) -> None:
    from cli.setup import prepare_pack

    archive = tmp_path / "pack.zip"
    with zipfile.ZipFile(archive, "w") as package:
        package.write(opencv_zoo().recogniser.path, "w600k.onnx")
        package.writestr("det.onnx", make_scrfd())
    settings = settings_with(tmp_path, pack="insightface:test")
    add_pack(settings, "insightface:test", "research-only", archive)
    with pytest.raises(CalibrationError):
        prepare_pack(settings)
    shutil.rmtree(tmp_path / "models")
    with pytest.raises(ModelError):
        prepare_pack(settings)
