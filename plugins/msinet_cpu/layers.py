"""The layer builders of `cpu`, where they differ from the shared TensorFlow ones."""

from __future__ import annotations

from typing import Any

from msinet_core import ops
from msinet_tensorflow.layers import Tensor, TensorFlowLayers, tf


class CpuLayers(TensorFlowLayers):
    """The shared builders, with dilated convolutions that can be trained without oneDNN.

    Args:
        dtype: The dtype of convolutions.
    """

    def __init__(self, dtype: Any) -> None:
        super().__init__(dtype)
        self._dilates = dilation_has_gradient()

    def convolve(self, op: ops.Conv2D, images: Tensor, kernel: Tensor) -> Tensor:
        if op.dilation == 1 or self._dilates:
            return super().convolve(op, images, kernel)
        # The same sums, undilated on batches of every n-th pixel, which any kernel can.
        return tf.nn.atrous_conv2d(images, kernel, op.dilation, op.padding)


def dilation_has_gradient() -> bool:
    """Tell whether TensorFlow's kernels here can differentiate a dilated convolution.

    Only oneDNN's can, which Macs do not have and TF_ENABLE_ONEDNN_OPTS=0 switches off; the others
    say "Current CPU implementations do not yet support dilation rates larger than 1".

    Source: https://github.com/tensorflow/tensorflow/issues/28264
    """
    images = tf.zeros((1, 3, 3, 1))
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
