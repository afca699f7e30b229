"""The ops and the loss in NHWC, on MLX's own ops."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from msinet_core import Inputs, Layers, Parameters, interpolation_matrix, ops

mx: Any = importlib.import_module("mlx.core")
"""MLX, without the types of its stubs: type checks must not depend on whether it is installed."""

Tensor = Any

HEIGHT, WIDTH, CHANNELS = 1, 2, 3
IMAGE_AXES = (1, 2, 3)


class MlxLayers(Layers):
    """Compute convolutions in one precision, from float32 parameters.

    The mean, the normalization and the loss are always float32, and so is a linear convolution: it
    is the network's output, and no later layer smooths its rounding.

    Args:
        dtype: The dtype of convolutions, for example ``mx.bfloat16``.
    """

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype

    def subtract_mean(self, op: ops.SubtractMean, inputs: Inputs, parameters: Parameters) -> Tensor:
        return inputs[0] - mx.array(op.mean, inputs[0].dtype)

    def conv2d(self, op: ops.Conv2D, inputs: Inputs, parameters: Parameters) -> Tensor:
        dtype = mx.float32 if op.activation == "linear" else self.dtype
        images = inputs[0].astype(dtype)
        pads = [_pads(op, size, op.extent) for size in _size(images)]
        padding = tuple(before for before, _ in pads)
        if any(before != after for before, after in pads):  # MLX pads both ends alike
            images, padding = mx.pad(images, [(0, 0), *pads, (0, 0)]), (0, 0)
        kernel = parameters["kernel"].astype(dtype)
        features = mx.conv2d(images, kernel, op.strides, padding, op.dilation)
        if op.use_bias:
            features = add_bias(features, parameters["bias"])
        if op.activation == "relu":  # its gradient at 0 is 0
            features = mx.maximum(features, mx.array(0, features.dtype))
        return features

    def max_pool2d(self, op: ops.MaxPool2D, inputs: Inputs, parameters: Parameters) -> Tensor:
        return _max_pool(op, _max_pool(op, inputs[0], WIDTH), HEIGHT)

    def resize(self, op: ops.Resize, inputs: Inputs, parameters: Parameters) -> Tensor:
        height, width = _size(inputs[0])
        return _resize(inputs[0], (height * op.scale, width * op.scale), op.coordinates)

    def resize_like(self, op: ops.ResizeLike, inputs: Inputs, parameters: Parameters) -> Tensor:
        return _resize(inputs[0], _size(inputs[1]), op.coordinates)

    def concat(self, op: ops.Concat, inputs: Inputs, parameters: Parameters) -> Tensor:
        return mx.concatenate([features.astype(self.dtype) for features in inputs], CHANNELS)

    def global_mean(self, op: ops.GlobalMean, inputs: Inputs, parameters: Parameters) -> Tensor:
        rows = inputs[0].astype(mx.float32).mean(axis=WIDTH, keepdims=True)
        return rows.mean(axis=HEIGHT, keepdims=True)

    def min_max_normalize(
        self, op: ops.MinMaxNormalize, inputs: Inputs, parameters: Parameters
    ) -> Tensor:
        maps = inputs[0].astype(mx.float32)
        maps = maps - _spread(maps.min(axis=IMAGE_AXES, keepdims=True), maps)
        return maps / _spread(op.epsilon + maps.max(axis=IMAGE_AXES, keepdims=True), maps)

    def image_sum(self, maps: Tensor, keepdims: bool) -> Tensor:
        maps = maps.astype(mx.float32)
        return _spread(_sum(maps), maps) if keepdims else _sum(maps).reshape(-1)

    def log(self, values: Tensor) -> Tensor:
        return mx.log(values)


def _biased(features: Tensor, bias: Tensor) -> Tensor:
    return features + bias.astype(features.dtype)


def _bias_gradient(primals: Inputs, upstream: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
    return upstream, upstream.astype(mx.float32).sum(axis=WIDTH).sum(axis=(0, HEIGHT))


add_bias: Any = mx.custom_function(_biased)
"""Add a float32 value to each channel; its gradient is summed in float32."""

add_bias.vjp(_bias_gradient)


def _pads(op: ops.Conv2D | ops.MaxPool2D, size: int, extent: int) -> tuple[int, int]:
    """Return the padding before and after one axis of `size` pixels."""
    return (0, 0) if op.padding == "VALID" else ops.same_padding(size, extent, op.strides)


def _sum(maps: Tensor) -> Tensor:
    """Sum each image, rows first: on a CPU, a single sum of all pixels loses a digit."""
    rows = maps.sum(axis=WIDTH, keepdims=True)
    return rows.sum(axis=(HEIGHT, CHANNELS), keepdims=True)


def _spread(values: Tensor, maps: Tensor) -> Tensor:
    """Broadcast one value per image to its pixels; the gradient is summed like `_sum`."""
    count, height, _, channels = maps.shape
    columns = mx.broadcast_to(values, (count, height, 1, channels))
    return mx.broadcast_to(columns, maps.shape)


def _size(images: Tensor) -> ops.Size:
    return images.shape[HEIGHT], images.shape[WIDTH]


def _along(axis: int, piece: slice) -> tuple[slice, ...]:
    """Return an index that slices one axis."""
    return (slice(None),) * axis + (piece,)


def _max_pool(op: ops.MaxPool2D, features: Tensor, axis: int) -> Tensor:
    """Pool one axis; among equal values, the first receives the gradient, as in TensorFlow.

    MLX's own maximum passes the gradient to its second argument.
    """
    pads = _pads(op, features.shape[axis], op.pool_size)
    if any(pads):
        widths = [pads if index == axis else (0, 0) for index in range(features.ndim)]
        features = mx.pad(features, widths, constant_values=mx.array(-np.inf, features.dtype))
    reach = features.shape[axis] - op.pool_size + 1
    maxima = features[_along(axis, slice(0, reach, op.strides))]
    for tap in range(1, op.pool_size):
        later = features[_along(axis, slice(tap, tap + reach, op.strides))]
        maxima = mx.maximum(later, maxima)
    return maxima


def _resize(images: Tensor, size: ops.Size, coordinates: ops.Coordinates) -> Tensor:
    """Resize bilinearly, width first like TensorFlow's kernel."""
    height, width = size
    wider = _resize_axis(images, WIDTH, width, coordinates)
    return _resize_axis(wider, HEIGHT, height, coordinates)


