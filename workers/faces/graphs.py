"""Graph work: in comes a published model, out come bytes of the same function, free in its sizes and faster.

SFace lists its weights as inputs and has batch 1, normalises what it is given, keeps batch norms apart from the
convolutions before them, and uses PRelu, which onnxruntime does not vectorise. Each pass here rewrites one such thing
and leaves the function as it was, up to rounding; `prepare_recogniser` is all of them.
What cannot be rewritten exactly (a batch norm before a padded convolution, a slope of exactly 1) stays as it is.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from vault.errors import ModelError

Array = npt.NDArray[np.float64]
NARROWEST = 1e-3  # |1 - slope| below which a PRelu is not divided by it


class Graph:
    """A model's nodes and weights, to be rewritten in place. `weights` are float64 until they are written back."""

    def __init__(self, data: bytes) -> None:
        self.model = onnx.load_model_from_string(data)
        self.nodes: list[Any] = list(self.model.graph.node)
        self._tensors = {item.name: item for item in self.model.graph.initializer}
        self._fresh: dict[str, npt.NDArray[Any]] = {}

    def weight(self, name: str) -> Array | None:
        """A constant as float64, None for what is computed."""
        if name in self._fresh:
            return self._fresh[name].astype(np.float64)
        tensor = self._tensors.get(name)
        return None if tensor is None else np.asarray(numpy_helper.to_array(tensor), np.float64)

    def add_weight(self, name: str, values: npt.NDArray[Any]) -> str:
        """A new constant, kept as f32 under a name that nothing else bears."""
        while name in self._fresh or name in self._tensors:
            name += "_"
        self._fresh[name] = values.astype(np.float32)
        return name

    def users(self, value: str) -> list[Any]:
        """The nodes that read a value; a graph output counts as one (None)."""
        found: list[Any] = [node for node in self.nodes if value in node.input]
        return found + [None for item in self.model.graph.output if item.name == value]

    def only_user(self, value: str, *kinds: str) -> Any:
        """The one node that reads a value, if there is but one and it is of these kinds."""
        users = self.users(value)
        return users[0] if len(users) == 1 and users[0] is not None and users[0].op_type in kinds else None

    def maker(self, value: str) -> Any:
        return next((node for node in self.nodes if value in node.output), None)

    def drop(self, node: Any, *, keep: str, gone: str) -> None:
        """Take a node out: whoever made or read `gone` makes or reads `keep`."""
        self.nodes.remove(node)
        for other in self.nodes:
            for names in (other.input, other.output):
                for place, name in enumerate(names):
                    if name == gone:
                        names[place] = keep

    def replace(self, node: Any, *fresh: Any) -> None:
        place = self.nodes.index(node)
        self.nodes[place : place + 1] = fresh

    def write(self) -> bytes:
        """The model with the weights that are still used, none of them among its inputs."""
        graph = self.model.graph
        used = {name for node in self.nodes for name in node.input}
        tensors = [item for name, item in self._tensors.items() if name in used]
        tensors += [numpy_helper.from_array(values, name) for name, values in self._fresh.items() if name in used]
        inputs = [item for item in graph.input if item.name not in self._tensors]
        for field, items in ((graph.node, self.nodes), (graph.initializer, tensors), (graph.input, inputs)):
            fresh = list(items)
            del field[:]
            field.extend(fresh)
        del graph.value_info[:]  # shapes inferred for the old sizes
        return bytes(self.model.SerializeToString())


def prepare_recogniser(data: bytes, *, mean: float = 0.0, scale: float = 1.0, rgb: bool = True) -> bytes:
    """A recogniser that takes (n, 112, 112, 3) uint8 BGR crops as they are cut, in any batch. `mean`, `scale`, `rgb`:
    what the published model wants done before: (x - mean)·scale, in this order of colours."""
    graph = Graph(data)
    for run in (free_batch, drop_identities, fold_batch_norms, split_prelus):
        run(graph)
    take_crops(graph, mean, scale, rgb)
    return graph.write()


def prepare_yunet(data: bytes) -> bytes:
    """YuNet for any picture size with three outputs instead of twelve, its three strides one after the other, n cells
    in all: `product` (1, n, 1) of class and object score, `bbox` (1, n, 4), `kps` (1, n, 10)."""
    graph = Graph(data)
    sides = graph.model.graph.input[0].type.tensor_type.shape.dim
    sides[2].dim_param, sides[3].dim_param = "height", "width"
    outputs = graph.model.graph.output
    names = [item.name for item in outputs]
    classes, objects, boxes, points = (names[3 * kind : 3 * kind + 3] for kind in range(4))
    products = [f"{name}__product" for name in classes]
    for first, second, product in zip(classes, objects, products, strict=True):
        graph.nodes.append(helper.make_node("Mul", [first, second], [product]))
    joined = {"product": (products, 1), "bbox": (boxes, 4), "kps": (points, 10)}
    del outputs[:]
    for name, (parts, width) in joined.items():
        graph.nodes.append(helper.make_node("Concat", parts, [name], axis=1))
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, "cells", width]))
    return graph.write()


