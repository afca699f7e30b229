"""A builder for each op in NCHW, as nodes of OpenVINO's operation set.

The nodes carry no precision: the compiled model's inference precision says what is computed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import openvino as ov

from msinet_core.network import ops
from msinet_core.network.graph import LayerBuilder
from msinet_core.network.interpolation import supported

opset = ov.opset13

Node = Any
Inputs = Sequence[Node]
Parameters = Mapping[str, Node]

CHANNEL_AXIS = 1
PIXELS = (2, 3)
IMAGE_AXES = (1, 2, 3)

PADDINGS = {"SAME": "same_upper", "VALID": "valid"}
ACTIVATIONS: Mapping[str, Callable[[Node], Node]] = {
    "relu": opset.relu,
    "linear": lambda node: node,
}
COORDINATES = {"asymmetric": "asymmetric", "half_pixel": "half_pixel"}


def subtract_mean(op: ops.SubtractMean, inputs: Inputs, parameters: Parameters) -> Node:
    """Subtract a constant from each channel."""
    return opset.subtract(inputs[0], _per_channel(np.asarray(op.mean, np.float32)))


def conv2d(op: ops.Conv2D, inputs: Inputs, parameters: Parameters) -> Node:
    """Convolve, add the bias, apply the activation; OpenVINO makes one kernel of the three."""
    activation = supported(op, "activation", ACTIVATIONS, "OpenVINO")
    features = opset.convolution(
        inputs[0],
        opset.constant(parameters["kernel"], shared_memory=True),
        strides=[op.strides] * 2,
        pads_begin=[0, 0],
        pads_end=[0, 0],
        dilations=[op.dilation] * 2,
        auto_pad=supported(op, "padding", PADDINGS, "OpenVINO"),
    )
    if op.use_bias:
        features = opset.add(features, _per_channel(parameters["bias"]))
    return activation(features)


def max_pool2d(op: ops.MaxPool2D, inputs: Inputs, parameters: Parameters) -> Node:
    """Take the maximum over windows; OpenVINO leaves the padding out of it."""
    pooled = opset.max_pool(
        inputs[0],
        strides=[op.strides] * 2,
        dilations=[1, 1],
        pads_begin=[0, 0],
        pads_end=[0, 0],
        kernel_shape=[op.pool_size] * 2,
        auto_pad=supported(op, "padding", PADDINGS, "OpenVINO"),
    )
    return pooled.output(0)  # the second are the maxima's places


def resize(op: ops.Resize, inputs: Inputs, parameters: Parameters) -> Node:
    """Enlarge by a whole factor, bilinearly."""
    height, width = _size(inputs[0])
    return _interpolate(op, inputs[0], (height * op.scale, width * op.scale))


def resize_like(op: ops.ResizeLike, inputs: Inputs, parameters: Parameters) -> Node:
    """Resize the first input to the second one's height and width."""
    return _interpolate(op, inputs[0], _size(inputs[1]))


def concat(op: ops.Concat, inputs: Inputs, parameters: Parameters) -> Node:
    """Join along the channels."""
    return opset.concat(list(inputs), CHANNEL_AXIS)


def global_mean(op: ops.GlobalMean, inputs: Inputs, parameters: Parameters) -> Node:
    """Average over height and width."""
    return opset.reduce_mean(inputs[0], PIXELS, keep_dims=True)


def min_max_normalize(op: ops.MinMaxNormalize, inputs: Inputs, parameters: Parameters) -> Node:
    """Scale each image to 0..1."""
    lowest = opset.reduce_min(inputs[0], IMAGE_AXES, keep_dims=True)
    shifted = opset.subtract(inputs[0], lowest)
    highest = opset.reduce_max(shifted, IMAGE_AXES, keep_dims=True)
    return opset.divide(shifted, opset.add(highest, np.float32(op.epsilon)))


LAYER_BUILDERS: Mapping[type, LayerBuilder[Any]] = {
    ops.SubtractMean: subtract_mean,
    ops.Conv2D: conv2d,
    ops.MaxPool2D: max_pool2d,
    ops.Resize: resize,
    ops.ResizeLike: resize_like,
    ops.Concat: concat,
    ops.GlobalMean: global_mean,
    ops.MinMaxNormalize: min_max_normalize,
}
"""Without the loss: the device does not train."""


def _interpolate(op: ops.Resize | ops.ResizeLike, images: Node, size: ops.Size) -> Node:
    return opset.interpolate(
        images,
        np.asarray(size, np.int64),
        mode="linear_onnx",
        shape_calculation_mode="sizes",
        coordinate_transformation_mode=supported(op, "coordinates", COORDINATES, "OpenVINO"),
        axes=np.asarray(PIXELS, np.int64),
    )


def _size(images: Node) -> ops.Size:
    shape = images.get_shape() if hasattr(images, "get_shape") else images.get_output_shape(0)
    return int(shape[PIXELS[0]]), int(shape[PIXELS[1]])


def _per_channel(values: np.ndarray[Any, Any]) -> Node:
    return opset.constant(values.reshape(1, -1, 1, 1))
