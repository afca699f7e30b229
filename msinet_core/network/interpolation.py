"""Bilinear interpolation as a matrix, for devices without the resize that the network needs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from msinet_core.errors import GraphError
from msinet_core.network.ops import Coordinates


def interpolation_matrix(source: int, target: int, coordinates: Coordinates) -> NDArray[np.float64]:
    """Return the matrix that resizes one axis bilinearly.

    Args:
        source: The length of the axis before, in pixels.
        target: The length of the axis after, in pixels.
        coordinates: ``"asymmetric"`` or ``"half_pixel"``.

    Returns:
        ``(target, source)`` float64; each row sums to 1.

    Raises:
        GraphError: `coordinates` is neither.
    """
    pixel = np.arange(target)
    positions = {
        "asymmetric": pixel * source / target,
        "half_pixel": (pixel + 0.5) * source / target - 0.5,
    }
    if coordinates not in positions:
        raise GraphError(f"Unknown coordinates '{coordinates}'; use {' or '.join(positions)}")
    position = positions[coordinates].clip(0, source - 1)
    before = np.floor(position).astype(int)
    after = np.minimum(before + 1, source - 1)
    matrix = np.zeros((target, source))
    np.add.at(matrix, (pixel, before), 1 - (position - before))
    np.add.at(matrix, (pixel, after), position - before)
    return matrix
