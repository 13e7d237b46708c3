"""The runtimes behind one protocol: in comes a prepared model, out comes a session. Home of onnxruntime and openvino.

`onnxruntime` runs everywhere and gives the score that a match row keeps; `openvino` is faster on x86 processors, above
all in bf16 where they have it; `cuda` runs in fp16 on a GPU. One thread a session: processes are made by cores, and two
threads a session were slower than one. Reduced precision only proposes (`Runtime.exact`).
"""

import os
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime

from vault.errors import ModelError

Array = npt.NDArray[Any]

CUDA_PROVIDER = "CUDAExecutionProvider"


class Runtime(StrEnum):
    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "openvino"
    OPENVINO_BF16 = "openvino-bf16"
    CUDA = "cuda"

    @property
    def precision(self) -> str:
        return {"openvino-bf16": "bf16", "cuda": "fp16"}.get(self, "f32")

    @property
    def exact(self) -> bool:
        """May its vectors decide, or only propose?"""
        return self.precision == "f32"


# Faces a call, the fastest of 1, 2, 4, 8, 16 and 32 on two processors (EPYC with and without AVX-512): larger batches
# leave the cache. A GPU is fed what fits its memory many times over.
BATCHES = {Runtime.ONNXRUNTIME: 4, Runtime.OPENVINO: 8, Runtime.OPENVINO_BF16: 8, Runtime.CUDA: 128}


class Session(Protocol):
    batch: int  # rows that one call takes at best

    def run(self, rows: Array) -> list[Array]:
        """The outputs for at most `batch` rows."""
        ...


class OnnxSession:
    def __init__(self, model: bytes, batch: int = 1, providers: Sequence[str] = ("CPUExecutionProvider",)) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.batch = batch
        self._session = onnxruntime.InferenceSession(model, options, providers=list(providers))
        self._name = self._session.get_inputs()[0].name

    @property
    def providers(self) -> list[str]:
        """What it runs on, which may be less than was asked for."""
        return list(self._session.get_providers())

    def run(self, rows: Array) -> list[Array]:
        return list(self._session.run(None, {self._name: rows}))


class OpenvinoSession:
    """Of a fixed batch, which a shorter one is filled up to: with a free one the same graph took a third longer."""

    def __init__(self, model: bytes, batch: int, precision: str) -> None:
        import openvino

        core = openvino.Core()
        graph = core.read_model(model, b"")
        sides = [dimension.get_length() for dimension in list(graph.inputs[0].partial_shape)[1:]]
        graph.reshape({graph.inputs[0]: openvino.PartialShape([batch, *sides])})
        hints = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
        compiled = core.compile_model(graph, "CPU", {**hints, "INFERENCE_PRECISION_HINT": precision})
        self.batch = batch
        self._request = compiled.create_infer_request()
        self._rows = np.zeros([batch, *sides], np.uint8)

    def run(self, rows: Array) -> list[Array]:
        count = len(rows)
        if count < self.batch:
            self._rows[:count] = rows
            rows = self._rows
        found = self._request.infer({0: np.ascontiguousarray(rows)}, share_inputs=True)
        return [np.array(values[:count]) for values in found.values()]


def list_runtimes() -> list[Runtime]:
    """What this machine can run, without having tried it."""
    found = [Runtime.ONNXRUNTIME]
    if CUDA_PROVIDER in onnxruntime.get_available_providers():
        found.append(Runtime.CUDA)
    capabilities = ask_openvino()
    if capabilities:
        found.append(Runtime.OPENVINO)
    if "BF16" in capabilities:
        found.append(Runtime.OPENVINO_BF16)
    return found


def ask_openvino() -> list[str]:
    """The precisions that OpenVINO has instructions for here; none where it is not installed or does not run."""
    try:
        import openvino

        return [str(each) for each in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")]
    except (ImportError, RuntimeError, OSError):
        return []


def open_session(model: bytes, runtime: Runtime) -> Session:
    """A session for a prepared recogniser. Raises ModelError: model_unknown, runtime_missing."""
    batch = BATCHES[runtime]
    if runtime not in list_runtimes():
        raise ModelError(
            "runtime_missing", f"{runtime} does not run on this machine", mend='set [faces] runtime = "auto"'
        )
    try:
        if runtime is Runtime.CUDA:
            return open_cuda(model, batch)
        if runtime is Runtime.ONNXRUNTIME:
            return OnnxSession(model, batch)
        return OpenvinoSession(model, batch, runtime.precision)
    except (RuntimeError, ValueError) as exc:  # what either library raises for a graph it cannot run
        raise ModelError("model_unknown", f"{runtime} cannot run the model: {str(exc)[:200]}") from exc


def open_cuda(model: bytes, batch: int) -> Session:
    """A session on the first GPU, in fp16. Raises ModelError: runtime_missing, where onnxruntime was built for CUDA but
    driver or libraries do not load: it would go on by the processor, in fp16, far slower than in f32."""
    onnxruntime.preload_dlls()  # those of the nvidia-* wheels, where no loader looks
    session = OnnxSession(halve_precision(model), batch, [CUDA_PROVIDER, "CPUExecutionProvider"])
    if CUDA_PROVIDER not in session.providers:
        raise ModelError(
            "runtime_missing",
            "no GPU of NVIDIA can be used here",
            mend='see nvidia-smi, or set [faces] runtime = "auto"',
        )
    return session


def halve_precision(model: bytes) -> bytes:
    """The model with fp16 weights and fp16 arithmetic between inputs and outputs of the types they had."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    halved = convert_float_to_float16(onnx.load_model_from_string(model), keep_io_types=True)
    return bytes(halved.SerializeToString())


def name_processor() -> str:
    """The processor's name and what it has that decides between runtimes."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = dict(line.split(":", 1) for line in file.read().split("\n\n")[0].splitlines() if ":" in line)
    except OSError:
        lines = {}
    table = {name.strip(): value.strip() for name, value in lines.items()}
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")
    flags = [flag for flag in table.get("flags", "").split() if flag in wanted]
    return " ".join([table.get("model name", os.uname().machine), *sorted(flags)])
