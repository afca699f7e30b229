"""Faults in the loss scale of a device that computes in float16."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from msinet_core.device import Capabilities, Program
from msinet_core.network import ops
from msinet_core.network.graph import LayerBuilder
from msinet_core.network.loss import Loss
from msinet_core.network.loss_scale import LossScale
from msinet_core.network.state import Batch
from msinet_core.reference import SPEC
from msinet_core.reference.device import ReferenceDevice, ReferenceModel
from msinet_core.reference.layers import LAYER_BUILDERS
from msinet_core.reference.tape import Array, Tape, Variable, record
from tests.faults.fault import Build, Faults, Inputs, Roles

FAULTS = Faults()

HALF = replace(SPEC, name="half", capabilities=Capabilities(precisions=("float16",)))

_EXACT = (ops.MinMaxNormalize, ops.GlobalMean, ops.SubtractMean, Loss)
"""What is computed in float32, as are linear convolutions."""


def _rounded(variable: Variable) -> Variable:
    """Round a value and its gradient to float16."""

    def cut(value: Array) -> Array:
        with np.errstate(over="ignore", invalid="ignore"):
            return value.astype(np.float16).astype(np.float32)

    return record(cut(variable.value), [variable], lambda gradient: [cut(gradient)])


def _in_half(kind: type, build: Build) -> LayerBuilder[Variable]:
    def builder(op: Any, inputs: Inputs, roles: Roles) -> Variable:
        if issubclass(kind, _EXACT) or getattr(op, "activation", "") == "linear":
            return build(op, inputs, roles)
        halves = {role: _rounded(variable) for role, variable in roles.items()}
        return _rounded(build(op, [_rounded(one) for one in inputs], halves))

    return builder


class HalfModel(ReferenceModel):
    """Multiplies the loss by a scale that follows the rule of `LossScale`."""

    def __init__(self, device: ReferenceDevice, program: Program) -> None:
        super().__init__(device, program)
        if self._optimizer is not None:
            scale = LossScale.new(self._optimizer, self._moments.step)
            self._scale = LossScale(*map(np.float32, scale))

    @np.errstate(over="ignore", invalid="ignore")
    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        count = sum(len(batch.images) for batch in batches)
        tape, total = Tape(), 0.0
        variables, scale = self._variables(tape), self._scale.value
        for batch in batches:
            losses = self._losses(batch, variables)
            total += float(losses.value.sum())
            tape.backward(losses, np.full_like(losses.value, scale / count))
        gradients = {
            name: np.zeros_like(variable.value) if variable.gradient is None else variable.gradient
            for name, variable in variables.items()
        }
        self._scale, counts = self.following(self.finite(gradients))
        if counts:
            unscaled = {name: gradient / scale for name, gradient in gradients.items()}
            self._step(unscaled, learning_rate)
        else:
            self.leave_out()
        return total / count

    def finite(self, gradients: Mapping[str, Array]) -> Any:
        """Whether no gradient has overflowed."""
        return np.all([np.isfinite(gradient).all() for gradient in gradients.values()])

    def following(self, finite: Any) -> tuple[LossScale, Any]:
        """Return the next scale, and whether the step counts."""
        assert self._optimizer is not None
        return self._scale.next(np.where, self._optimizer, finite)

    def leave_out(self) -> None:
        """Do nothing in place of a step."""


class HalfDevice(ReferenceDevice):
    """Computes in float16.

    Args:
        model: Its model.
    """

    def __init__(self, model: type[HalfModel] = HalfModel) -> None:
        super().__init__(HALF, "float16")
        self._model = model

    @property
    def layer_builders(self) -> Mapping[type, LayerBuilder[Variable]]:
        return {kind: _in_half(kind, build) for kind, build in LAYER_BUILDERS.items()}

    def build(self, program: Program) -> ReferenceModel:
        return self._model(self, program)


class NotLeftOut(HalfModel):
    """Takes infinite gradients for a step."""

    def following(self, finite: Any) -> tuple[LossScale, Any]:
        return super().following(finite)[0], True


class NeverLowered(HalfModel):
    """Overflows forever."""

    def following(self, finite: Any) -> tuple[LossScale, Any]:
        scale, counts = super().following(finite)
        return scale._replace(value=self._scale.value), counts


class CountsAll(HalfModel):
    """Counts steps that were left out."""

    def leave_out(self) -> None:
        self._moments.step += 1


class Decays(HalfModel):
    """Takes zero gradients in place of none."""

    def leave_out(self) -> None:
        self._step({name: np.zeros_like(value) for name, value in self._weights.items()}, 0.0)
        self._moments.step -= 1


class LooksAtTheLast(HalfModel):
    """Looks at one gradient for all."""

    def finite(self, gradients: Mapping[str, Array]) -> Any:
        return np.isfinite(list(gradients.values())[-1]).all()


for _name, _model in (
    ("float16: a step that overflows is not left out", NotLeftOut),
    ("float16: the scale is never lowered", NeverLowered),
    ("float16: a step that was left out counts for Adam", CountsAll),
    ("float16: a step that was left out decays the moments", Decays),
    ("float16: only the last gradient is looked at", LooksAtTheLast),
):
    FAULTS.device(_name, "train/overflow")(lambda model=_model: HalfDevice(model))
