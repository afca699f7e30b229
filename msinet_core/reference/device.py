"""The reference device: a graph computed op by op in NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import DTypeLike, NDArray

from msinet_core.device import Device, DeviceSpec, Model, Program
from msinet_core.network.graph import Graph
from msinet_core.network.state import Batch, OptimizerState, State
from msinet_core.reference.adam import Moments, adam_step
from msinet_core.reference.layers import LAYER_BUILDERS, ReferenceLayers
from msinet_core.reference.tape import Array, Tape, Variable

if TYPE_CHECKING:
    from msinet_core.network.state import Tensors


class ReferenceDevice(Device):
    """NumPy on the processor.

    Args:
        spec: Its description.
        precision: ``"float32"``.
        options: None; it has no options.
        dtype: The dtype that it computes in; in float64 its rounding does not count.
    """

    layers = ReferenceLayers()

    def __init__(
        self,
        spec: DeviceSpec,
        precision: str = "float32",
        options: Mapping[str, str] | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        super().__init__(spec, precision, options)
        self.dtype = np.dtype(dtype)

    def build(self, program: Program) -> ReferenceModel:
        return ReferenceModel(self, program)

    def versions(self) -> Mapping[str, str]:
        return {"numpy": np.__version__}


class ReferenceModel(Model):
    """A graph with its weights and Adam's moments.

    Args:
        device: The device.
        program: The network and its state, which is copied.
    """

    def __init__(self, device: ReferenceDevice, program: Program) -> None:
        super().__init__(device, program)
        self._dtype = device.dtype
        self._builders = device.layer_builders
        moments = program.optimizer_state
        self._weights = self._arrays(program.state.weights)
        self._moments = Moments(moments.step, self._arrays(moments.m), self._arrays(moments.v))

    def forward(self, images: NDArray[np.float32]) -> Array:
        return self._output(images, self._variables(None)).value

    def losses(self, batch: Batch) -> Array:
        return self._losses(batch, self._variables(None)).value

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        with np.errstate(over="ignore", invalid="ignore"):  # the trainer reports divergence
            return self._update(batches, learning_rate)

    def _update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        assert self._optimizer is not None
        count = sum(len(batch.images) for batch in batches)
        tape = Tape()
        variables = self._variables(tape)
        total = 0.0
        for batch in batches:
            losses = self._losses(batch, variables)
            total += float(losses.value.sum())
            tape.backward(losses, np.full_like(losses.value, 1 / count))
        gradients = {
            name: np.zeros_like(variable.value) if variable.gradient is None else variable.gradient
            for name, variable in variables.items()
        }
        adam_step(self._optimizer, learning_rate, self._weights, self._moments, gradients)
        return total / count

    def state(self) -> State:
        moments = self._moments
        optimizer = OptimizerState(moments.step, self._tensors(moments.m), self._tensors(moments.v))
        return State(self._tensors(self._weights), optimizer)

    def _variables(self, tape: Tape | None) -> dict[str, Variable]:
        return {name: Variable(value, tape) for name, value in self._weights.items()}

    def _output(self, images: Array, variables: Mapping[str, Variable]) -> Variable:
        values = Variable(np.asarray(images, self._dtype))
        return self._graph.apply(self._builders, values, variables)

    def _losses(self, batch: Batch, variables: Mapping[str, Variable]) -> Variable:
        predicted = self._output(batch.images, variables)
        true = Variable(np.asarray(batch.maps, self._dtype))
        assert self._loss is not None
        losses: Variable = self._loss.apply(self._builders, true, predicted)
        return losses

    def _arrays(self, tensors: Tensors) -> dict[str, Array]:
        return {name: value.astype(self._dtype) for name, value in self.native(tensors).items()}

    def _tensors(self, arrays: Mapping[str, Array]) -> Tensors:
        return {
            name: np.asarray(value, np.float32) for name, value in self.canonical(arrays).items()
        }


def forward(graph: Graph, weights: Mapping[str, Array], images: Array) -> Array:
    """Compute a network's output in the dtype of its inputs.

    Args:
        graph: The network.
        weights: Canonical, by parameter name.
        images: ``(N, H, W, C)``, float32 or float64 like the weights.
    """
    variables = {name: Variable(np.asarray(value)) for name, value in weights.items()}
    return graph.apply(LAYER_BUILDERS, Variable(np.asarray(images)), variables).value
