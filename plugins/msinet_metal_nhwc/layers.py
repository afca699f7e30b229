"""The layer builders of `metal`: only ops that have Metal kernels, in gradients as well."""

from __future__ import annotations

from msinet_core import interpolation_matrix, ops
from msinet_tensorflow.layers import Tensor, TensorFlowLayers, tf

SHIFTS = {"asymmetric": 0.0, "half_pixel": 0.5}
"""How far inside a pixel its position is."""

HEIGHT, WIDTH = 1, 2


class MetalLayers(TensorFlowLayers):
    """The shared builders, trained without leaving the GPU.

    Args:
        dtype: The dtype of convolutions.
    """

    def add_bias(self, features: Tensor, bias: Tensor) -> Tensor:
        """Add one value to each channel, in float32, so that the gradient is summed up in it too.

        A gradient of our own, as the shared builders have, would leave zeros of the features' dtype
        in the graph: filled by an op that has no kernel for 16 bits.

        Args:
            features: ``(N, H, W, C)``.
            bias: ``(C,)``, in the dtype of the features.
        """
        total = tf.nn.bias_add(tf.cast(features, tf.float32), tf.cast(bias, tf.float32))
        return tf.cast(total, features.dtype)

    def resize_bilinear(
        self, op: ops.Resize | ops.ResizeLike, images: Tensor, size: ops.Size
    ) -> Tensor:
        """Resize to a size, in the dtype of the images where the factor is whole.

        tensorflow-metal has a kernel for ResizeBilinear in float32, and none for its gradient.
        Columns come before rows, as in TensorFlow's kernel, so that the numbers are the same.

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
    """Enlarge by a whole factor: the output is so many images, each read at one offset, in turns.

    Matrix products would need fewer ops, but those of Metal Performance Shaders were silently
    wrong where an axis is longer than 32768, as a row of features of a large image is.

    Source: https://github.com/pytorch/pytorch/issues/116769
    """
    phases = [_read(images, axis, (phase + shift) / scale - shift) for phase in range(scale)]
    shape = images.shape.as_list()
    shape[axis] *= scale
    # Joined along the next axis, the phases of a row or column lie side by side.
    return tf.reshape(tf.concat(phases, axis + 1), shape)


def _read(images: Tensor, axis: int, offset: float) -> Tensor:
    """Read between each pixel and its neighbor, `offset` pixels (-1 to 1) away."""
    if offset == 0:
        return images
    if offset < 0:
        before = _neighbors(images, axis, -1)
        return before + (images - before) * (1 + offset)
    return images + (_neighbors(images, axis, 1) - images) * offset


def _neighbors(images: Tensor, axis: int, step: int) -> Tensor:
    """Give the pixel before (-1) or after (1) each one; the edge is its own neighbor."""
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
    """Resize an axis to what is no multiple of it, which MSI-Net never does, in float32.

    ``tf.matmul`` might choose BatchMatMulV3, for which there is no kernel.
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
