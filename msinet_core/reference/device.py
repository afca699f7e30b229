"""The reference device: a graph computed op by op in NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray

from msinet_core.device import Device, DeviceSpec, Model, Program
from msinet_core.network.state import Batch, OptimizerState, State, Tensors
from msinet_core.reference.layers import ReferenceLayers
from msinet_core.reference.tape import Array, Tape, Variable


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


@dataclass
class _Moments:
    """Adam's moments, by parameter name."""

    step: int
    m: dict[str, Array]
    v: dict[str, Array]


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
        self._moments = _Moments(moments.step, self._arrays(moments.m), self._arrays(moments.v))

    def forward(self, images: NDArray[np.float32]) -> Array:
        return self._output(images, self._variables(None)).value

    def losses(self, batch: Batch) -> Array:
        return self._losses(batch, self._variables(None)).value

    @np.errstate(over="ignore", invalid="ignore")  # the trainer reports divergence
    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
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
        self._step(gradients, learning_rate)
        return total / count

    def state(self) -> State:
        moments = self._moments
        optimizer = OptimizerState(moments.step, self._tensors(moments.m), self._tensors(moments.v))
        return State(self._tensors(self._weights), optimizer)

    def _step(self, gradients: Mapping[str, Array], learning_rate: float) -> None:
        """Replace weights and moments; `msinet_core.network.adam.Adam` has the formulas."""
        assert self._optimizer is not None
        adam, moments, weights = self._optimizer, self._moments, self._weights
        moments.step += 1
        rate = adam.rate(learning_rate, moments.step)
        for name, gradient in gradients.items():
            if factor := adam.factor(name):
                m = adam.beta_1 * moments.m[name] + (1 - adam.beta_1) * gradient
                v = adam.beta_2 * moments.v[name] + (1 - adam.beta_2) * gradient**2
                weights[name] = weights[name] - rate * factor * m / (np.sqrt(v) + adam.epsilon)
                moments.m[name], moments.v[name] = m, v

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
