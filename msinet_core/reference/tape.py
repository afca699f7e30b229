"""A tape of operations that is replayed backwards to compute gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
"""Float32 in the device, float64 where gradients are checked by finite differences."""

Backward = Callable[[Array], Iterable[Array | None]]
"""Takes the gradient of an output and returns that of each input, or None for no gradient."""


class Variable:
    """A value that layer builders pass on, and the gradient of the loss with respect to it.

    Args:
        value: Any shape; float32 or float64.
        tape: Records operations on the value; None to record nothing.
    """

    __slots__ = ("gradient", "tape", "value")

    def __init__(self, value: Array, tape: Tape | None = None) -> None:
        self.value = value
        self.tape = tape
        self.gradient: Array | None = None

    def __mul__(self, factor: float) -> Variable:
        """Multiply by a constant."""
        scale = self.value.dtype.type(factor)
        return record(self.value * scale, [self], lambda gradient: [gradient * scale])

    def __add__(self, other: Variable) -> Variable:
        """Add a variable of the same shape."""
        return record(
            self.value + other.value, [self, other], lambda gradient: [gradient, gradient]
        )


class Tape:
    """The operations of one forward pass, in order."""

    def __init__(self) -> None:
        self.records: list[tuple[Variable, Sequence[Variable], Backward]] = []

    def backward(self, output: Variable, gradient: Array) -> None:
        """Compute the gradient of every variable that `output` depends on, and empty the tape.

        Args:
            output: Recorded on this tape.
            gradient: Of the loss with respect to `output`; same shape as its value.
        """
        output.gradient = gradient
        while self.records:
            result, inputs, backward = self.records.pop()
            if result.gradient is None:
                continue
            for variable, part in zip(inputs, backward(result.gradient), strict=True):
                if variable.tape is None or part is None:
                    continue
                so_far = variable.gradient
                variable.gradient = part if so_far is None else so_far + part
            result.gradient = None  # not read again, and maps are large


def record(value: Array, inputs: Sequence[Variable], backward: Backward) -> Variable:
    """Wrap the result of an operation, and record it if one of its inputs has a tape.

    Args:
        value: The result.
        inputs: Its inputs.
        backward: Computes the inputs' gradients from the result's; the arrays that it holds live
            as long as the tape, and are freed at once without one.
    """
    tape = next((variable.tape for variable in inputs if variable.tape is not None), None)
    output = Variable(value, tape)
    if tape is not None:
        tape.records.append((output, inputs, backward))
    return output


def exact_sum(values: Array, axis: int | tuple[int, ...], keepdims: bool = False) -> Array:
    """Sum in float64 and round once, since NumPy sums some long axes of float32 one by one.

    Args:
        values: Any shape.
        axis: The axes to sum over.
        keepdims: Whether to keep them with size 1.
    """
    total = np.sum(values, axis=axis, keepdims=keepdims, dtype=np.float64)
    return np.asarray(total, dtype=values.dtype)
