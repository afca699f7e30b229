"""The layer builders of `tpu`, whose resizes XLA compiles to a valid program."""

from __future__ import annotations

from msinet_core import interpolation_matrix, ops
from msinet_tensorflow.layers import Tensor, TensorFlowLayers, tf


class TpuLayers(TensorFlowLayers):
    """The shared builders, with resizes as two matrix products.

    XLA's kernel for the gradient of ``ResizeBilinear`` returns float32 where bfloat16 is declared,
    which makes the program of the step invalid on a TPU.
    """

    def resize_bilinear(
        self, op: ops.Resize | ops.ResizeLike, images: Tensor, size: ops.Size
    ) -> Tensor:
        """Resize to a size; return the dtype of the images.

        Args:
            op: Its coordinates attribute selects the sampling rule.
            images: ``(N, H, W, C)``.
            size: The new height and width in pixels.
        """
        _, height, width, _ = images.shape
        rows, columns = (
            tf.constant(interpolation_matrix(source, target, op.coordinates), images.dtype)
            for source, target in zip((height, width), size, strict=True)
        )
        enlarged = tf.einsum("oh,nhwc->nowc", rows, images)
        return tf.einsum("ow,nhwc->nhoc", columns, enlarged)
