"""The layer builders of `cuda`, which compute in NCHW without transposes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from msinet_core import interpolation_matrix, ops
from msinet_tensorflow.layers import Inputs, Parameters, Tensor, TensorFlowLayers, tf

DATA_FORMAT = "NCHW"
PIXELS = (0, 2, 3)


class NchwLayers(TensorFlowLayers):
    """The shared builders on images of ``(N, C, H, W)``.

    TensorFlow keeps kernels HWIO in this data format too.

    Args:
        dtype: The dtype of convolutions.
    """

    spatial_axes = (2, 3)
    channel_axis = 1

    def subtract_mean(self, op: ops.SubtractMean, inputs: Inputs, parameters: Parameters) -> Tensor:
        """Subtract a constant from each channel, in float32."""
        return inputs[0] - tf.reshape(tf.constant(op.mean, inputs[0].dtype), (-1, 1, 1))

    def convolve(self, op: ops.Conv2D, images: Tensor, kernel: Tensor) -> Tensor:
        """Convolve without bias and activation.

        Args:
            op: The convolution's attributes.
            images: ``(N, C, H, W)``.
            kernel: HWIO, in the dtype of the images.
        """
        return tf.nn.conv2d(images, kernel, op.strides, op.padding, DATA_FORMAT, op.dilation)

    def add_bias(self, features: Tensor, bias: Tensor) -> Tensor:
        return _add_bias(features, bias)

    def max_pool2d(self, op: ops.MaxPool2D, inputs: Inputs, parameters: Parameters) -> Tensor:
        """Take the maximum over windows; SAME pads with minus infinity."""
        return tf.nn.max_pool2d(inputs[0], op.pool_size, op.strides, op.padding, DATA_FORMAT)

    def resize_bilinear(
        self, op: ops.Resize | ops.ResizeLike, images: Tensor, size: ops.Size
    ) -> Tensor:
        """Resize with a matrix product along each axis; TensorFlow's own resize requires NHWC.

        The products are computed in the dtype of the images if it represents the interpolation's
        weights exactly, as for a factor of two, and in float32 otherwise.

        Args:
            op: Its coordinates attribute selects the sampling rule.
            images: ``(N, C, H, W)``.
            size: The new height and width in pixels.
        """
        height, width = self.size(images)
        if (height, width) == (1, 1):  # a single pixel is repeated
            return tf.broadcast_to(images, (*images.shape[:2], *size))
        rows = interpolation_matrix(height, size[0], op.coordinates)
        columns = interpolation_matrix(width, size[1], op.coordinates)
        dtype = images.dtype if _exact(images.dtype, rows, columns) else tf.float32
        wider = tf.matmul(tf.cast(images, dtype), tf.constant(columns, dtype), transpose_b=True)
        return tf.matmul(tf.constant(rows, dtype), wider)


def _exact(dtype: Any, *matrices: np.ndarray[Any, Any]) -> bool:
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
"""Add one value to each channel; sum its gradient in float32, as in NHWC."""
