"""Each op of the network as TensorFlow's nodes, in NHWC, for frozen graphs and SavedModels.

Source: https://www.tensorflow.org/api_docs/python/tf/raw_ops.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msinet_core.checkpoint.wire.graph_def import (
    CHECKSUM,
    FLOAT,
    INT,
    STRING,
    boolean,
    integer_list,
    map_entry,
    shape_,
    string,
    type_,
)
from msinet_core.checkpoint.wire.protobuf import Buffer, integer, message, text
from msinet_core.device.layers import Layers
from msinet_core.network import ops
from msinet_core.network.graph import Node

Inputs = Sequence[str]
Parameters = Mapping[str, str]


_PRODUCER = 27
"""The version of graphs since TensorFlow 1.13; every later TensorFlow reads it."""

_TYPES = {"float32": FLOAT, "int32": INT}


class FrozenLayers(Layers):
    """Write every op, but no loss, as the nodes of a graph; tensors are the names of nodes.

    Args:
        checksums: Of those constants that are weights, by name.
    """

    def __init__(self, checksums: Mapping[str, str]) -> None:
        self._chunks: list[Buffer] = []
        self._checksums = checksums
        self._name = ""

    def enter(self, node: Node) -> None:
        """Name what is written next after a node of the network.

        Args:
            node: The node.
        """
        self._name = node.name

    @property
    def graph(self) -> list[Buffer]:
        """The graph, in pieces: tensors are not copied."""
        return [*self._chunks, text(4, integer(1, _PRODUCER))]

    def node(self, name: str, op: str, inputs: Sequence[str], **attributes: bytes) -> str:
        """Add a node and return its name."""
        head = text(1, name) + text(2, op) + b"".join(text(3, source) for source in inputs)
        entries = [map_entry(5, key, value) for key, value in sorted(attributes.items())]
        self._chunks += message(1, [head, *entries])
        return name

    def constant(self, name: str, value: NDArray[Any] | np.generic) -> str:
        """Add a constant and return its name."""
        tensor = np.asarray(value, value.dtype.newbyteorder("<"), order="C")
        kind, data = _TYPES[tensor.dtype.name], tensor.reshape(-1).data.cast("B")
        proto = [integer(1, kind) + text(2, shape_(tensor.shape)), *message(4, [data])]
        chunks: list[Buffer] = [text(1, name), text(2, "Const"), map_entry(5, "dtype", type_(kind))]
        if checksum := self._checksums.get(name):
            chunks.append(map_entry(5, CHECKSUM, string(checksum)))
        chunks += message(5, [text(1, "value"), *message(2, message(8, proto))])
        self._chunks += message(1, chunks)
        return name

    def text_constant(self, name: str, value: str) -> str:
        """Add a constant text and return its name."""
        proto = integer(1, STRING) + text(2, b"") + text(8, value)
        return self.node(name, "Const", [], dtype=type_(STRING), value=text(8, proto))

    def floats(self, name: str, op: str, inputs: Sequence[str], **attributes: bytes) -> str:
        """Add a node of float32 and return its name."""
        return self.node(name, op, inputs, T=type_(FLOAT), **attributes)

    def integers(self, name: str, *values: int) -> str:
        """Add a constant list of integers and return its name."""
        return self.constant(name, np.array(values, np.int32))

    def subtract_mean(self, op: ops.SubtractMean, inputs: Inputs, parameters: Parameters) -> str:
        mean = self.constant(f"{self._name}/mean", np.array(op.mean, np.float32))
        return self.floats(self._name, "Sub", [*inputs, mean])

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
            before = [self.floats(step, kind, [*before, *others], **attributes)]
        return self._name

    def max_pool2d(self, op: ops.MaxPool2D, inputs: Inputs, parameters: Parameters) -> str:
        return self.floats(
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
        scale = self.integers(f"{self._name}/scale", op.scale)
        larger = self.node(f"{self._name}/size", "Mul", [size, scale], T=type_(INT))
        return self._bilinear([inputs[0], larger], op)

    def resize_like(self, op: ops.ResizeLike, inputs: Inputs, parameters: Parameters) -> str:
        return self._bilinear([inputs[0], self._size_of(inputs[1])], op)

    def concat(self, op: ops.Concat, inputs: Inputs, parameters: Parameters) -> str:
        axis = self.constant(f"{self._name}/axis", np.int32(3))
        count = integer(3, len(inputs))
        return self.floats(self._name, "ConcatV2", [*inputs, axis], N=count, Tidx=type_(INT))

    def global_mean(self, op: ops.GlobalMean, inputs: Inputs, parameters: Parameters) -> str:
        return self._reduce(self._name, "Mean", inputs[0], 1, 2)

    def min_max_normalize(
        self, op: ops.MinMaxNormalize, inputs: Inputs, parameters: Parameters
    ) -> str:
        name = self._name
        low = self._reduce(f"{name}/min", "Min", inputs[0], 1, 2, 3)
        above = self.floats(f"{name}/above", "Sub", [inputs[0], low])
        high = self._reduce(f"{name}/max", "Max", above, 1, 2, 3)
        epsilon = self.constant(f"{name}/epsilon", np.array(op.epsilon, np.float32))
        divisor = self.floats(f"{name}/divisor", "AddV2", [epsilon, high])
        return self.floats(name, "RealDiv", [above, divisor])

    def _bilinear(self, inputs: Inputs, op: ops.Resize | ops.ResizeLike) -> str:
        return self.floats(
            self._name,
            "ResizeBilinear",
            inputs,
            align_corners=boolean(False),
            half_pixel_centers=boolean(op.coordinates == "half_pixel"),
        )

    def _size_of(self, source: str) -> str:
        """Add the nodes that compute the height and width of a tensor."""
        name = self._name
        shape = self.floats(f"{name}/shape", "Shape", [source], out_type=type_(INT))
        begin, size = self.integers(f"{name}/begin", 1), self.integers(f"{name}/count", 2)
        types = {"T": type_(INT), "Index": type_(INT)}
        return self.node(f"{name}/slice", "Slice", [shape, begin, size], **types)

    def _reduce(self, name: str, kind: str, source: str, *axes: int) -> str:
        over = self.integers(f"{name}/axes", *axes)
        types = {"keep_dims": boolean(True), "Tidx": type_(INT)}
        return self.floats(name, kind, [source, over], **types)
