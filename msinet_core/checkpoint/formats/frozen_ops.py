"""Each op of the network as TensorFlow's nodes, in NHWC, for frozen graphs and SavedModels.

Source: https://www.tensorflow.org/api_docs/python/tf/raw_ops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from msinet_core.checkpoint.wire.graph_def import (
    INT,
    GraphWriter,
    boolean,
    integer_list,
    string,
    type_,
)
from msinet_core.checkpoint.wire.protobuf import integer
from msinet_core.network.ops import (
    Concat,
    Conv2D,
    GlobalMean,
    MaxPool2D,
    MinMaxNormalize,
    Op,
    Resize,
    ResizeLike,
    SubtractMean,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

Weights = Mapping[str, "NDArray[np.float32]"]


def _subtract_mean(
    writer: GraphWriter, name: str, op: SubtractMean, inputs: list[str], _: Weights
) -> None:
    mean = writer.constant(f"{name}/mean", np.array(op.mean, np.float32))
    writer.floats(name, "Sub", [*inputs, mean])


def _conv(writer: GraphWriter, name: str, op: Conv2D, inputs: list[str], weights: Weights) -> None:
    constants = {role: writer.constant(f"{name}/{role}", value) for role, value in weights.items()}
    attributes = {
        "strides": integer_list(1, op.strides, op.strides, 1),
        "dilations": integer_list(1, op.dilation, op.dilation, 1),
        "padding": string(op.padding),
        "data_format": string("NHWC"),
    }
    steps = [("Conv2D", [*inputs, constants["kernel"]], attributes)]
    if op.use_bias:
        steps.append(("BiasAdd", [constants["bias"]], {"data_format": string("NHWC")}))
    if op.activation == "relu":
        steps.append(("Relu", [], {}))
    before: list[str] = []
    for number, (kind, others, attributes) in enumerate(steps, 1):
        step = name if number == len(steps) else f"{name}/{kind}"
        before = [writer.floats(step, kind, [*before, *others], **attributes)]


def _pool(writer: GraphWriter, name: str, op: MaxPool2D, inputs: list[str], _: Weights) -> None:
    writer.floats(
        name,
        "MaxPool",
        inputs,
        ksize=integer_list(1, op.pool_size, op.pool_size, 1),
        strides=integer_list(1, op.strides, op.strides, 1),
        padding=string(op.padding),
        data_format=string("NHWC"),
    )


def _resize(writer: GraphWriter, name: str, op: Resize, inputs: list[str], _: Weights) -> None:
    size = _size_of(writer, name, inputs[0])
    scale = writer.integers(f"{name}/scale", op.scale)
    larger = writer.node(f"{name}/size", "Mul", [size, scale], T=type_(INT))
    _bilinear(writer, name, [inputs[0], larger], op)


def _resize_like(
    writer: GraphWriter, name: str, op: ResizeLike, inputs: list[str], _: Weights
) -> None:
    _bilinear(writer, name, [inputs[0], _size_of(writer, name, inputs[1])], op)


def _bilinear(writer: GraphWriter, name: str, inputs: list[str], op: Resize | ResizeLike) -> None:
    writer.floats(
        name,
        "ResizeBilinear",
        inputs,
        align_corners=boolean(False),
        half_pixel_centers=boolean(op.coordinates == "half_pixel"),
    )


def _size_of(writer: GraphWriter, name: str, source: str) -> str:
    """Add the nodes that compute the height and width of a tensor."""
    shape = writer.floats(f"{name}/shape", "Shape", [source], out_type=type_(INT))
    begin = writer.integers(f"{name}/begin", 1)
    size = writer.integers(f"{name}/count", 2)
    return writer.node(
        f"{name}/slice", "Slice", [shape, begin, size], T=type_(INT), Index=type_(INT)
    )


def _concat(writer: GraphWriter, name: str, op: Concat, inputs: list[str], _: Weights) -> None:
    axis = writer.constant(f"{name}/axis", np.int32(3))
    count = integer(3, len(inputs))
    writer.floats(name, "ConcatV2", [*inputs, axis], N=count, Tidx=type_(INT))


def _global_mean(
    writer: GraphWriter, name: str, op: GlobalMean, inputs: list[str], _: Weights
) -> None:
    _reduce(writer, name, "Mean", inputs[0], 1, 2)


def _min_max(
    writer: GraphWriter, name: str, op: MinMaxNormalize, inputs: list[str], _: Weights
) -> None:
    low = _reduce(writer, f"{name}/min", "Min", inputs[0], 1, 2, 3)
    above = writer.floats(f"{name}/above", "Sub", [inputs[0], low])
    high = _reduce(writer, f"{name}/max", "Max", above, 1, 2, 3)
    epsilon = writer.constant(f"{name}/epsilon", np.array(op.epsilon, np.float32))
    divisor = writer.floats(f"{name}/divisor", "AddV2", [epsilon, high])
    writer.floats(name, "RealDiv", [above, divisor])


def _reduce(writer: GraphWriter, name: str, op: str, source: str, *axes: int) -> str:
    over = writer.integers(f"{name}/axes", *axes)
    return writer.floats(name, op, [source, over], keep_dims=boolean(True), Tidx=type_(INT))


BUILDERS: Mapping[type[Op], Callable[[GraphWriter, str, Any, list[str], Weights], None]] = {
    SubtractMean: _subtract_mean,
    Conv2D: _conv,
    MaxPool2D: _pool,
    Resize: _resize,
    ResizeLike: _resize_like,
    Concat: _concat,
    GlobalMean: _global_mean,
    MinMaxNormalize: _min_max,
}
"""Adds the nodes of one op to a graph: writer, name, op, inputs, and the node's weights by role."""
