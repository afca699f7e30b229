"""Faults in kernel layouts, and in weights that come back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from msinet_core.conformance.faults.fault import FaultyDevice
from msinet_core.network.graph import Parameter

Kernel: TypeAlias = NDArray[np.float32]


class _Relayouted(FaultyDevice):
    """Returns kernels bit for bit, but computes with their axes in another order."""

    def __init__(self, change: Callable[[Kernel], Kernel]) -> None:
        super().__init__()
        self._change = change

    def to_native(self, parameter: Parameter, tensor: Kernel) -> Kernel:
        return self._change(tensor) if parameter.role == "kernel" else tensor

    def to_canonical(self, parameter: Parameter, tensor: Kernel) -> Kernel:
        return self.to_native(parameter, tensor)


def rows_and_columns_swapped() -> FaultyDevice:
    """Swap rows and columns of every kernel."""
    return _Relayouted(lambda kernel: kernel.transpose(1, 0, 2, 3))


def channels_swapped(count: int | None = None) -> FaultyDevice:
    """Swap input and output channels of kernels that have equally many.

    Args:
        count: The number of channels of the kernels to swap; None for all.
    """

    def change(kernel: Kernel) -> Kernel:
        inputs, outputs = kernel.shape[2:]
        swap = inputs == outputs and count in (None, inputs)
        return kernel.transpose(0, 1, 3, 2) if swap else kernel

    return _Relayouted(change)


class _ComesBackTransposed(FaultyDevice):
    def to_canonical(self, parameter: Parameter, tensor: Kernel) -> Kernel:
        return tensor.transpose(1, 0, 2, 3) if parameter.role == "kernel" else tensor


class _ComesBackRounded(FaultyDevice):
    def to_canonical(self, parameter: Parameter, tensor: Kernel) -> Kernel:
        return np.float32(np.float16(np.clip(tensor, -6e4, 6e4)))  # type: ignore[return-value]


def comes_back_transposed() -> FaultyDevice:
    """Return kernels with rows and columns swapped."""
    return _ComesBackTransposed()


def comes_back_rounded() -> FaultyDevice:
    """Return weights rounded to half precision."""
    return _ComesBackRounded()
