"""What TPUs compute otherwise than TensorFlow's own ops: nothing that XLA cannot compile."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from msinet_core import ops
from msinet_tensorflow.layers import HALF_PIXEL_CENTERS, Layers, Tensor, attribute, tf


class TpuLayers(Layers):
    """The shared builders, with resizes as two matrix products, forward and backward.

    XLA's own kernel for the gradient of ``ResizeBilinear`` gives float32 where bfloat16 is
    declared, so that the step is no valid program for a TPU.
    """

    def resize_bilinear(
        self, op: ops.Resize | ops.ResizeLike, images: Tensor, size: ops.Size
    ) -> Tensor:
        """Resize to a size; gives the dtype of the images.

        Args:
            op: Says how coordinates are read.
            images: ``(N, H, W, C)``.
            size: The new height and width in pixels.
        """
        half_pixel = attribute(op, "coordinates", HALF_PIXEL_CENTERS)
        _, height, width, _ = images.shape
        rows, columns = (
            tf.constant(interpolation(source, target, half_pixel), images.dtype)
            for source, target in zip((height, width), size, strict=True)
        )
        enlarged = tf.einsum("oh,nhwc->nowc", rows, images)
        return tf.einsum("ow,nhwc->nhoc", columns, enlarged)


def interpolation(source: int, target: int, half_pixel: bool) -> NDArray[np.float32]:
    """Give the matrix that interpolates one axis linearly.

    Args:
        source: The present number of pixels.
        target: The wanted number of pixels.
        half_pixel: Whether pixel i lies at ``i + 0.5``, or at ``i``.

    Returns:
        ``(target, source)`` float32; each row sums to 1.
    """
    offset = 0.5 if half_pixel else 0.0
    places = (np.arange(target) + offset) * (source / target) - offset
    places = np.clip(places, 0, source - 1)
    before = np.floor(places).astype(int)
    after = np.minimum(before + 1, source - 1)
    matrix = np.zeros((target, source), np.float32)
    pixels = np.arange(target)
    np.add.at(matrix, (pixels, before), 1 - (places - before))
    np.add.at(matrix, (pixels, after), places - before)
    return matrix