def free_batch(graph: Graph) -> None:
    """The first axis of inputs and outputs is free."""
    for item in (*graph.model.graph.input, *graph.model.graph.output):
        dims = item.type.tensor_type.shape.dim
        if len(dims) > 1 and graph.weight(item.name) is None:
            dims[0].dim_param = "batch"


def drop_identities(graph: Graph) -> None:
    """Dropout and Identity do nothing when a model is used."""
    for node in [node for node in graph.nodes if node.op_type in ("Dropout", "Identity")]:
        if graph.maker(node.input[0]) is not None:
            graph.drop(node, keep=node.output[0], gone=node.input[0])


# -- batch norm --------------------------------------------------------------------------------------------------------


def fold_batch_norms(graph: Graph) -> None:
    """A batch norm after a Conv or Gemm goes into it; one before a Gemm or an unpadded Conv too."""
    for norm in [node for node in graph.nodes if node.op_type == "BatchNormalization"]:
        before = graph.maker(norm.input[0])
        if before is not None and is_linear(graph, before) and graph.only_user(norm.input[0], "BatchNormalization"):
            scale_outputs(graph, before, *read_norm(graph, norm))
            graph.drop(norm, keep=norm.output[0], gone=norm.input[0])
            continue
        flatten = graph.only_user(norm.output[0], "Flatten")
        after = graph.only_user(flatten.output[0] if flatten is not None else norm.output[0], "Gemm", "Conv")
        if after is not None and is_linear(graph, after) and not is_padded(after) and is_dense(after):
            scale_inputs(graph, after, *read_norm(graph, norm))
            graph.drop(norm, keep=norm.input[0], gone=norm.output[0])


def read_norm(graph: Graph, norm: Any) -> tuple[Array, Array]:
    """A batch norm as scale·x + shift, by channel (Ioffe and Szegedy 2015)."""
    gamma, beta, mean, variance = (graph.weight(name) for name in norm.input[1:5])
    assert gamma is not None and beta is not None and mean is not None and variance is not None
    scale = gamma / np.sqrt(variance + attribute(norm, "epsilon", 1e-5))
    return scale, beta - mean * scale


def is_linear(graph: Graph, node: Any) -> bool:
    """Is it a Conv or a plain Gemm of constant weights?"""
    if node.op_type not in ("Conv", "Gemm") or any(graph.weight(name) is None for name in node.input[1:]):
        return False
    plain = ("alpha", 1.0), ("beta", 1.0), ("transA", 0)
    return bool(node.op_type == "Conv" or all(attribute(node, name, usual) == usual for name, usual in plain))


def is_padded(node: Any) -> bool:
    return bool(node.op_type == "Conv" and (any(attribute(node, "pads", [0])) or attribute(node, "auto_pad", b"")))


def is_dense(node: Any) -> bool:
    return bool(node.op_type == "Gemm" or attribute(node, "group", 1) == 1)


def scale_outputs(graph: Graph, node: Any, scale: Array, shift: Array) -> None:
    """Let a Conv or Gemm give scale·y + shift, by output channel."""
    weight = read_rows(graph, node)
    bias = graph.weight(node.input[2]) if len(node.input) > 2 else None
    put_rows(graph, node, weight * scale.reshape(-1, *[1] * (weight.ndim - 1)))
    put_bias(graph, node, (0.0 if bias is None else bias.reshape(-1)) * scale + shift)


