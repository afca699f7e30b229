"""The ops and the loss in NHWC and HWIO; JAX differentiates them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from msinet_core import Inputs, Layers, Parameters, interpolation_matrix, ops

Array: TypeAlias = jax.Array

IMAGE_AXES = (1, 2, 3)


class JaxLayers(Layers):
    """Compute convolutions and concatenations in `precision`, everything else in float32.

    A linear convolution is the network's output, so it is float32 too.
    """

    def __init__(self, precision: str) -> None:
        self._dtype = jnp.dtype(precision)

    def subtract_mean(self, op: ops.SubtractMean, inputs: Inputs, parameters: Parameters) -> Array:
        return inputs[0] - jnp.asarray(op.mean, inputs[0].dtype)

    def conv2d(self, op: ops.Conv2D, inputs: Inputs, parameters: Parameters) -> Array:
        dtype = jnp.dtype("float32") if op.activation == "linear" else self._dtype
        features = lax.conv_general_dilated(
            inputs[0].astype(dtype),
            parameters["kernel"].astype(dtype),
            window_strides=(op.strides, op.strides),
            padding=op.padding,
            rhs_dilation=(op.dilation, op.dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        if op.use_bias:  # in float32, because the bias gradient is a long sum
            features = features.astype("float32") + parameters["bias"]
        if op.activation == "relu":
            features = jax.nn.relu(features)
        return features.astype(dtype)

    def max_pool2d(self, op: ops.MaxPool2D, inputs: Inputs, parameters: Parameters) -> Array:
        window, strides = ((1, size, size, 1) for size in (op.pool_size, op.strides))
        return lax.reduce_window(inputs[0], -jnp.inf, lax.max, window, strides, op.padding)

    def resize(self, op: ops.Resize, inputs: Inputs, parameters: Parameters) -> Array:
        _, height, width, _ = inputs[0].shape
        return _resized(inputs[0], (height * op.scale, width * op.scale), op.coordinates)

    def resize_like(self, op: ops.ResizeLike, inputs: Inputs, parameters: Parameters) -> Array:
        return _resized(inputs[0], inputs[1].shape[1:3], op.coordinates)

    def concat(self, op: ops.Concat, inputs: Inputs, parameters: Parameters) -> Array:
        return jnp.concatenate([features.astype(self._dtype) for features in inputs], axis=-1)

    def global_mean(self, op: ops.GlobalMean, inputs: Inputs, parameters: Parameters) -> Array:
        return inputs[0].astype("float32").mean(axis=(1, 2), keepdims=True)

    def min_max_normalize(
        self, op: ops.MinMaxNormalize, inputs: Inputs, parameters: Parameters
    ) -> Array:
        maps = inputs[0].astype("float32")
        maps -= maps.min(axis=IMAGE_AXES, keepdims=True)
        return maps / (op.epsilon + maps.max(axis=IMAGE_AXES, keepdims=True))

    def image_sum(self, maps: Array, keepdims: bool) -> Array:
        return maps.astype("float32").sum(axis=IMAGE_AXES, keepdims=keepdims)

    def log(self, values: Array) -> Array:
        return jnp.log(values)


def _resized(images: Array, size: Sequence[int], coordinates: ops.Coordinates) -> Array:
    """Multiply each axis by a matrix: the gradient is a product too, not a scatter."""
    rows, columns = (
        interpolation_matrix(source, target, coordinates).astype("float32")
        for source, target in zip(images.shape[1:3], size, strict=True)
    )
    return jnp.einsum("nhwc,yh,xw->nyxc", images.astype("float32"), rows, columns)
