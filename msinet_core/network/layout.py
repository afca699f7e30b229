"""Axis orders of images and kernels, and conversion between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from numpy.typing import NDArray

DataFormat = Literal["NHWC", "NCHW"]
"""The order of an image batch's axes: batch, height, width, channels."""

CANONICAL_DATA_FORMAT: DataFormat = "NHWC"
"""The order of every image and map on the host."""

CANONICAL_KERNEL_LAYOUT = "HWIO"
"""The order of every convolution kernel on the host: height, width, input, output channels."""


def is_axis_order(order: str, axes: str) -> bool:
    """Return whether `order` contains each letter of `axes` once.

    Args:
        order: For example ``"OIHW"``.
        axes: The letters, for example ``"HWIO"``.
    """
    return sorted(order) == sorted(axes)


def permutation(source: str, target: str) -> tuple[int, ...]:
    """Return the `axes` argument of `numpy.transpose` that converts `source` to `target` order.

    Args:
        source: The current order, one letter per axis, for example ``"HWIO"``.
        target: The new order of the same letters, for example ``"OIHW"``.

    Raises:
        ValueError: The orders do not have the same axes.
    """
    if not is_axis_order(target, source) or len(set(source)) != len(source):
        raise ValueError(f"'{source}' and '{target}' do not have the same axes, once each")
    return tuple(source.index(axis) for axis in target)


def transpose(array: NDArray[Any], source: str, target: str) -> NDArray[Any]:
    """Return `array` with its axes in `target` order, contiguous in memory.

    Args:
        array: Any dtype; one axis for each letter of `source`.
        source: The current order of its axes.
        target: The new order.

    Raises:
        ValueError: The orders do not have the same axes, or not as many as the array.
    """
    import numpy as np

    return np.ascontiguousarray(array.transpose(permutation(source, target)))
