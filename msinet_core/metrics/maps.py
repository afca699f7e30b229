"""Check maps and fixations, and scale maps as the metrics need them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from msinet_core.errors import DataError

Map = NDArray[np.floating[Any]]
Points = NDArray[np.integer[Any]]
Floats = NDArray[np.float64]

EPSILON = float(np.finfo(np.float64).eps)
"""Keeps logarithms finite; MATLAB's eps, as in the benchmark's code."""


def check_map(values: Map) -> Floats:
    """Return a map as float64.

    Args:
        values: ``(H, W)``.

    Raises:
        DataError: It has another shape, or a value that is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.size == 0:
        raise DataError(f"A saliency map has the shape (H, W). Received: {array.shape}")
    if not np.isfinite(array).all():
        raise DataError("A saliency map has a value that is not finite.")
    return array


def check_pair(first: Map, second: Map) -> tuple[Floats, Floats]:
    """Return two maps of an image as float64.

    Args:
        first: ``(H, W)``.
        second: ``(H, W)``.

    Raises:
        DataError: One has another shape, or a value that is not finite.
    """
    return check_map(first), check_map(second)


def fixated_pixels(values: Floats, points: Points) -> NDArray[np.intp]:
    """Return the flat index of each fixated pixel, each once.

    Args:
        values: ``(H, W)``, a map.
        points: ``(K, 2)`` rows and columns, inside the map.
    """
    return np.unique(np.ravel_multi_index(tuple(np.asarray(points).T), values.shape))


def standardize(values: Floats) -> Floats:
    """Scale to the mean 0 and the standard deviation 1; a constant map becomes 0.

    Args:
        values: ``(H, W)``.
    """
    if np.ptp(values) == 0:  # by its range: the deviation of equal values is rarely exactly 0
        return np.zeros_like(values)
    stretched = stretch(values)  # first, so that a tiny scale loses no digits
    standardized: Floats = (stretched - stretched.mean()) / stretched.std()
    return standardized


def stretch(values: Floats) -> Floats:
    """Scale to 0..1; a constant map becomes the uniform one.

    Args:
        values: ``(H, W)``.
    """
    lowest, extent = values.min(), np.ptp(values)
    if extent == 0:
        return np.ones_like(values)
    stretched: Floats = (values - lowest) / extent
    return stretched


def to_distribution(values: Floats) -> Floats:
    """Scale to the sum 1; a map of zeros becomes the uniform distribution.

    Args:
        values: ``(H, W)``, not negative.
    """
    total = values.sum()
    if total == 0:
        return np.full_like(values, 1 / values.size)
    distribution: Floats = values / total
    return distribution
