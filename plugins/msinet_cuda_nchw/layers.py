"""The layer builders of `cuda`, which compute in NCHW without transposes."""

from __future__ import annotations

from typing import Any

import numpy as np

from msinet_core import Inputs, Parameters, interpolation_matrix, ops
from msinet_tensorflow.layers import Tensor, TensorFlowLayers, tf


class NchwLayers(TensorFlowLayers):
    """The shared builders on images of ``(N, C, H, W)``.

    TensorFlow keeps kernels HWIO in this data format too.

    Args:
        dtype: The dtype of convolutions.
    """

    data_format = "NCHW"
    spatial_axes = (2, 3)
    channel_axis = 1

    def subtract_mean(self, op: ops.SubtractMean, inputs: Inputs, parameters: Parameters) -> Tensor:
        """Subtract a constant from each channel, in float32."""
        return inputs[0] - tf.reshape(tf.constant(op.mean, inputs[0].dtype), (-1, 1, 1))

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
