"""Each op of the network as ONNX's standard operators, in NCHW.

Source: https://onnx.ai/onnx/operators, operator set 18.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from msinet_core.device.layers import Layers
from msinet_core.network import ops

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msinet_core.network.graph import Graph, LayerBuilder

CHANNEL_AXIS = 1
SPATIAL_AXES = (2, 3)
IMAGE_AXES = (1, 2, 3)

AUTO_PADS = {"SAME": "SAME_UPPER", "VALID": "VALID"}
"""ONNX's names."""

DYNAMIC = None
"""The size of a value whose height and width are known when the network runs."""


class Value(NamedTuple):
    """A tensor of an ONNX graph.

    Args:
        writer: The graph.
        name: Unique in the graph.
        size: Height and width if they are known.
    """

    writer: GraphWriter
    name: str
    size: ops.Size | None = DYNAMIC


class GraphWriter:
    """Collect the nodes and constants of an ONNX graph."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.node_name = ""

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Add a constant and return its name.

        Args:
            name: Unique in the graph.
            values: Of any type.
        """
        from onnx import numpy_helper

        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def part(self, name: str, values: Any, dtype: Any = np.int64) -> str:
        """Add a constant that belongs to the current node, and return its name.

        Args:
            name: Unique in the node.
            values: What `numpy.asarray` takes.
            dtype: Their type.
        """
        return self.constant(f"{self.node_name}/{name}", np.asarray(values, dtype))

    def add(self, kind: str, inputs: Sequence[str], step: str = "", **attributes: Any) -> str:
        """Add an operator and return the name of its output.

        Args:
            kind: The operator.
            inputs: The names of its inputs.
            step: Its name in the current node; empty for the operator with the node's output,
                which has the node's own name.
            attributes: Of the operator.
        """
        from onnx import helper

        name = f"{self.node_name}/{step}" if step else self.node_name
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def builders(
        self, graph: Graph, builders: Mapping[type, LayerBuilder[Value]]
    ) -> Mapping[type, LayerBuilder[Value]]:
        """Return builders for one `Graph.apply`, which name what they add after the graph's nodes.

        Args:
            graph: The graph that will be applied.
            builders: Those of `OnnxLayers`.
        """
        names: Iterator[str] = iter([node.name for node in graph.nodes[1:]])

        def named(build: LayerBuilder[Value]) -> LayerBuilder[Value]:
            def call(op: Any, inputs: Sequence[Value], parameters: Mapping[str, Value]) -> Value:
                self.node_name = next(names)
                made = build(op, inputs, parameters)
                sizes = [value.size for value in inputs if value.size is not DYNAMIC]
                known = len(sizes) == len(inputs)
                return made._replace(size=op.output_size(sizes) if known else DYNAMIC)

            return call

        return {op: named(build) for op, build in builders.items()}


Inputs = Sequence[Value]
Parameters = Mapping[str, Value]


