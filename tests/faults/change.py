"""Changes of values that several faults make, with their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from msinet_core.reference.tape import Array, Variable, record
from tests.faults.fault import Build, FaultyDevice, Inputs, Roles, on

VANISHING = 1e-300
"""An epsilon above zero that vanishes in float32."""


def flipped(variable: Variable) -> Variable:
    """Turn images or kernels upside down and left to right.

    Args:
        variable: ``(N, H, W, C)`` or, for a kernel, ``(H, W, I, O)``.
    """
    return record(variable.value[:, ::-1, ::-1], [variable], lambda g: [g[:, ::-1, ::-1]])


def times(variable: Variable, factor: float) -> Variable:
    """Multiply by a number.

    Args:
        variable: Any shape.
        factor: The number.
    """
    value = (variable.value * factor).astype(variable.value.dtype)
    return record(value, [variable], lambda gradient: [gradient * factor])


def truncated(value: Array) -> Array:
    """Truncate to bfloat16.

    Args:
        value: Any shape.
    """
    bits = np.ascontiguousarray(value, np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
    return bits.view(np.float32)


def scaled_gradient(kind: type) -> FaultyDevice:
    """Make a device that scales the gradient of an op's input by 1.01.

    Args:
        kind: The class of the op.
    """

    def change(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
        wrong = record(inputs[0].value, [inputs[0]], lambda gradient: [gradient * 1.01])
        return build(op, [wrong, *inputs[1:]], roles)

    return on(kind, change)


def spoiled(values: Array) -> Array:
    """Return maps that are 3% too small.

    Args:
        values: ``(N, H, W, 1)``.
    """
    return values * np.float32(0.97)
