"""A builder for each op and for the loss, in NHWC and HWIO; JAX differentiates them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from msinet_core.network import ops
from msinet_core.network.graph import LayerBuilder
from msinet_core.network.interpolation import interpolation_matrix, supported
from msinet_core.network.loss import KLDivergence

Array = jax.Array
Inputs = Sequence[Array]
Parameters = Mapping[str, Array]

ACTIVATIONS = {"relu": jax.nn.relu, "linear": lambda features: features}
IMAGE_AXES = (1, 2, 3)


class Layers:
    """Builders that compute convolutions and concatenations in `precision`, all else in float32.

    A linear convolution is the network's output, whose rounding nothing smooths: float32 as well.
    """

    def __init__(self, precision: str) -> None:
        self._dtype = jnp.dtype(precision)

    def builders(self) -> Mapping[type, LayerBuilder[Any]]:
        """Return the table that `Graph.apply` walks with."""
        return {
            ops.SubtractMean: self.subtract_mean,
            ops.Conv2D: self.conv2d,
            ops.MaxPool2D: self.max_pool2d,
            ops.Resize: self.resize,
            ops.ResizeLike: self.resize_like,
            ops.Concat: self.concat,
            ops.GlobalMean: self.global_mean,
            ops.MinMaxNormalize: self.min_max_normalize,
            KLDivergence: self.kl_divergence,
        }

    def subtract_mean(self, op: ops.SubtractMean, inputs: Inputs, parameters: Parameters) -> Array:
        return inputs[0] - jnp.asarray(op.mean, inputs[0].dtype)

    def conv2d(self, op: ops.Conv2D, inputs: Inputs, parameters: Parameters) -> Array:
        activation = supported(op, "activation", ACTIVATIONS, "JAX")
        dtype = jnp.dtype("float32") if op.activation == "linear" else self._dtype
        features = lax.conv_general_dilated(
            inputs[0].astype(dtype),
            parameters["kernel"].astype(dtype),
            window_strides=(op.strides, op.strides),
            padding=op.padding,
            rhs_dilation=(op.dilation, op.dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        if op.use_bias:  # in float32, so that the bias' gradient, a sum of many, keeps its digits
            features = features.astype("float32") + parameters["bias"]
        return activation(features).astype(dtype)

    def max_pool2d(self, op: ops.MaxPool2D, inputs: Inputs, parameters: Parameters) -> Array:
        window, strides = ((1, size, size, 1) for size in (op.pool_size, op.strides))
        return lax.reduce_window(inputs[0], -jnp.inf, lax.max, window, strides, op.padding)

    def resize(self, op: ops.Resize, inputs: Inputs, parameters: Parameters) -> Array:
        _, height, width, _ = inputs[0].shape
        return _resized(inputs[0], (height * op.scale, width * op.scale), op)

    def resize_like(self, op: ops.ResizeLike, inputs: Inputs, parameters: Parameters) -> Array:
        return _resized(inputs[0], inputs[1].shape[1:3], op)

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

    def kl_divergence(self, loss: KLDivergence, inputs: Inputs, parameters: Parameters) -> Array:
        true, predicted = (
            maps / (loss.epsilon + maps.sum(axis=IMAGE_AXES, keepdims=True)) for maps in inputs
        )
        ratio = true / (loss.epsilon + predicted)
        return (true * jnp.log(loss.epsilon + ratio)).sum(axis=IMAGE_AXES)


def _resized(images: Array, size: Sequence[int], op: ops.Resize | ops.ResizeLike) -> Array:
    """Multiply by a matrix for each axis: the gradient is a product too, and no scatter."""
    rows, columns = (
        interpolation_matrix(source, target, op.coordinates).astype("float32")
        for source, target in zip(images.shape[1:3], size, strict=True)
    )
    return jnp.einsum("nhwc,yh,xw->nyxc", images.astype("float32"), rows, columns)
