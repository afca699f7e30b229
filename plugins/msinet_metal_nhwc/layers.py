"""The layer builders of `metal`, limited to ops with Metal kernels, in gradients as well."""

from __future__ import annotations

from msinet_core import interpolation_matrix, ops
from msinet_tensorflow.layers import Tensor, TensorFlowLayers, tf

SHIFTS = {"asymmetric": 0.0, "half_pixel": 0.5}
"""The offset of a pixel's position from its edge, in pixels."""

HEIGHT, WIDTH = 1, 2


class MetalLayers(TensorFlowLayers):
    """The shared builders, with replacements for ops that have no Metal kernel.

    Args:
        dtype: The dtype of convolutions.
    """

    def add_bias(self, features: Tensor, bias: Tensor) -> Tensor:
        """Add one value to each channel in float32, so that the gradient is summed in float32.

        The custom gradient of the shared builders would fill zeros in the features' dtype, with an
        op that has no Metal kernel for 16 bits. ``tf.nn.bias_add`` would let tensorflow-metal
        replace the convolution and the bias by one op of its own; see `fusion`.

        Args:
            features: ``(N, H, W, C)``.
            bias: ``(C,)``, in the dtype of the features.
        """
        total = tf.cast(features, tf.float32) + tf.cast(bias, tf.float32)
        return tf.cast(total, features.dtype)

    def resize_bilinear(
        self, op: ops.Resize | ops.ResizeLike, images: Tensor, size: ops.Size
    ) -> Tensor:
        """Resize to a size, in the dtype of the images if the factor is an integer.

        tensorflow-metal has a kernel for ResizeBilinear in float32 but none for its gradient.
        Columns are resized before rows, as in TensorFlow's kernel, for the same rounding.

        Args:
            op: Its coordinates attribute selects the sampling rule.
            images: ``(N, H, W, C)``.
            size: The new height and width in pixels.
        """
        height, width = size
        return _resize_axis(op, _resize_axis(op, images, WIDTH, width), HEIGHT, height)


def _resize_axis(op: ops.Resize | ops.ResizeLike, images: Tensor, axis: int, target: int) -> Tensor:
    source = images.shape[axis]
    if source == target:
        return images
    if source == 1:
        return _repeat(images, axis, target)
    if target % source == 0:
        return _enlarge(images, axis, target // source, SHIFTS[op.coordinates])
    return _multiply(images, axis, interpolation_matrix(source, target, op.coordinates))


def _repeat(images: Tensor, axis: int, target: int) -> Tensor:
    """Repeat a single pixel, in float32 because its gradient is a long sum."""
    shape = images.shape.as_list()
    shape[axis] = target
    return tf.broadcast_to(tf.cast(images, tf.float32), shape)


def _enlarge(images: Tensor, axis: int, scale: int, shift: float) -> Tensor:
    """Enlarge by an integer factor: interleave that many images, each read at one offset.

    Matrix products would need fewer ops, but those of Metal Performance Shaders were silently
    wrong for axes longer than 32768, such as a row of features of a large image.

    Source: https://github.com/pytorch/pytorch/issues/116769
    """
    phases = [_read(images, axis, (phase + shift) / scale - shift) for phase in range(scale)]
    shape = images.shape.as_list()
    shape[axis] *= scale
    # Concatenated along the next axis, the phases of a row or column are adjacent.
    return tf.reshape(tf.concat(phases, axis + 1), shape)


def _read(images: Tensor, axis: int, offset: float) -> Tensor:
    """Interpolate `offset` pixels (-1 to 1) away from each pixel."""
    if offset == 0:
        return images
    if offset < 0:
        before = _neighbors(images, axis, -1)
        return before + (images - before) * (1 + offset)
    return images + (_neighbors(images, axis, 1) - images) * offset


def _neighbors(images: Tensor, axis: int, step: int) -> Tensor:
    """Return the pixel before (-1) or after (1) each one; the edge is its own neighbor."""
    last = images.shape[axis] - 1
    if step < 0:
        parts = [_cut(images, axis, 0, 1), _cut(images, axis, 0, last)]
    else:
        parts = [_cut(images, axis, 1, last), _cut(images, axis, last, 1)]
    return tf.concat(parts, axis)


def _cut(images: Tensor, axis: int, start: int, length: int) -> Tensor:
    begin, size = [0] * 4, images.shape.as_list()
    begin[axis], size[axis] = start, length
    return tf.slice(images, begin, size)


def _multiply(images: Tensor, axis: int, matrix: Tensor) -> Tensor:
    """Resize an axis by a fractional factor, which MSI-Net never does, in float32.

    ``tf.matmul`` might use BatchMatMulV3, which has no Metal kernel.
    """
    batch, height, width, channels = images.shape
    if axis == HEIGHT:
        images = tf.reshape(images, (batch, height, width * channels))
    resized = tf.raw_ops.BatchMatMulV2(
        x=tf.constant(matrix, tf.float32), y=tf.cast(images, tf.float32)
    )
    if axis == HEIGHT:
        resized = tf.reshape(resized, (batch, len(matrix), width, channels))
    return resized
