"""Models at speed: rewriting keeps the function, runtimes agree, the choice is the machine's, changes are refused."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from vault.errors import ModelError, SettingError
from vault.settings import RUNTIMES, load_settings
from workers.faces import runtimes
from workers.faces.choice import Trial, choose_runtime, embed_all, pick, read_trials
from workers.faces.engine import Engine
from workers.faces.graphs import prepare_recogniser
from workers.faces.packs import Model, opencv_zoo, read_model
from workers.faces.prepared import draw_crops, measure_cosines, read_prepared
from workers.faces.runtimes import BATCHES, OnnxSession, Runtime, halve_precision, list_runtimes, open_session

rng = np.random.default_rng(5)


def make_iresnet(blocks: int = 2, widths: tuple[int, ...] = (16, 24), *, steep: bool = False) -> bytes:
    """A small graph of the shape of insightface's IResNet (ArcFace packs): conv, bn, prelu, then blocks of bn, conv,
    bn, prelu, conv, bn with a shortcut, then bn, flatten, fc, bn; weights among the inputs, batch 1."""
    nodes, weights = [], {}

    def constant(name: str, values: np.ndarray) -> str:
        weights[name] = values.astype(np.float32)
        return name

    def conv(source: str, out: str, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> str:
        weight = constant(
            f"{out}.w", rng.normal(0, (2 / (inputs * kernel**2)) ** 0.5, (outputs, inputs, kernel, kernel))
        )
        pad = [kernel // 2] * 4
        nodes.append(helper.make_node("Conv", [source, weight], [out], kernel_shape=[kernel, kernel],
                                      pads=pad, strides=[stride, stride]))  # fmt: skip
        return out

    def norm(source: str, out: str, channels: int) -> str:
        values = rng.uniform(0.5, 2, channels), rng.normal(0, 0.3, channels), rng.normal(0, 0.3, channels)
        names = [constant(f"{out}.{i}", each) for i, each in enumerate((*values, rng.uniform(0.5, 2, channels)))]
        nodes.append(helper.make_node("BatchNormalization", [source, *names], [out], epsilon=1e-5))
        return out

    def prelu(source: str, out: str, channels: int) -> str:
        slope = rng.uniform(-0.5, 1.3, (channels, 1, 1))
        if steep:
            slope[0] = 1.0  # cannot be divided by what it leaves
        nodes.append(helper.make_node("PRelu", [source, constant(f"{out}.a", slope)], [out]))
        return out

    value = prelu(norm(conv("input.1", "stem", 3, widths[0]), "stem.bn", widths[0]), "stem.act", widths[0])
    inputs = widths[0]
    for stage, width in enumerate(widths):
        for block in range(blocks):
            name, stride = f"s{stage}b{block}", 2 if block == 0 else 1
            inner = conv(norm(value, f"{name}.bn1", inputs), f"{name}.conv1", inputs, width)
            inner = prelu(norm(inner, f"{name}.bn2", width), f"{name}.act", width)
            inner = norm(conv(inner, f"{name}.conv2", width, width, stride=stride), f"{name}.bn3", width)
            beside = value
            if block == 0:
                beside = norm(conv(value, f"{name}.down", inputs, width, 1, 2), f"{name}.down.bn", width)
            nodes.append(helper.make_node("Add", [inner, beside], [f"{name}.sum"]))
            value, inputs = f"{name}.sum", width
    value = norm(value, "head.bn", inputs)
    nodes.append(helper.make_node("Flatten", [value], ["flat"]))
    cells = (112 // 2 ** len(widths)) ** 2 * inputs
    constant("fc.w", rng.normal(0, cells**-0.5, (64, cells)))
    constant("fc.b", rng.normal(0, 0.1, 64))
    nodes.append(helper.make_node("Gemm", ["flat", "fc.w", "fc.b"], ["fc"], transB=1))
    norm("fc", "features", 64)
    taken = [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [1, 3, 112, 112])]
    taken += [helper.make_tensor_value_info(name, TensorProto.FLOAT, values.shape) for name, values in weights.items()]
    given = [helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, 64])]
    tensors = [numpy_helper.from_array(values, name) for name, values in weights.items()]
    graph = helper.make_graph(nodes, "iresnet", taken, given, tensors)
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    )


def embed_as_published(model: bytes, crops: np.ndarray) -> np.ndarray:
    """As insightface does it: RGB, (x - 127.5) / 127.5, one by one."""
    session = OnnxSession(model)
    planes = ((crops[..., ::-1].astype(np.float32) - 127.5) / 127.5).transpose(0, 3, 1, 2)
    return np.concatenate([session.run(np.ascontiguousarray(plane[None]))[0] for plane in planes])


@pytest.mark.parametrize("steep", [False, True])
def test_an_insightface_shaped_graph_keeps_its_function(steep: bool) -> None:
    crops, model = draw_crops(5), make_iresnet(steep=steep)
    made = prepare_recogniser(model, mean=127.5, scale=1 / 127.5)
    expected = embed_as_published(model, crops)
    for runtime in (Runtime.ONNXRUNTIME, *([Runtime.OPENVINO] if Runtime.OPENVINO in list_runtimes() else [])):
        session = open_session(made, runtime)
        found = np.concatenate([session.run(crops[at : at + session.batch])[0] for at in range(0, 5, session.batch)])
        assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
    kinds = [node.op_type for node in onnx.load_model_from_string(made).graph.node]
    assert "PRelu" not in kinds
    # what stays stands before a padded convolution, whose border it must not reach: one a block
    assert kinds.count("BatchNormalization") == 4
    before = [node.op_type for node in onnx.load_model_from_string(model).graph.node]
    assert (before.count("BatchNormalization"), before.count("PRelu")) == (17, 5)


@pytest.mark.parametrize("runtime", list_runtimes())
@pytest.mark.parametrize("count", [1, 3, 8, 9, 21])
def test_every_runtime_gives_a_face_its_vector_in_any_batch(engine: Engine, runtime: Runtime, count: int) -> None:
    other = Engine(opencv_zoo(), runtime=runtime)
    crops = list(draw_crops(count))
    found, expected = other.embed_crops(crops), engine.embed_crops(crops)
    assert found.shape == (count, 128)
    assert measure_cosines(found, expected).min() > (0.999999 if runtime.exact else 0.995)
    assert np.abs(other.embed_exact(crops) - expected).max() < 1e-5


def test_a_result_is_not_overwritten_by_the_next_call() -> None:
    session = open_session(prepare_recogniser(read_model(opencv_zoo().recogniser)), list_runtimes()[-1])
    crops = draw_crops(2)
    first = session.run(crops[:1])[0]
    kept = first.copy()
    session.run(crops[1:])
    assert np.array_equal(first, kept)


def test_half_precision_for_a_gpu_keeps_the_vectors() -> None:
    """The graph that a GPU gets, run on the processor."""
    made = prepare_recogniser(read_model(opencv_zoo().recogniser))
    halved, crops = halve_precision(made), draw_crops(4)
    assert len(halved) < 0.6 * len(made)
    assert measure_cosines(OnnxSession(halved).run(crops)[0], OnnxSession(made).run(crops)[0]).min() > 0.999


# -- the choice -------------------------------------------------------------------------------------------------------


def trial(runtime: Runtime, milliseconds: float, lowest: float = 1.0, median: float = 1.0) -> Trial:
    return Trial(runtime=runtime, milliseconds=milliseconds, lowest=lowest, median=median)


@pytest.mark.parametrize(
    ("trials", "expected"),
    [
        ([trial(Runtime.ONNXRUNTIME, 6.0)], Runtime.ONNXRUNTIME),
        ([trial(Runtime.ONNXRUNTIME, 6.0), trial(Runtime.OPENVINO, 5.7)], Runtime.OPENVINO),
        ([trial(Runtime.ONNXRUNTIME, 6.0), trial(Runtime.OPENVINO_BF16, 3.0, 0.996, 0.9995)], Runtime.OPENVINO_BF16),
        # fast and wrong
        ([trial(Runtime.ONNXRUNTIME, 6.0), trial(Runtime.OPENVINO_BF16, 3.0, 0.93, 0.95)], Runtime.ONNXRUNTIME),
        ([trial(Runtime.ONNXRUNTIME, 6.0), trial(Runtime.CUDA, 0.1, float("nan"), float("nan"))], Runtime.ONNXRUNTIME),
        # reduced precision that gains nothing (a processor that only pretends to it) is not worth proposing
        ([trial(Runtime.ONNXRUNTIME, 6.0), trial(Runtime.OPENVINO_BF16, 5.9)], Runtime.ONNXRUNTIME),
        ([trial(Runtime.ONNXRUNTIME, 6.0), trial(Runtime.OPENVINO, 5.5), trial(Runtime.CUDA, 0.1)], Runtime.CUDA),
    ],
)
def test_the_fastest_runtime_whose_vectors_hold_is_chosen(trials: list[Trial], expected: Runtime) -> None:
    assert pick(trials) is expected


def test_a_gpu_is_offered_where_onnxruntime_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Runtime.CUDA not in list_runtimes()
    monkeypatch.setattr(
        "onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    assert Runtime.CUDA in list_runtimes()
    assert BATCHES[Runtime.CUDA] >= 64


def test_onnxruntime_for_cuda_without_a_gpu_is_refused_and_not_run_on_the_processor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: [runtimes.CUDA_PROVIDER])
    model = prepare_recogniser(make_iresnet(1, (8,)), mean=127.5, scale=1 / 127.5)
    with pytest.raises(ModelError) as caught:
        open_session(model, Runtime.CUDA)
    assert caught.value.stable_code == "runtime_missing"
    assert choose_runtime("auto", model, None) is not Runtime.CUDA


@pytest.mark.parametrize("count", [1, 127, 128, 129, 300])
def test_a_gpus_batches_give_a_face_its_vector_whatever_their_size(count: int) -> None:
    """The graph and the batches that a GPU gets, run on the processor."""
    halved = halve_precision(prepare_recogniser(make_iresnet(1, (8,)), mean=127.5, scale=1 / 127.5))
    crops, most = draw_crops(count), BATCHES[Runtime.CUDA]
    found = embed_all(OnnxSession(halved, most), crops)
    assert found.shape == (count, 64)
    alone = OnnxSession(halved)
    rows = sorted({0, count // 2, count - 1})
    assert (
        measure_cosines(found[rows], np.concatenate([alone.run(crops[row : row + 1])[0] for row in rows])).min() > 0.999
    )


def test_bf16_is_offered_only_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "ask_openvino", lambda: ["FP32", "INT8"])
    assert list_runtimes() == [Runtime.ONNXRUNTIME, Runtime.OPENVINO]
    monkeypatch.setattr(runtimes, "ask_openvino", list)
    assert list_runtimes() == [Runtime.ONNXRUNTIME]


def test_a_runtime_that_is_not_here_is_refused_by_name() -> None:
    with pytest.raises(ModelError) as caught:
        Engine(opencv_zoo(), runtime="cuda")
    assert caught.value.stable_code == "runtime_missing"


def test_the_setting_knows_every_runtime() -> None:
    assert set(RUNTIMES) == {"auto", *(each.value for each in Runtime)}


def test_an_unknown_runtime_is_a_setting_error(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="onnxruntime, openvino"):
        load_settings(home=tmp_path, environ={"FACEWARDEN_FACES_RUNTIME": "tpu"})


def test_the_choice_is_made_once_a_machine_and_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = prepare_recogniser(make_iresnet(1, (8,)), mean=127.5, scale=1 / 127.5)
    chosen = choose_runtime("auto", made, tmp_path)
    monkeypatch.setattr("workers.faces.choice.try_runtimes", lambda model: pytest.fail("tried again"))
    assert choose_runtime("auto", made, tmp_path) is chosen
    monkeypatch.setattr("workers.faces.choice.name_processor", lambda: "another")
    with pytest.raises(pytest.fail.Exception):
        choose_runtime("auto", made, tmp_path)
    (tmp_path / "runtime.json").write_text("{")
    assert read_trials(tmp_path, {}) is None


# -- prepared files ---------------------------------------------------------------------------------------------------


def write_model(tmp_path: Path) -> Model:
    data = make_iresnet(1, (8,))
    path = tmp_path / "published.onnx"
    path.write_bytes(data)
    return Model(path=path, sha256=hashlib.sha256(data).hexdigest())


def prepare(data: bytes) -> bytes:
    return prepare_recogniser(data, mean=127.5, scale=1 / 127.5)


def test_a_prepared_model_is_kept_under_both_digests_and_used_again(tmp_path: Path) -> None:
    model, folder = write_model(tmp_path), tmp_path / "prepared"
    published = model.path.read_bytes()
    made = read_prepared(model, folder, prepare, lambda crops: embed_as_published(published, crops))
    (kept,) = folder.glob("*.onnx")
    assert kept.name.startswith(model.sha256[:24])
    assert hashlib.sha256(made).hexdigest() in kept.name
    assert read_prepared(model, folder, lambda data: pytest.fail("made again"), None) == made


@pytest.mark.parametrize("change", ["cut", "flipped", "swapped"])
def test_a_prepared_model_that_changed_is_made_again(tmp_path: Path, change: str) -> None:
    model, folder = write_model(tmp_path), tmp_path / "prepared"
    made = read_prepared(model, folder, prepare, None)
    (kept,) = folder.glob("*.onnx")
    data = bytearray(made)
    if change == "cut":
        del data[-9:]
    elif change == "flipped":
        data[len(data) // 2] ^= 1
    else:
        data = bytearray(prepare(make_iresnet(1, (8,))))
    kept.write_bytes(data)
    assert read_prepared(model, folder, prepare, None) == made
    assert [path.read_bytes() for path in folder.glob("*.onnx")] == [made]


def test_a_rewriting_that_changes_the_vectors_is_refused_and_not_kept(tmp_path: Path) -> None:
    model, folder = write_model(tmp_path), tmp_path / "prepared"
    published = model.path.read_bytes()
    with pytest.raises(ModelError) as caught:  # another mean than the published model wants
        read_prepared(model, folder, prepare_recogniser, lambda crops: embed_as_published(published, crops))
    assert caught.value.stable_code == "model_differs"
    assert not list(folder.glob("*"))


def test_a_folder_that_cannot_be_written_costs_time_and_nothing_else(tmp_path: Path) -> None:
    model, folder = write_model(tmp_path), tmp_path / "a file" / "prepared"
    folder.parent.write_text("in the way")
    made = read_prepared(model, folder, prepare, None)
    assert choose_runtime("auto", made, folder) in list_runtimes()
