"""A builder for each op and for the loss, in NHWC, on MLX's own ops."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from msinet_core.network import ops
from msinet_core.network.graph import LayerBuilder
from msinet_core.network.interpolation import interpolation_matrix, supported
from msinet_core.network.loss import KLDivergence

mx: Any = importlib.import_module("mlx.core")
"""MLX, without the types of its stubs: checks must not depend on whether it is installed."""

Tensor = Any
Inputs = Sequence[Tensor]
Parameters = Mapping[str, Tensor]

HEIGHT, WIDTH, CHANNELS = 1, 2, 3
IMAGE_AXES = (1, 2, 3)


def relu(features: Tensor) -> Tensor:
    """Clip at 0, where the gradient is 0.

    Args:
        features: Of any shape.
    """
    return mx.maximum(features, mx.array(0, features.dtype))


ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": relu,
    "linear": lambda features: features,
}
OFFSETS: Mapping[str, float] = {"asymmetric": 0.0, "half_pixel": 0.5}
"""What is added to a row's number before it is scaled, and taken away after."""


class Layers:
    """Builders that compute convolutions in one precision, from float32 parameters.

    The mean, the normalization and the loss are computed in float32 whatever the precision is, and
    so is a linear convolution: it is the network's output, whose rounding nothing smooths later.

    Args:
        dtype: What convolutions compute in, for example ``mx.bfloat16``.
    """

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype

    def builders(self) -> Mapping[type, LayerBuilder[Tensor]]:
        """Return the table that `Graph.apply` walks with."""
        return {
            ops.SubtractMean: subtract_mean,
            ops.Conv2D: self.conv2d,
            ops.MaxPool2D: max_pool2d,
            ops.Resize: resize,
            ops.ResizeLike: resize_like,
            ops.Concat: self.concat,
            ops.GlobalMean: global_mean,
            ops.MinMaxNormalize: min_max_normalize,
            KLDivergence: kl_divergence,
        }

    def conv2d(self, op: ops.Conv2D, inputs: Inputs, parameters: Parameters) -> Tensor:
        """Convolve, add the bias and apply the activation."""
        activation = supported(op, "activation", ACTIVATIONS, "MLX")
        dtype = mx.float32 if op.activation == "linear" else self.dtype
        images = inputs[0].astype(dtype)
        pads = [padding(op, size, op.extent) for size in _size(images)]
        alike = tuple(before for before, after in pads)
        if any(before != after for before, after in pads):  # MLX pads both ends alike
            images, alike = mx.pad(images, [(0, 0), *pads, (0, 0)]), (0, 0)
        kernel = parameters["kernel"].astype(dtype)
        features = mx.conv2d(images, kernel, op.strides, alike, op.dilation)
        if op.use_bias:
            features = add_bias(features, parameters["bias"])
        return activation(features)

    def concat(self, op: ops.Concat, inputs: Inputs, parameters: Parameters) -> Tensor:
        """Join along the channels."""
        return mx.concatenate([features.astype(self.dtype) for features in inputs], CHANNELS)


def _biased(features: Tensor, bias: Tensor) -> Tensor:
    return features + bias.astype(features.dtype)


