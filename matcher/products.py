"""Whole-number products of 8-bit codes: in come (n, d) uint8 codes and (d, m) int8 probes, out come (n, m) exact int32.

The fast way is onnxruntime's MatMulInteger, the only int8 product with VNNI, AMX or dot-product instructions among our
libraries (measured on one core with AVX-512: 7 times numpy's f32 product). Without those instructions its kernel adds
two products in 16 bits: with probes in [-64, 64] that cannot overflow (2 * 255 * 64 < 2^15). What a machine does is
checked at first use, and where it is wrong or slower, numpy does it in f32, exactly as well.
"""

import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vault.log import get_logger

MOST_PROBE = 64  # largest absolute value of a probe's codes, see above
TRIAL = (1024, 128, 256)  # n, d, m of the product that decides which way is taken

Bytes8 = npt.NDArray[np.uint8]
Signed8 = npt.NDArray[np.int8]
Sums = npt.NDArray[np.int32]

log = get_logger(__name__)


class Product(Protocol):
    """The product with one block of probes. Not for several threads; make one each."""

    def multiply(self, codes: Bytes8, out: Sums) -> None:
        """out = codes @ probes, for C-contiguous (n, d) codes and (n, m) out."""


class FloatProduct:
    """numpy in f32: exact, since every partial sum stays below 2^24 for d up to 1028."""

    def __init__(self, probes: Signed8) -> None:
        self._probes = probes.astype(np.float32)

    def multiply(self, codes: Bytes8, out: Sums) -> None:
        out[:] = codes.astype(np.float32) @ self._probes


class IntegerProduct:
    """onnxruntime, on the thread that calls; it lets go of Python's lock meanwhile."""

    def __init__(self, probes: Signed8) -> None:
        self._session = load_session(probes.shape[0])
        self._binding = self._session.io_binding()
        self._probes = np.ascontiguousarray(probes)  # the binding only points to it
        self._binding.bind_input("probes", "cpu", 0, np.int8, self._probes.shape, self._probes.ctypes.data)

    def multiply(self, codes: Bytes8, out: Sums) -> None:
        self._binding.bind_input("codes", "cpu", 0, np.uint8, codes.shape, codes.ctypes.data)
        self._binding.bind_output("sums", "cpu", 0, np.int32, out.shape, out.ctypes.data)
        self._session.run_with_iobinding(self._binding)


@lru_cache(maxsize=4)
def load_session(dimension: int) -> Any:
    """An onnxruntime session of one MatMulInteger node."""
    import onnx
    import onnxruntime

    shapes = {
        "codes": onnx.helper.make_tensor_value_info("codes", onnx.TensorProto.UINT8, ["n", dimension]),
        "probes": onnx.helper.make_tensor_value_info("probes", onnx.TensorProto.INT8, [dimension, "m"]),
        "sums": onnx.helper.make_tensor_value_info("sums", onnx.TensorProto.INT32, ["n", "m"]),
    }
    node = onnx.helper.make_node("MatMulInteger", ["codes", "probes"], ["sums"])
    graph = onnx.helper.make_graph([node], "product", [shapes["codes"], shapes["probes"]], [shapes["sums"]])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # threads are the caller's
    options.enable_cpu_mem_arena = False
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def make_product(probes: Signed8) -> Product:
    """The product with (d, m) probes in [-64, 64], in the way that is right and fastest here."""
    return choose_product()(probes)


@lru_cache(maxsize=1)
def choose_product() -> Callable[[Signed8], Product]:
    try:
        if not is_exact(IntegerProduct):
            log.warning("onnxruntime's int8 product overflows on this machine; numpy multiplies in f32")
            return FloatProduct
        ways: list[Callable[[Signed8], Product]] = [IntegerProduct, FloatProduct]
        return min(ways, key=time_product)
    except (ImportError, RuntimeError) as exc:
        log.warning("onnxruntime has no int8 product here; numpy multiplies in f32", error=type(exc).__name__)
        return FloatProduct


def is_exact(make: Callable[[Signed8], Product]) -> bool:
    """Right at the ends of the range, where sums overflow if they ever do, in the shapes that kernels differ in?"""
    rng = np.random.default_rng(1)
    for n, d, m in ((1, 128, 1), (257, 128, 2), (64, 128, 65), (33, 512, 16)):
        for low, high in ((0, 1), (254, 255)):
            codes = rng.integers(low, high + 1, (n, d)).astype(np.uint8)
            for probes in (np.full((d, m), MOST_PROBE), np.full((d, m), -MOST_PROBE),
                           rng.choice([-MOST_PROBE, MOST_PROBE], (d, m))):  # fmt: skip
                out = np.zeros((n, m), np.int32)
                make(probes.astype(np.int8)).multiply(codes, out)
                if not np.array_equal(out, codes.astype(np.int64) @ probes.astype(np.int64)):
                    return False
    return True


def time_product(make: Callable[[Signed8], Product]) -> float:
    n, d, m = TRIAL
    product, codes, out = make(np.ones((d, m), np.int8)), np.ones((n, d), np.uint8), np.zeros((n, m), np.int32)
    times = []
    for _ in range(4):
        started = time.perf_counter()
        product.multiply(codes, out)
        times.append(time.perf_counter() - started)
    return min(times[1:])
