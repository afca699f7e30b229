"""What the layer builders of every device need: refusals, and the numbers of a resize."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from msinet_core.errors import GraphError
from msinet_core.network.ops import Coordinates, Op

__all__ = [
    "interpolation_matrix",
    "supported",
]

_Value = TypeVar("_Value")


def supported(op: Op, name: str, values: Mapping[Any, _Value], who: str) -> _Value:
    """Translate an op's attribute, or refuse a value that is not computed; never ignore one.

    Args:
        op: The op.
        name: The attribute's name.
        values: What each value means to the framework.
        who: The device or framework that computes.

    Raises:
        GraphError: The value is not among them.
    """
    value = getattr(op, name)
    if value not in values:
        known = " or ".join(map(str, values))
        raise GraphError(
            f"{who} does not compute {type(op).__name__} with {name} '{value}', only with {known}."
        )
    return values[value]


def interpolation_matrix(source: int, target: int, coordinates: Coordinates) -> NDArray[np.float64]:
    """Give the matrix that resizes one axis bilinearly.

    Args:
        source: The axis before, in pixels.
        target: The axis after, in pixels.
        coordinates: ``"asymmetric"`` or ``"half_pixel"``.

    Returns:
        ``(target, source)`` float64; each row sums to 1.

    Raises:
        GraphError: Coordinates are neither.
    """
    pixel = np.arange(target)
    positions = {
        "asymmetric": pixel * source / target,
        "half_pixel": (pixel + 0.5) * source / target - 0.5,
    }
    if coordinates not in positions:
        raise GraphError(
            f"Coordinates '{coordinates}' are not known. Use {' or '.join(positions)}."
        )
    position = positions[coordinates].clip(0, source - 1)
    before = np.floor(position).astype(int)
    after = np.minimum(before + 1, source - 1)
    matrix = np.zeros((target, source))
    np.add.at(matrix, (pixel, before), 1 - (position - before))
    np.add.at(matrix, (pixel, after), position - before)
    return matrix