def _bias_gradient(primals: Inputs, upstream: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
    return upstream, upstream.astype(mx.float32).sum(axis=WIDTH).sum(axis=(0, HEIGHT))


add_bias: Any = mx.custom_function(_biased)
"""Adds one float32 value to each channel; its gradient is summed up in float32."""

add_bias.vjp(_bias_gradient)


def subtract_mean(op: ops.SubtractMean, inputs: Inputs, parameters: Parameters) -> Tensor:
    """Subtract a constant from each channel, in float32."""
    return inputs[0] - mx.array(op.mean, inputs[0].dtype)


def max_pool2d(op: ops.MaxPool2D, inputs: Inputs, parameters: Parameters) -> Tensor:
    """Take the maximum over windows, columns first; minus infinity pads."""
    return _max_pool(op, _max_pool(op, inputs[0], WIDTH), HEIGHT)


def resize(op: ops.Resize, inputs: Inputs, parameters: Parameters) -> Tensor:
    """Enlarge by a whole factor."""
    height, width = _size(inputs[0])
    return _resize_bilinear(op, inputs[0], (height * op.scale, width * op.scale))


def resize_like(op: ops.ResizeLike, inputs: Inputs, parameters: Parameters) -> Tensor:
    """Resize to the second input's height and width."""
    return _resize_bilinear(op, inputs[0], _size(inputs[1]))


def global_mean(op: ops.GlobalMean, inputs: Inputs, parameters: Parameters) -> Tensor:
    """Average over height and width, in float32: sums of many values need the digits."""
    features = inputs[0].astype(mx.float32)
    rows = features.mean(axis=WIDTH, keepdims=True)
    return rows.mean(axis=HEIGHT, keepdims=True)


def min_max_normalize(op: ops.MinMaxNormalize, inputs: Inputs, parameters: Parameters) -> Tensor:
    """Scale each image to 0..1, in float32."""
    maps = inputs[0].astype(mx.float32)
    maps = maps - _spread(maps.min(axis=IMAGE_AXES, keepdims=True), maps)
    return maps / _spread(op.epsilon + maps.max(axis=IMAGE_AXES, keepdims=True), maps)


def kl_divergence(loss: KLDivergence, inputs: Inputs, parameters: Parameters) -> Tensor:
    """Give the loss of each image, ``(N,)``, in float32."""
    true, predicted = (
        maps / _spread(loss.epsilon + _sum(maps), maps)
        for maps in (maps.astype(mx.float32) for maps in inputs)
    )
    ratio = true / (loss.epsilon + predicted)
    return _sum(true * mx.log(loss.epsilon + ratio)).reshape(-1)


def padding(op: ops.Conv2D | ops.MaxPool2D, size: int, extent: int) -> tuple[int, int]:
    """Give the pixels that are added before and after one axis.

    Args:
        op: Says how it pads.
        size: The axis in pixels.
        extent: The pixels that the window spans.
    """
    choices = {"SAME": ops.same_padding(size, extent, op.strides), "VALID": (0, 0)}
    pads: tuple[int, int] = supported(op, "padding", choices, "MLX")
    return pads


def _sum(maps: Tensor) -> Tensor:
    """Sum up each image, rows first: one sum of all pixels loses a digit on a processor."""
    rows = maps.sum(axis=WIDTH, keepdims=True)
    return rows.sum(axis=(HEIGHT, CHANNELS), keepdims=True)


def _spread(values: Tensor, maps: Tensor) -> Tensor:
    """Give every pixel its image's value; the gradient is summed up as `_sum` does."""
    count, height, _, channels = maps.shape
    columns = mx.broadcast_to(values, (count, height, 1, channels))
    return mx.broadcast_to(columns, maps.shape)


def _size(images: Tensor) -> ops.Size:
    return images.shape[HEIGHT], images.shape[WIDTH]


def _along(axis: int, piece: slice) -> tuple[slice, ...]:
    """Index one axis."""
    return (slice(None),) * axis + (piece,)


def _max_pool(op: ops.MaxPool2D, features: Tensor, axis: int) -> Tensor:
    """Pool one axis; of equal values the first gets the gradient, as in TensorFlow.

    MLX gives the gradient of a maximum of two equals to the second.
    """
    pads = padding(op, features.shape[axis], op.pool_size)
    if any(pads):
        widths = [pads if place == axis else (0, 0) for place in range(features.ndim)]
        features = mx.pad(features, widths, constant_values=mx.array(-np.inf, features.dtype))
    reach = features.shape[axis] - op.pool_size + 1
    maxima = features[_along(axis, slice(0, reach, op.strides))]
    for tap in range(1, op.pool_size):
        later = features[_along(axis, slice(tap, tap + reach, op.strides))]
        maxima = mx.maximum(later, maxima)
    return maxima


def _resize_bilinear(op: ops.Resize | ops.ResizeLike, images: Tensor, size: ops.Size) -> Tensor:
    """Resize columns before rows, which is the order of TensorFlow's kernel."""
    coordinates = op.coordinates
    supported(op, "coordinates", OFFSETS, "MLX")
    wider = _resize_axis(images, WIDTH, size[1], coordinates)
    return _resize_axis(wider, HEIGHT, size[0], coordinates)


def _resize_axis(images: Tensor, axis: int, target: int, coordinates: ops.Coordinates) -> Tensor:
    source = images.shape[axis]
    if source == target:
        return images
    if source == 1:
        shape = list(images.shape)
        shape[axis] = target
        # Its gradient is a sum over the axis, which 16 bits would lose.
        return mx.broadcast_to(images.astype(mx.float32), shape).astype(images.dtype)
    if target % source == 0:
        return _enlarge(images, axis, target // source, OFFSETS[coordinates])
    return _interpolate(images, axis, target, coordinates)


def _enlarge(images: Tensor, axis: int, scale: int, offset: float) -> Tensor:
    """Enlarge one axis by a whole factor: all rows that lie alike between two are one sum.

    The sums are float32, and MLX fuses each with its casts into one kernel.
    """
    first, last = images[_along(axis, slice(0, 1))], images[_along(axis, slice(-1, None))]
    before = mx.concatenate([first, images[_along(axis, slice(None, -1))]], axis)
    after = mx.concatenate([images[_along(axis, slice(1, None))], last], axis)
    exact = images.astype(mx.float32)
    rows = []
    for phase in range(scale):
        place = (phase + offset) / scale - offset
        beside = (before if place < 0 else after).astype(mx.float32)
        row = exact + (beside - exact) * abs(place) if place else exact
        rows.append(row.astype(images.dtype))
    return mx.stack(rows, axis + 1).flatten(axis, axis + 1)


def _interpolate(images: Tensor, axis: int, target: int, coordinates: ops.Coordinates) -> Tensor:
    """Resize one axis by a factor that is not whole, as a product with a matrix, in float32."""
    matrix = mx.array(interpolation_matrix(images.shape[axis], target, coordinates), mx.float32)
    rows = mx.moveaxis(images.astype(mx.float32), axis, -2)
    return mx.moveaxis(matrix @ rows, -2, axis).astype(images.dtype)