def _resize_axis(images: Tensor, axis: int, target: int, coordinates: ops.Coordinates) -> Tensor:
    source = images.shape[axis]
    if source == target:
        return images
    if source == 1:
        shape = list(images.shape)
        shape[axis] = target
        # The gradient is a sum over the axis, which needs more than 16 bits.
        return mx.broadcast_to(images.astype(mx.float32), shape).astype(images.dtype)
    if target % source == 0:
        return _enlarge(images, axis, target // source, coordinates)
    matrix = mx.array(interpolation_matrix(source, target, coordinates), mx.float32)
    rows = mx.moveaxis(images.astype(mx.float32), axis, -2)
    return mx.moveaxis(matrix @ rows, -2, axis).astype(images.dtype)


def _enlarge(images: Tensor, axis: int, scale: int, coordinates: ops.Coordinates) -> Tensor:
    """Enlarge one axis by an integer factor: one sum per position between two source rows.

    The sums are float32, and MLX fuses each with its casts into one kernel.
    """
    first, last = images[_along(axis, slice(0, 1))], images[_along(axis, slice(-1, None))]
    before = mx.concatenate([first, images[_along(axis, slice(None, -1))]], axis)
    after = mx.concatenate([images[_along(axis, slice(1, None))], last], axis)
    exact = images.astype(mx.float32)
    offset = 0.5 if coordinates == "half_pixel" else 0.0
    rows = []
    for number in range(scale):
        position = (number + offset) / scale - offset
        beside = (before if position < 0 else after).astype(mx.float32)
        row = exact + (beside - exact) * abs(position) if position else exact
        rows.append(row.astype(images.dtype))
    return mx.stack(rows, axis + 1).flatten(axis, axis + 1)
