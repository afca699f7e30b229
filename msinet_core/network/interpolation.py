"""Bilinear interpolation as a matrix, for devices without the resize that the network needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from msinet_core.errors import GraphError
from msinet_core.network.ops import Coordinates, Op

_Value = TypeVar("_Value")


def supported(op: Op, name: str, values: Mapping[Any, _Value], who: str) -> _Value:
    """Translate an op's attribute for a framework, or raise an error if it is not supported.

    Args:
        op: The op.
        name: The attribute's name.
        values: The framework's value for each supported value.
        who: The device or framework, for the message.

    Raises:
        GraphError: The value is not supported.
    """
    value = getattr(op, name)
    if value not in values:
        known = " or ".join(map(str, values))
        raise GraphError(
            f"{who} does not support {type(op).__name__} with {name}='{value}', only {known}"
        )
    return values[value]


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
        raise GraphError(f"unknown coordinates '{coordinates}'; use {' or '.join(positions)}")
    position = positions[coordinates].clip(0, source - 1)
    before = np.floor(position).astype(int)
    after = np.minimum(before + 1, source - 1)
    matrix = np.zeros((target, source))
    np.add.at(matrix, (pixel, before), 1 - (position - before))
    np.add.at(matrix, (pixel, after), position - before)
    return matrix
