"""Faults in kernel layouts, and in weights and moments that come back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from msinet_core.network.graph import Parameter
from msinet_core.network.state import OptimizerState, State
from msinet_core.reference.device import ReferenceModel
from tests.faults.fault import Faults, FaultyDevice

Kernel: TypeAlias = NDArray[np.float32]

FAULTS = Faults()


class _Permuted(FaultyDevice):
    """Returns kernels bit for bit, but computes with their axes in another order."""

    def __init__(self, change: Callable[[Kernel], Kernel]) -> None:
        super().__init__()
        self._change = change

    def to_native(self, parameter: Parameter, tensor: Kernel) -> Kernel:
        return self._change(tensor) if parameter.role == "kernel" else tensor

    def to_canonical(self, parameter: Parameter, tensor: Kernel) -> Kernel:
        return self.to_native(parameter, tensor)


@FAULTS.device(
    "Rows and columns of kernels swapped",
    "forward/convolution-3x3-same",
    "forward/convolution-3x3-valid",
    "gradient/convolution-3x3-same",
    "network/asymmetric",
)
def rows_and_columns_swapped() -> FaultyDevice:
    """Swap rows and columns of every kernel."""
    return _Permuted(lambda kernel: kernel.transpose(1, 0, 2, 3))


@FAULTS.device("Kernels flipped", "forward/convolution-3x3-*", "forward/convolution-dilation-2")
def kernels_flipped() -> FaultyDevice:
    """Convolve as mathematicians do, with a flipped kernel."""
    return _Permuted(lambda kernel: kernel[::-1, ::-1])


def channels_swapped(count: int | None = None) -> FaultyDevice:
    """Swap input and output channels of kernels that have equally many.

    Args:
        count: The number of channels of the kernels to swap; None for all.
    """

    def change(kernel: Kernel) -> Kernel:
        inputs, outputs = kernel.shape[2:]
        swap = inputs == outputs and count in (None, inputs)
        return kernel.transpose(0, 1, 3, 2) if swap else kernel

    return _Permuted(change)


FAULTS.device(
    "Square kernels transposed",
    "forward/convolution-square-kernel",
    "gradient/convolution-square-kernel",
)(channels_swapped)
FAULTS.device(
    "512x512 kernels transposed",
    "forward/convolution-512",
    "gradient/convolution-512",
    "network/full-size",
)(partial(channels_swapped, 512))


@FAULTS.device("Kernels come back transposed", "state/conversion")
class ComesBackTransposed(FaultyDevice):
    """Returns kernels with rows and columns swapped."""

    def to_canonical(self, parameter: Parameter, tensor: Kernel) -> Kernel:
        return tensor.transpose(1, 0, 2, 3) if parameter.role == "kernel" else tensor


@FAULTS.device(
    "Weights come back in half precision",
    "state/conversion",
    "state/weights-come-back",
    "state/moments-come-back",
)
class ComesBackRounded(FaultyDevice):
    """Returns weights rounded to half precision."""

    def to_canonical(self, parameter: Parameter, tensor: Kernel) -> Kernel:
        return np.float32(np.float16(np.clip(tensor, -6e4, 6e4)))  # type: ignore[return-value]


@FAULTS.device("Negative zeros lost", "state/conversion", "state/weights-come-back")
class NegativeZerosLost(FaultyDevice):
    """Adds zero to every weight."""

    def to_canonical(self, parameter: Parameter, tensor: Kernel) -> Kernel:
        return tensor + np.float32(0)


class _OtherState(ReferenceModel):
    """Returns other moments than it has."""

    def state(self) -> State:
        state = super().state()
        assert state.optimizer is not None
        return State(state.weights, self.change(state.optimizer))

    def change(self, moments: OptimizerState) -> OptimizerState:
        """Return the wrong moments."""
        raise NotImplementedError


@FAULTS.model("Moments swapped", "state/moments-come-back", "calls/training")
class MomentsSwapped(_OtherState):
    """Returns the second moments as the first ones."""

    def change(self, moments: OptimizerState) -> OptimizerState:
        return OptimizerState(moments.step, moments.v, moments.m)


@FAULTS.model("Moments come back in bfloat16", "state/moments-come-back")
class MomentsRounded(_OtherState):
    """Stores first moments in bfloat16."""

    def change(self, moments: OptimizerState) -> OptimizerState:
        m = {
            name: (np.asarray(value).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
            for name, value in moments.m.items()
        }
        return OptimizerState(moments.step, m, moments.v)


@FAULTS.model("Step counted in 8 bits", "state/moments-come-back")
class StepInEightBits(_OtherState):
    """Counts steps modulo 256."""

    def change(self, moments: OptimizerState) -> OptimizerState:
        return OptimizerState(moments.step % 256, moments.m, moments.v)


@FAULTS.model("Step counted in float32", "state/moments-come-back")
class StepInFloat32(_OtherState):
    """Counts steps in float32, which ends at 2**24."""

    def change(self, moments: OptimizerState) -> OptimizerState:
        return OptimizerState(int(np.float32(moments.step)), moments.m, moments.v)


@FAULTS.model("State has no moments", "state/moments-come-back", "gradient/network")
class NoMoments(ReferenceModel):
    """Returns weights only."""

    def state(self) -> State:
        return State(super().state().weights)
