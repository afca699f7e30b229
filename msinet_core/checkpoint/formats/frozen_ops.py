"""Each op of the network as TensorFlow's nodes, in NHWC, for frozen graphs and SavedModels.

Source: https://www.tensorflow.org/api_docs/python/tf/raw_ops.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
from msinet_core.device.layers import Layers
from msinet_core.network import ops
from msinet_core.network.graph import Node

Inputs = Sequence[str]
Parameters = Mapping[str, str]


class FrozenLayers(Layers):
    """Write every op, but no loss; tensors are the names of nodes.

    Args:
        writer: Collects the nodes.
    """

    def __init__(self, writer: GraphWriter) -> None:
        self._writer = writer
        self._name = ""

    def enter(self, node: Node) -> None:
        """Name what is written next after a node of the network.

        Args:
            node: The node.
        """
        self._name = node.name

    def subtract_mean(self, op: ops.SubtractMean, inputs: Inputs, parameters: Parameters) -> str:
        mean = self._writer.constant(f"{self._name}/mean", np.array(op.mean, np.float32))
        return self._writer.floats(self._name, "Sub", [*inputs, mean])

    def conv2d(self, op: ops.Conv2D, inputs: Inputs, parameters: Parameters) -> str:
        attributes = {
            "strides": integer_list(1, op.strides, op.strides, 1),
            "dilations": integer_list(1, op.dilation, op.dilation, 1),
            "padding": string(op.padding),
            "data_format": string("NHWC"),
        }
        steps = [("Conv2D", [*inputs, parameters["kernel"]], attributes)]
        if op.use_bias:
            steps.append(("BiasAdd", [parameters["bias"]], {"data_format": string("NHWC")}))
        if op.activation == "relu":
            steps.append(("Relu", [], {}))
        before: list[str] = []
        for number, (kind, others, attributes) in enumerate(steps, 1):
            step = self._name if number == len(steps) else f"{self._name}/{kind}"
            before = [self._writer.floats(step, kind, [*before, *others], **attributes)]
        return self._name

    def max_pool2d(self, op: ops.MaxPool2D, inputs: Inputs, parameters: Parameters) -> str:
        return self._writer.floats(
            self._name,
            "MaxPool",
            inputs,
            ksize=integer_list(1, op.pool_size, op.pool_size, 1),
            strides=integer_list(1, op.strides, op.strides, 1),
            padding=string(op.padding),
            data_format=string("NHWC"),
        )

    def resize(self, op: ops.Resize, inputs: Inputs, parameters: Parameters) -> str:
        size = self._size_of(inputs[0])
        scale = self._writer.integers(f"{self._name}/scale", op.scale)
        larger = self._writer.node(f"{self._name}/size", "Mul", [size, scale], T=type_(INT))
        return self._bilinear([inputs[0], larger], op)

    def resize_like(self, op: ops.ResizeLike, inputs: Inputs, parameters: Parameters) -> str:
        return self._bilinear([inputs[0], self._size_of(inputs[1])], op)

    def concat(self, op: ops.Concat, inputs: Inputs, parameters: Parameters) -> str:
        axis = self._writer.constant(f"{self._name}/axis", np.int32(3))
        count = integer(3, len(inputs))
        return self._writer.floats(
            self._name, "ConcatV2", [*inputs, axis], N=count, Tidx=type_(INT)
        )

    def global_mean(self, op: ops.GlobalMean, inputs: Inputs, parameters: Parameters) -> str:
        return self._reduce(self._name, "Mean", inputs[0], 1, 2)

    def min_max_normalize(
        self, op: ops.MinMaxNormalize, inputs: Inputs, parameters: Parameters
    ) -> str:
        writer, name = self._writer, self._name
        low = self._reduce(f"{name}/min", "Min", inputs[0], 1, 2, 3)
        above = writer.floats(f"{name}/above", "Sub", [inputs[0], low])
        high = self._reduce(f"{name}/max", "Max", above, 1, 2, 3)
        epsilon = writer.constant(f"{name}/epsilon", np.array(op.epsilon, np.float32))
        divisor = writer.floats(f"{name}/divisor", "AddV2", [epsilon, high])
        return writer.floats(name, "RealDiv", [above, divisor])

    def _bilinear(self, inputs: Inputs, op: ops.Resize | ops.ResizeLike) -> str:
        return self._writer.floats(
            self._name,
            "ResizeBilinear",
            inputs,
            align_corners=boolean(False),
            half_pixel_centers=boolean(op.coordinates == "half_pixel"),
        )

    def _size_of(self, source: str) -> str:
        """Add the nodes that compute the height and width of a tensor."""
        writer, name = self._writer, self._name
        shape = writer.floats(f"{name}/shape", "Shape", [source], out_type=type_(INT))
        begin, size = writer.integers(f"{name}/begin", 1), writer.integers(f"{name}/count", 2)
        types = {"T": type_(INT), "Index": type_(INT)}
        return writer.node(f"{name}/slice", "Slice", [shape, begin, size], **types)

    def _reduce(self, name: str, kind: str, source: str, *axes: int) -> str:
        over = self._writer.integers(f"{name}/axes", *axes)
        types = {"keep_dims": boolean(True), "Tidx": type_(INT)}
        return self._writer.floats(name, kind, [source, over], **types)
