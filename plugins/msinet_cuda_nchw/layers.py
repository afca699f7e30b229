"""A builder for each op in NCHW: every kernel is asked for that order, nothing is transposed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from msinet_core.network import ops
from msinet_core.network.interpolation import interpolation_matrix
from msinet_tensorflow.layers import PADDINGS, Inputs, Layers, Parameters, Tensor, attribute, tf

DATA_FORMAT = "NCHW"
COORDINATES = {"asymmetric": "asymmetric", "half_pixel": "half_pixel"}
PIXELS = (0, 2, 3)


class NchwLayers(Layers):
    """The shared builders on images of ``(N, C, H, W)``.

    TensorFlow keeps kernels HWIO in this data format too.

    Args:
        dtype: What convolutions compute in.
    """

    spatial_axes = (2, 3)
    channel_axis = 1

    def subtract_mean(self, op: ops.SubtractMean, inputs: Inputs, parameters: Parameters) -> Tensor:
        """Subtract a constant from each channel, in float32."""
        return inputs[0] - tf.reshape(tf.constant(op.mean, inputs[0].dtype), (-1, 1, 1))

    def convolve(self, op: ops.Conv2D, images: Tensor, kernel: Tensor) -> Tensor:
        """Convolve without bias and activation.

        Args:
            op: Its attributes.
            images: ``(N, C, H, W)``.
            kernel: HWIO, in the dtype of the images.
        """
        padding = attribute(op, "padding", PADDINGS)
        return tf.nn.conv2d(images, kernel, op.strides, padding, DATA_FORMAT, op.dilation)

    def add_bias(self, features: Tensor, bias: Tensor) -> Tensor:
        return _add_bias(features, bias)

    def max_pool2d(self, op: ops.MaxPool2D, inputs: Inputs, parameters: Parameters) -> Tensor:
        """Take the maximum over windows; TensorFlow pads SAME with minus infinity."""
        padding = attribute(op, "padding", PADDINGS)
        return tf.nn.max_pool2d(inputs[0], op.pool_size, op.strides, padding, DATA_FORMAT)

    def resize_bilinear(
        self, op: ops.Resize | ops.ResizeLike, images: Tensor, size: ops.Size
    ) -> Tensor:
        """Resize by a matrix product along each axis, as TensorFlow's own resize knows NHWC only.

        The products are computed in the dtype of the images where it holds the interpolation's
        weights to the last bit, as it does at twice the size, and in float32 otherwise.

        Args:
            op: Says how coordinates are read.
            images: ``(N, C, H, W)``.
            size: The new height and width in pixels.
        """
        coordinates = attribute(op, "coordinates", COORDINATES)
        height, width = self.size(images)
        if (height, width) == (1, 1):  # every output pixel reads the only one there is
            return tf.broadcast_to(images, (*images.shape[:2], *size))
        rows = interpolation_matrix(height, size[0], coordinates)
        columns = interpolation_matrix(width, size[1], coordinates)
        dtype = images.dtype if _holds(images.dtype, rows, columns) else tf.float32
        wider = tf.matmul(tf.cast(images, dtype), tf.constant(columns, dtype), transpose_b=True)
        return tf.matmul(tf.constant(rows, dtype), wider)


def _holds(dtype: Any, *matrices: np.ndarray[Any, Any]) -> bool:
    return all(
        np.array_equal(matrix.astype(dtype.as_numpy_dtype).astype(matrix.dtype), matrix)
        for matrix in matrices
    )


def _biased(features: Tensor, bias: Tensor) -> tuple[Tensor, Callable[[Tensor], Any]]:
    def gradient(upstream: Tensor) -> tuple[Tensor, Tensor]:
        total = tf.reduce_sum(tf.cast(upstream, tf.float32), axis=PIXELS)
        return upstream, tf.cast(total, bias.dtype)

    return tf.nn.bias_add(features, bias, DATA_FORMAT), gradient


_add_bias: Callable[[Tensor, Tensor], Tensor] = tf.custom_gradient(_biased)
"""Adds one value to each channel; its gradient is summed up in float32, as `Layers.add_bias` does
in NHWC.
"""