def scale_inputs(graph: Graph, node: Any, scale: Array, shift: Array | None = None) -> None:
    """Let a Conv or Gemm read scale·x + shift where it is given x, by input channel. A shift asks for a dense node that
    is not padded."""
    weight = read_rows(graph, node)
    rows, group = weight.shape[0], attribute(node, "group", 1) if node.op_type == "Conv" else 1
    per_input = np.repeat(scale, weight[0].size // len(scale)) if group == 1 else scale
    if shift is not None and shift.any():
        bias = graph.weight(node.input[2]) if len(node.input) > 2 else None
        moved = weight.reshape(rows, -1) @ np.repeat(shift, weight[0].size // len(shift))
        put_bias(graph, node, (0.0 if bias is None else bias.reshape(-1)) + moved)
    if group == 1:
        put_rows(graph, node, (weight.reshape(rows, -1) * per_input).reshape(weight.shape))
    else:
        inputs = per_input.reshape(group, -1).repeat(rows // group, axis=0)  # (rows, inputs of the row's group)
        put_rows(graph, node, weight * inputs[:, :, None, None])


def read_rows(graph: Graph, node: Any) -> Array:
    """The weight with output channels first."""
    weight = graph.weight(node.input[1])
    assert weight is not None
    return weight.T if node.op_type == "Gemm" and not attribute(node, "transB", 0) else weight


def put_rows(graph: Graph, node: Any, weight: Array) -> None:
    turned = node.op_type == "Gemm" and not attribute(node, "transB", 0)
    node.input[1] = graph.add_weight(f"{node.output[0]}_weight", np.ascontiguousarray(weight.T if turned else weight))


def put_bias(graph: Graph, node: Any, bias: Array) -> None:
    name = graph.add_weight(f"{node.output[0]}_bias", bias)
    if len(node.input) > 2:
        node.input[2] = name
    else:
        node.input.append(name)


# -- activations and inputs --------------------------------------------------------------------------------------------


def split_prelus(graph: Graph) -> None:
    """A PRelu of slope a is (1 - a)·(relu(x) + a/(1 - a)·x): where all that reads it are convolutions and batch norms,
    the factor goes into them and two passes over memory are left; elsewhere it is written as relu(x)·(1 - a) + a·x."""
    for node in [node for node in graph.nodes if node.op_type == "PRelu"]:
        slope = graph.weight(node.input[1])
        if slope is None:
            continue
        slope, out = slope.reshape(-1), node.output[0]
        users, rest = graph.users(out), 1 - slope
        foldable = bool(np.all(np.abs(rest) > NARROWEST)) and all(can_scale(graph, each, out) for each in users)
        share = slope / rest if foldable else slope
        linear = graph.add_weight(f"{out}_slope", share.reshape(1, -1, 1, 1))
        relu = [helper.make_node("Relu", [node.input[0]], [f"{out}__relu"])]
        if not foldable:
            factor = graph.add_weight(f"{out}_rest", rest.reshape(1, -1, 1, 1))
            relu.append(helper.make_node("Mul", [f"{out}__relu", factor], [f"{out}__positive"]))
        graph.replace(
            node,
            *relu,
            helper.make_node("Mul", [node.input[0], linear], [f"{out}__linear"]),
            helper.make_node("Add", [f"{out}__linear", relu[-1].output[0]], [out]),
        )
        for each in users if foldable else []:
            if each.op_type == "BatchNormalization":
                scale_norm(graph, each, rest)
            else:
                scale_inputs(graph, each, rest)


def can_scale(graph: Graph, node: Any, value: str) -> bool:
    """Can a factor of a value's channels go into this reader of it?"""
    if node is None or node.input[0] != value:
        return False
    return node.op_type == "BatchNormalization" or (node.op_type == "Conv" and is_linear(graph, node))


def scale_norm(graph: Graph, norm: Any, factor: Array) -> None:
    """Let a batch norm read factor·x where it is given x."""
    scale, shift = read_norm(graph, norm)
    epsilon = attribute(norm, "epsilon", 1e-5)
    values = scale * factor, shift, np.zeros_like(scale), np.full_like(scale, 1 - epsilon)
    for place, each in enumerate(values, 1):
        norm.input[place] = graph.add_weight(f"{norm.output[0]}_{place}", each)


def take_crops(graph: Graph, mean: float, scale: float, rgb: bool) -> None:
    """The input becomes (batch, 112, 112, 3) uint8 BGR. Scale and order of colours go into the first convolution; the
    mean is taken off before it, since that convolution's border is padded with zeros."""
    taken = next(item for item in graph.model.graph.input if graph.weight(item.name) is None)
    old, value = taken.name, taken.name
    for kind in ("Sub", "Mul"):
        node = graph.only_user(value, kind)
        constant = graph.weight(node.input[1]) if node is not None and node.input[0] == value else None
        if constant is not None and constant.size == 1:
            number = float(constant.reshape(-1)[0])
            mean, scale = (mean + number / scale, scale) if kind == "Sub" else (mean, scale * number)
            value = node.output[0]
            graph.nodes.remove(node)
    first = graph.only_user(value, "Conv")
    swap = slice(None, None, -1) if rgb else slice(None)
    if first is None or not is_linear(graph, first) or attribute(first, "group", 1) != 1:
        raise ModelError("model_differs", "the model does not begin with a convolution, so it cannot take crops")
    put_rows(graph, first, read_rows(graph, first)[:, swap] * scale)
    taken.name = "crops"
    taken.type.tensor_type.elem_type = TensorProto.UINT8
    dims = taken.type.tensor_type.shape.dim
    height, width = dims[2].dim_value, dims[3].dim_value
    dims[1].dim_value, dims[2].dim_value, dims[3].dim_value = height, width, 3
    middle = graph.add_weight("crops_mean", np.array(mean))
    graph.nodes[:0] = [
        helper.make_node("Cast", ["crops"], [f"{old}__float"], to=TensorProto.FLOAT),
        helper.make_node("Sub", [f"{old}__float", middle], [f"{old}__centred"]),
        helper.make_node("Transpose", [f"{old}__centred"], [value], perm=[0, 3, 1, 2]),
    ]


def attribute(node: Any, name: str, usual: Any) -> Any:
    values: dict[str, Any] = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    return values.get(name, usual)
