"""A tape of the operations done, replayed backwards to get gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
"""Float32 in the device, float64 where gradients are checked by finite differences."""

Backward = Callable[[Array], Iterable[Array | None]]
"""Takes the gradient of an output and gives that of each input; None where there is none."""


class Variable:
    """A value that the layer builders pass on, and the gradient of the loss with respect to it.

    Args:
        value: Any shape; float32 or float64.
        tape: Where operations on it are recorded; None to record nothing.
    """

    __slots__ = ("gradient", "tape", "value")

    def __init__(self, value: Array, tape: Tape | None = None) -> None:
        self.value = value
        self.tape = tape
        self.gradient: Array | None = None


class Tape:
    """The operations of one forward pass, in order."""

    def __init__(self) -> None:
        self._records: list[tuple[Variable, Sequence[Variable], Backward]] = []

    def record(self, output: Variable, inputs: Sequence[Variable], backward: Backward) -> None:
        """Remember one operation.

        Args:
            output: What it made.
            inputs: What it read.
            backward: Gives the inputs' gradients from the output's.
        """
        self._records.append((output, inputs, backward))

    def backward(self, output: Variable, gradient: Array) -> None:
        """Add to every variable that `output` was made from its gradient; the tape is then empty.

        Args:
            output: Made while this tape recorded.
            gradient: Of the loss with respect to `output`; same shape as its value.
        """
        output.gradient = gradient
        while self._records:
            made, inputs, backward = self._records.pop()
            if made.gradient is None:
                continue
            for variable, part in zip(inputs, backward(made.gradient), strict=True):
                if variable.tape is None or part is None:
                    continue
                known = variable.gradient
                variable.gradient = part if known is None else known + part
            made.gradient = None  # nobody reads it again, and maps are large


def record(value: Array, inputs: Sequence[Variable], backward: Backward) -> Variable:
    """Wrap the result of an operation, on its inputs' tape if one of them has a tape.

    Args:
        value: The result.
        inputs: What it was made from.
        backward: Gives the inputs' gradients from the result's; what it holds on to lives as long
            as the tape, and is freed at once when there is none.
    """
    tape = next((variable.tape for variable in inputs if variable.tape is not None), None)
    output = Variable(value, tape)
    if tape is not None:
        tape.record(output, inputs, backward)
    return output


def exact_sum(values: Array, axis: int | tuple[int, ...], keepdims: bool = False) -> Array:
    """Sum in float64 and round once, since NumPy adds up long axes of float32 one by one.

    Args:
        values: Any shape.
        axis: The axes to sum over.
        keepdims: Whether they stay, with size 1.
    """
    total = np.sum(values, axis=axis, keepdims=keepdims, dtype=np.float64)
    return np.asarray(total, dtype=values.dtype)
