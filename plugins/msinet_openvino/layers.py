"""The ops in NCHW, as nodes of OpenVINO's operation set.

The nodes carry no precision: they are computed in the compiled model's inference precision.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino as ov

from msinet_core import Inputs, Layers, Parameters, ops

opset = ov.opset13

Node = Any

CHANNEL_AXIS = 1
SPATIAL_AXES = (2, 3)
IMAGE_AXES = (1, 2, 3)

AUTO_PADS = {"SAME": "same_upper", "VALID": "valid"}
"""OpenVINO's names."""


class OpenVINOLayers(Layers):
    """Compute every op, but no loss: the device does not train."""

    def subtract_mean(self, op: ops.SubtractMean, inputs: Inputs, parameters: Parameters) -> Node:
        return opset.subtract(inputs[0], _per_channel(np.asarray(op.mean, np.float32)))

    def conv2d(self, op: ops.Conv2D, inputs: Inputs, parameters: Parameters) -> Node:
        features = opset.convolution(
            inputs[0],
            opset.constant(parameters["kernel"], shared_memory=True),
            strides=[op.strides] * 2,
            pads_begin=[0, 0],
            pads_end=[0, 0],
            dilations=[op.dilation] * 2,
            auto_pad=AUTO_PADS[op.padding],
        )
        if op.use_bias:
            features = opset.add(features, _per_channel(parameters["bias"]))
        return opset.relu(features) if op.activation == "relu" else features

    def max_pool2d(self, op: ops.MaxPool2D, inputs: Inputs, parameters: Parameters) -> Node:
        pooled = opset.max_pool(
            inputs[0],
            strides=[op.strides] * 2,
            dilations=[1, 1],
            pads_begin=[0, 0],
            pads_end=[0, 0],
            kernel_shape=[op.pool_size] * 2,
            auto_pad=AUTO_PADS[op.padding],
        )
        return pooled.output(0)  # the second output holds the maxima's indices

    def resize(self, op: ops.Resize, inputs: Inputs, parameters: Parameters) -> Node:
        height, width = _size(inputs[0])
        return _interpolate(inputs[0], (height * op.scale, width * op.scale), op.coordinates)

    def resize_like(self, op: ops.ResizeLike, inputs: Inputs, parameters: Parameters) -> Node:
        return _interpolate(inputs[0], _size(inputs[1]), op.coordinates)

    def concat(self, op: ops.Concat, inputs: Inputs, parameters: Parameters) -> Node:
        return opset.concat(list(inputs), CHANNEL_AXIS)

    def global_mean(self, op: ops.GlobalMean, inputs: Inputs, parameters: Parameters) -> Node:
        """Average over rows, then over columns, since one sum over all pixels loses digits.

        OpenVINO would merge the two if both kept their axes.
        """
        height, width = SPATIAL_AXES
        rows = opset.reduce_mean(inputs[0], width, keep_dims=False)
        return opset.unsqueeze(opset.reduce_mean(rows, height, keep_dims=True), width)

    def min_max_normalize(
        self, op: ops.MinMaxNormalize, inputs: Inputs, parameters: Parameters
    ) -> Node:
        lowest = opset.reduce_min(inputs[0], IMAGE_AXES, keep_dims=True)
        shifted = opset.subtract(inputs[0], lowest)
        highest = opset.reduce_max(shifted, IMAGE_AXES, keep_dims=True)
        return opset.divide(shifted, opset.add(highest, np.float32(op.epsilon)))


def _interpolate(images: Node, size: ops.Size, coordinates: ops.Coordinates) -> Node:
    return opset.interpolate(
        images,
        np.asarray(size, np.int64),
        mode="linear_onnx",
        shape_calculation_mode="sizes",
        coordinate_transformation_mode=coordinates,  # OpenVINO has the same names
        axes=np.asarray(SPATIAL_AXES, np.int64),
    )


def _size(images: Node) -> ops.Size:
    shape = images.get_shape() if hasattr(images, "get_shape") else images.get_output_shape(0)
    return int(shape[SPATIAL_AXES[0]]), int(shape[SPATIAL_AXES[1]])


def _per_channel(values: np.ndarray[Any, Any]) -> Node:
    return opset.constant(values.reshape(1, -1, 1, 1))
