"""The layer builders of `cpu` that differ from the shared TensorFlow ones."""

from __future__ import annotations

from typing import Any

from msinet_core import hardware, ops
from msinet_tensorflow.layers import Tensor, TensorFlowLayers, tf


class CpuLayers(TensorFlowLayers):
    """The shared builders, with dilated convolutions that train correctly on every processor.

    Args:
        dtype: The dtype of convolutions.
    """

    def __init__(self, dtype: Any) -> None:
        super().__init__(dtype)
        self._dilates = dilation_has_gradient(dtype)

    def convolve(self, op: ops.Conv2D, images: Tensor, kernel: Tensor) -> Tensor:
        if op.dilation > 1 and not self._dilates:
            # The same sums as undilated convolutions over every n-th pixel.
            return tf.nn.atrous_conv2d(images, kernel, op.dilation, op.padding)
        missing = hardware.missing_channels(images.shape[3], op.dilation)
        if missing and self.dtype == tf.bfloat16:
            images = tf.pad(images, ((0, 0), (0, 0), (0, 0), (0, missing)))
            kernel = tf.pad(kernel, ((0, 0), (0, 0), (0, missing), (0, 0)))
        return super().convolve(op, images, kernel)

    def channel_sums(self, features: Tensor) -> Tensor:
        """Sum each channel, ``(C,)``, with a matrix product in bfloat16.

        It adds in float32 without a copy of the features in float32.
        """
        if features.dtype != tf.bfloat16:
            return super().channel_sums(features)
        pixels = tf.reshape(features, (-1, features.shape[3]))
        return tf.matmul(tf.ones_like(pixels[:, :1]), pixels, transpose_a=True)[0]


def dilation_has_gradient(dtype: Any) -> bool:
    """Return whether TensorFlow's CPU kernels can differentiate a dilated convolution.

    Only those of oneDNN can, which Macs do not have, TF_ENABLE_ONEDNN_OPTS=0 disables, and
    bfloat16 needs AVX-512 for. The others raise "Current CPU implementations do not yet support
    dilation rates larger than 1".

    Args:
        dtype: The dtype of convolutions.

    Source: https://github.com/tensorflow/tensorflow/issues/28264
    """
    images = tf.zeros((1, 3, 3, 1), dtype)
    try:
        tf.raw_ops.Conv2DBackpropFilter(
            input=images,
            filter_sizes=(2, 2, 1, 1),
            out_backprop=images,
            strides=(1, 1, 1, 1),
            padding="SAME",
            dilations=(1, 2, 2, 1),
        )
    except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):
        return False
    return True
