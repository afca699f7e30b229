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
    """Return two maps of the same size as float64.

    Args:
        first: ``(H, W)``.
        second: ``(H, W)``.

    Raises:
        DataError: Their sizes differ, or a value is not finite.
    """
    one, other = check_map(first), check_map(second)
    if one.shape != other.shape:
        raise DataError(
            f"Two maps of an image must have the same size. Received: {one.shape} and {other.shape}"
        )
    return one, other


def fixated_pixels(values: Floats, points: Points) -> NDArray[np.intp]:
    """Return the flat index of each fixated pixel, each once.

    Args:
        values: ``(H, W)``, a map.
        points: ``(K, 2)`` rows and columns.

    Raises:
        DataError: A point is not a pixel of the map.
    """
    points = np.asarray(points)
    if points.size == 0:
        return np.empty(0, dtype=np.intp)
    if points.ndim != 2 or points.shape[1] != 2 or not np.issubdtype(points.dtype, np.integer):
        raise DataError(
            f"Fixations are integers of the shape (K, 2). "
            f"Received: {points.dtype} of the shape {points.shape}"
        )
    if (points < 0).any() or (points >= values.shape).any():
        raise DataError(
            f"A fixation is outside its image of {values.shape[0]}x{values.shape[1]} pixels; "
            f"fixations are rows and columns, counted from 0."
        )
    return np.unique(np.ravel_multi_index((points[:, 0], points[:, 1]), values.shape))


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
        values: ``(H, W)``.

    Raises:
        DataError: A value is negative.
    """
    if (values < 0).any():
        raise DataError("A map with negative values is not a distribution; scale it to 0..1 first.")
    total = values.sum()
    if total == 0:
        return np.full_like(values, 1 / values.size)
    distribution: Floats = values / total
    return distribution
