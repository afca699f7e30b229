"""Each op of the network as ONNX's standard operators, in NCHW.

Source: https://onnx.ai/onnx/operators, operator set 18.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msinet_core.device.layers import Layers
from msinet_core.network import ops
from msinet_core.network.graph import Node

CHANNEL_AXIS = 1
SPATIAL_AXES = (2, 3)
IMAGE_AXES = (1, 2, 3)

AUTO_PADS = {"SAME": "SAME_UPPER", "VALID": "VALID"}
"""ONNX's names."""


class GraphWriter:
    """Collect the nodes and constants of an ONNX graph.

    Args:
        sizes: Height and width of each node's output, if they are known.
    """

    def __init__(self, sizes: Mapping[str, ops.Size] | None = None) -> None:
        self.sizes = sizes or {}
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.node_name = ""
        self.inputs: tuple[str, ...] = ()

    def enter(self, node: Node) -> None:
        """Name what is added next after a node of the network.

        Args:
            node: The node.
        """
        self.node_name, self.inputs = node.name, node.inputs

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


Inputs = Sequence[str]
Parameters = Mapping[str, str]


class OnnxLayers(Layers):
    """Write every op, but no loss; tensors are the names of values.

    Args:
        writer: Collects what is written.
    """

    def __init__(self, writer: GraphWriter | None = None) -> None:
        self._writer = writer or GraphWriter()

    def subtract_mean(self, op: ops.SubtractMean, inputs: Inputs, parameters: Parameters) -> str:
        mean = self._writer.part("mean", np.reshape(op.mean, (1, -1, 1, 1)), np.float32)
        return self._writer.add("Sub", [inputs[0], mean])

    def conv2d(self, op: ops.Conv2D, inputs: Inputs, parameters: Parameters) -> str:
        activated = op.activation == "relu"
        features = self._writer.add(
            "Conv",
            [inputs[0], *(parameters[role] for role in ("kernel", "bias")[: 1 + op.use_bias])],
            "convolution" if activated else "",
            kernel_shape=[op.kernel_size] * 2,
            strides=[op.strides] * 2,
            dilations=[op.dilation] * 2,
            **_padding(op),
        )
        return self._writer.add("Relu", [features]) if activated else features

    def max_pool2d(self, op: ops.MaxPool2D, inputs: Inputs, parameters: Parameters) -> str:
        return self._writer.add(
            "MaxPool",
            inputs,
            kernel_shape=[op.pool_size] * 2,
            strides=[op.strides] * 2,
            auto_pad=AUTO_PADS[op.padding],
        )

    def resize(self, op: ops.Resize, inputs: Inputs, parameters: Parameters) -> str:
        return self._by_scales(inputs[0], (op.scale, op.scale), op.coordinates)

    def resize_like(self, op: ops.ResizeLike, inputs: Inputs, parameters: Parameters) -> str:
        writer = self._writer
        if writer.sizes:
            old, new = (writer.sizes[name] for name in writer.inputs)
            height, width = new[0] / old[0], new[1] / old[1]
            if height.is_integer() and width.is_integer():  # more accelerators take constants
                return self._by_scales(inputs[0], (int(height), int(width)), op.coordinates)
        # Not the attribute `axes`: ONNX Runtime 1.32 fails on it behind a Transpose.
        kept = writer.add("Shape", inputs[:1], "kept", start=0, end=2)
        size = writer.add("Shape", inputs[1:], "size", start=2, end=4)
        sizes = writer.add("Concat", [kept, size], "sizes", axis=0)
        return self._interpolate([inputs[0], "", "", sizes], op.coordinates)

    def concat(self, op: ops.Concat, inputs: Inputs, parameters: Parameters) -> str:
        return self._writer.add("Concat", inputs, axis=CHANNEL_AXIS)

    def global_mean(self, op: ops.GlobalMean, inputs: Inputs, parameters: Parameters) -> str:
        """Average over rows, then over columns, since one sum over all pixels loses digits."""
        writer = self._writer
        height, width = SPATIAL_AXES
        rows = writer.add("ReduceMean", [inputs[0], writer.part("width", [width])], "rows")
        return writer.add("ReduceMean", [rows, writer.part("height", [height])])

    def min_max_normalize(
        self, op: ops.MinMaxNormalize, inputs: Inputs, parameters: Parameters
    ) -> str:
        writer = self._writer
        axes = writer.part("axes", IMAGE_AXES)
        lowest = writer.add("ReduceMin", [inputs[0], axes], "lowest")
        shifted = writer.add("Sub", [inputs[0], lowest], "shifted")
        highest = writer.add("ReduceMax", [shifted, axes], "highest")
        epsilon = writer.part("epsilon", op.epsilon, np.float32)
        divisor = writer.add("Add", [highest, epsilon], "divisor")
        return writer.add("Div", [shifted, divisor])

    def _by_scales(self, images: str, scales: ops.Size, coordinates: ops.Coordinates) -> str:
        factors = self._writer.part("scales", (1, 1, *scales), np.float32)
        return self._interpolate([images, "", factors], coordinates)

    def _interpolate(self, inputs: Inputs, coordinates: ops.Coordinates) -> str:
        # ONNX has the same names for coordinates.
        return self._writer.add(
            "Resize", inputs, mode="linear", coordinate_transformation_mode=coordinates
        )


def _padding(op: ops.Conv2D) -> Mapping[str, Any]:
    if op.padding == "VALID" or op.strides > 1:  # the latter depends on the image's size
        return {"auto_pad": AUTO_PADS[op.padding]}
    # Explicit, since runtimes disagree on automatic padding with dilations.
    before, after = ops.same_padding(op.extent, op.extent, op.strides)
    return {"pads": [before, before, after, after]}