class OnnxLayers(Layers):
    """Write every op, but no loss."""

    def subtract_mean(self, op: ops.SubtractMean, inputs: Inputs, parameters: Parameters) -> Value:
        writer = inputs[0].writer
        mean = writer.part("mean", np.reshape(op.mean, (1, -1, 1, 1)), np.float32)
        return Value(writer, writer.add("Sub", [inputs[0].name, mean]))

    def conv2d(self, op: ops.Conv2D, inputs: Inputs, parameters: Parameters) -> Value:
        writer = inputs[0].writer
        operands = [
            inputs[0],
            *(parameters[role] for role in ("kernel", "bias")[: 1 + op.use_bias]),
        ]
        activated = op.activation == "relu"
        features = writer.add(
            "Conv",
            [value.name for value in operands],
            "convolution" if activated else "",
            kernel_shape=[op.kernel_size] * 2,
            strides=[op.strides] * 2,
            dilations=[op.dilation] * 2,
            **_padding(op),
        )
        return Value(writer, writer.add("Relu", [features]) if activated else features)

    def max_pool2d(self, op: ops.MaxPool2D, inputs: Inputs, parameters: Parameters) -> Value:
        writer = inputs[0].writer
        pooled = writer.add(
            "MaxPool",
            [inputs[0].name],
            kernel_shape=[op.pool_size] * 2,
            strides=[op.strides] * 2,
            auto_pad=AUTO_PADS[op.padding],
        )
        return Value(writer, pooled)

    def resize(self, op: ops.Resize, inputs: Inputs, parameters: Parameters) -> Value:
        return _by_scales(inputs[0], (op.scale, op.scale), op.coordinates)

    def resize_like(self, op: ops.ResizeLike, inputs: Inputs, parameters: Parameters) -> Value:
        (value, like) = inputs
        writer = value.writer
        if value.size is not DYNAMIC and like.size is not DYNAMIC:
            height, width = (new / old for new, old in zip(like.size, value.size, strict=True))
            if height.is_integer() and width.is_integer():  # more accelerators take constants
                return _by_scales(value, (int(height), int(width)), op.coordinates)
        # Not the attribute `axes`: ONNX Runtime 1.32 fails on it behind a Transpose.
        kept = writer.add("Shape", [value.name], "kept", start=0, end=2)
        size = writer.add("Shape", [like.name], "size", start=2, end=4)
        sizes = writer.add("Concat", [kept, size], "sizes", axis=0)
        return _interpolate(value, [value.name, "", "", sizes], op.coordinates)

    def concat(self, op: ops.Concat, inputs: Inputs, parameters: Parameters) -> Value:
        writer = inputs[0].writer
        names = [value.name for value in inputs]
        return Value(writer, writer.add("Concat", names, axis=CHANNEL_AXIS))

    def global_mean(self, op: ops.GlobalMean, inputs: Inputs, parameters: Parameters) -> Value:
        """Average over rows, then over columns, since one sum over all pixels loses digits."""
        writer = inputs[0].writer
        height, width = SPATIAL_AXES
        rows = writer.add("ReduceMean", [inputs[0].name, writer.part("width", [width])], "rows")
        return Value(writer, writer.add("ReduceMean", [rows, writer.part("height", [height])]))

    def min_max_normalize(
        self, op: ops.MinMaxNormalize, inputs: Inputs, parameters: Parameters
    ) -> Value:
        writer = inputs[0].writer
        axes = writer.part("axes", IMAGE_AXES)
        lowest = writer.add("ReduceMin", [inputs[0].name, axes], "lowest")
        shifted = writer.add("Sub", [inputs[0].name, lowest], "shifted")
        highest = writer.add("ReduceMax", [shifted, axes], "highest")
        epsilon = writer.part("epsilon", op.epsilon, np.float32)
        divisor = writer.add("Add", [highest, epsilon], "divisor")
        return Value(writer, writer.add("Div", [shifted, divisor]))


def _by_scales(value: Value, scales: ops.Size, coordinates: ops.Coordinates) -> Value:
    factors = value.writer.part("scales", (1, 1, *scales), np.float32)
    return _interpolate(value, [value.name, "", factors], coordinates)


def _interpolate(value: Value, inputs: list[str], coordinates: ops.Coordinates) -> Value:
    resized = value.writer.add(
        "Resize",
        inputs,
        mode="linear",
        coordinate_transformation_mode=coordinates,  # ONNX has the same names
    )
    return Value(value.writer, resized)


def _padding(op: ops.Conv2D) -> Mapping[str, Any]:
    if op.padding == "VALID" or op.strides > 1:  # the latter depends on the image's size
        return {"auto_pad": AUTO_PADS[op.padding]}
    # Explicit, since runtimes disagree on automatic padding with dilations.
    before, after = ops.same_padding(op.extent, op.extent, op.strides)
    return {"pads": [before, before, after, after]}
