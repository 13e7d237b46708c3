"""Graph work: in comes a published model, out come bytes of the same function, free in its sizes and faster.

YuNet is published for one input size; SFace lists its weights as inputs, has batch 1, and uses PRelu, which
onnxruntime does not vectorise: written as (1 - a)·relu(x) + a·x the same graph takes a third of the time.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper


def free_batch(data: bytes) -> bytes:
    """The model with its weights no longer among its inputs and the first axis of inputs and outputs free."""
    model = onnx.load_model_from_string(data)
    graph = model.graph
    weights = {item.name for item in graph.initializer}
    inputs = [item for item in graph.input if item.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)
    del graph.value_info[:]  # shapes inferred for the old size
    for item in (*graph.input, *graph.output):
        item.type.tensor_type.shape.dim[0].dim_param = "batch"
    return bytes(model.SerializeToString())


def free_picture_size(data: bytes) -> bytes:
    """The model of one (1, 3, h, w) input with h and w free, and the number of cells of each (1, n, ...) output too."""
    model = onnx.load_model_from_string(data)
    graph = model.graph
    del graph.value_info[:]
    sides = graph.input[0].type.tensor_type.shape.dim
    sides[2].dim_param, sides[3].dim_param = "height", "width"
    for item in graph.output:
        item.type.tensor_type.shape.dim[1].dim_param = f"{item.name}_cells"
    return bytes(model.SerializeToString())


def split_prelu(data: bytes) -> bytes:
    """The model with every PRelu of constant slope a written as (1 - a)·relu(x) + a·x: the same values."""
    model = onnx.load_model_from_string(data)
    graph = model.graph
    weights = {item.name: item for item in graph.initializer}
    nodes = []
    for node in graph.node:
        if node.op_type != "PRelu" or node.input[1] not in weights:
            nodes.append(node)
            continue
        source, out = node.input[0], node.output[0]
        slope = numpy_helper.to_array(weights[node.input[1]]).astype(np.float32)
        if slope.ndim == 1:  # as published for SFace: one slope a channel
            slope = slope.reshape(1, -1, 1, 1)
        names = {part: f"{out}__{part}" for part in ("slope", "rest", "relu", "positive", "linear")}
        graph.initializer.extend(
            [numpy_helper.from_array(slope, names["slope"]), numpy_helper.from_array(1 - slope, names["rest"])]
        )
        nodes += [
            helper.make_node("Relu", [source], [names["relu"]]),
            helper.make_node("Mul", [names["relu"], names["rest"]], [names["positive"]]),
            helper.make_node("Mul", [source, names["slope"]], [names["linear"]]),
            helper.make_node("Add", [names["positive"], names["linear"]], [out]),
        ]
    del graph.node[:]
    graph.node.extend(nodes)
    return bytes(model.SerializeToString())
