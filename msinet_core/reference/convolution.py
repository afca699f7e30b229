"""Convolution as a sum over the kernel's taps, forward and backward.

Every tap is one matrix product of a shifted view of the image with a slice of the kernel. In NumPy
this is as fast as gathering all windows first, needs a ninth of the memory, and needs no special
cases for strides, dilation or padding.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from msinet_core.network.ops import Conv2D, MaxPool2D, same_padding
from msinet_core.reference.tape import Array

Taps = Iterator[tuple[int, int, tuple[slice, slice, slice]]]
"""Kernel row, kernel column, and the view of the padded image that they multiply."""


def convolve(op: Conv2D, images: Array, kernel: Array) -> Array:
    """Convolve without bias and activation.

    Args:
        op: The convolution.
        images: ``(N, H, W, C)``.
        kernel: ``(K, K, C, filters)``.
    """
    padded = pad(images, window_padding(op, images.shape, op.extent), 0.0)
    size = op.output_size([_size(images)])
    output = np.zeros((len(images), *size, op.filters), images.dtype)
    for row, column, view in taps(op.kernel_size, op.dilation, op.strides, size):
        output += padded[view] @ kernel[row, column]
    return output


def convolve_backward(
    op: Conv2D, images: Array, kernel: Array, gradient: Array
) -> tuple[Array, Array]:
    """Return the gradients with respect to images and kernel.

    Args:
        op: The convolution.
        images: ``(N, H, W, C)``, as in the forward pass.
        kernel: ``(K, K, C, filters)``, as in the forward pass.
        gradient: With respect to the output, ``(N, H', W', filters)``.
    """
    padding = window_padding(op, images.shape, op.extent)
    padded = pad(images, padding, 0.0)
    padded_gradient = np.zeros_like(padded)
    kernel_gradient = np.zeros_like(kernel)
    rows = np.ascontiguousarray(gradient).reshape(-1, op.filters)
    for row, column, view in taps(op.kernel_size, op.dilation, op.strides, _size(gradient)):
        seen = np.ascontiguousarray(padded[view]).reshape(-1, images.shape[-1])
        kernel_gradient[row, column] = seen.T @ rows
        padded_gradient[view] += gradient @ kernel[row, column].T
    return unpad(padded_gradient, padding), kernel_gradient


def taps(extent: int, dilation: int, strides: int, size: tuple[int, int]) -> Taps:
    """Iterate over the taps of a window in row-major order.

    Args:
        extent: The number of taps in a row and in a column.
        dilation: The distance between taps in pixels.
        strides: The step between windows in pixels.
        size: Height and width of the output.
    """
    for row in range(extent):
        for column in range(extent):
            first = (row * dilation, column * dilation)
            rows, columns = (
                slice(start, start + (count - 1) * strides + 1, strides)
                for start, count in zip(first, size, strict=True)
            )
            yield row, column, (slice(None), rows, columns)


def window_padding(
    op: Conv2D | MaxPool2D, shape: tuple[int, ...], extent: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the padding (top, bottom), (left, right) of an op.

    Args:
        op: A convolution or pool.
        shape: The input's ``(N, H, W, C)``.
        extent: The pixels that the window spans.
    """
    if op.padding == "VALID":
        return (0, 0), (0, 0)
    _, height, width, _ = shape
    return same_padding(height, extent, op.strides), same_padding(width, extent, op.strides)


def pad(images: Array, padding: tuple[tuple[int, int], tuple[int, int]], value: float) -> Array:
    """Pad images with one value.

    Args:
        images: ``(N, H, W, C)``.
        padding: (top, bottom), (left, right).
        value: The value of the padding.
    """
    return np.pad(images, ((0, 0), *padding, (0, 0)), constant_values=value)


def unpad(images: Array, padding: tuple[tuple[int, int], tuple[int, int]]) -> Array:
    """Remove padding.

    Args:
        images: ``(N, H + top + bottom, W + left + right, C)``.
        padding: (top, bottom), (left, right).
    """
    (top, bottom), (left, right) = padding
    _, height, width, _ = images.shape
    return images[:, top : height - bottom, left : width - right]


def _size(images: Array) -> tuple[int, int]:
    return images.shape[1], images.shape[2]
