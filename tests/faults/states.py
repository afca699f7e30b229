"""Faults in what a model computes with after training, and in the state that it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from msinet_core.device import Program
from msinet_core.network.state import Batch, OptimizerState, State
from msinet_core.reference.device import ReferenceDevice, ReferenceModel
from msinet_core.reference.tape import Array
from tests.faults.fault import Faults, Images

FAULTS = Faults()


# Weights after training.


@FAULTS.model("Predictions use the weights of compile", "calls/training", "calls/long")
class StalePrediction(ReferenceModel):
    """Freezes weights for prediction when it is compiled."""

    def __init__(self, device: ReferenceDevice, program: Program) -> None:
        super().__init__(device, program)
        self._frozen = dict(self._weights)

    def forward(self, images: Images) -> Array:
        trained, self._weights = self._weights, self._frozen
        try:
            return super().forward(images)
        finally:
            self._weights = trained


@FAULTS.model("Evaluation uses the weights of compile", "calls/training", "calls/long")
class StaleEvaluation(ReferenceModel):
    """Freezes weights for evaluation when it is compiled."""

    def __init__(self, device: ReferenceDevice, program: Program) -> None:
        super().__init__(device, program)
        self._frozen = dict(self._weights)

    def losses(self, batch: Batch) -> Array:
        trained, self._weights = self._weights, self._frozen
        try:
            return super().losses(batch)
        finally:
            self._weights = trained


@FAULTS.model("Predictions are one step behind", "calls/training", "calls/long")
class OneStepBehind(ReferenceModel):
    """Copies weights for prediction before each step."""

    _before: dict[str, Array] | None = None

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        self._before = dict(self._weights)
        return super().update(batches, learning_rate)

    def forward(self, images: Images) -> Array:
        trained, self._weights = self._weights, self._before or self._weights
        try:
            return super().forward(images)
        finally:
            self._weights = trained


@FAULTS.model("Evaluation trains", "state/only-steps-change-it", "calls/training")
class EvaluationTrains(ReferenceModel):
    """Changes the weights during evaluation."""

    def losses(self, batch: Batch) -> Array:
        losses = super().losses(batch)
        if self._optimizer:
            self.update([batch], 1e-3)
        return losses


@FAULTS.model("Prediction resets the moments", "state/only-steps-change-it", "calls/training")
class PredictionResets(ReferenceModel):
    """Shares memory between predictions and moments."""

    def forward(self, images: Images) -> Array:
        maps = super().forward(images)
        self._moments.m = {name: np.zeros_like(m) for name, m in self._moments.m.items()}
        return maps


# States.


@FAULTS.model("Stale optimizer state", "adam/first-step", "train/resumed", "calls/training")
class StaleState(ReferenceModel):
    """Returns the moments that it was compiled with."""

    def __init__(self, device: ReferenceDevice, program: Program) -> None:
        super().__init__(device, program)
        self._first = program.optimizer_state

    def state(self) -> State:
        return State(super().state().weights, self._first)


@FAULTS.model("State cached until the next evaluation", "calls/training", "calls/long")
class StateCached(ReferenceModel):
    """Returns the first state that was read after an evaluation."""

    _cached: State | None = None

    def state(self) -> State:
        self._cached = self._cached or super().state()
        return self._cached

    def losses(self, batch: Batch) -> Array:
        self._cached = None
        return super().losses(batch)


@FAULTS.model("State shared with the device", "state/is-a-copy", "calls/training")
class StateShared(ReferenceModel):
    """Returns the arrays that it trains in place."""

    _shared: State | None = None

    def state(self) -> State:
        self._shared = self._shared or super().state()
        return self._shared

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        loss = super().update(batches, learning_rate)
        if self._shared:
            for name, value in super().state().weights.items():
                self._shared.weights[name][...] = value
        return loss


@FAULTS.model("Changing a state changes the model", "state/is-a-copy")
class StateAliased(ReferenceModel):
    """Returns its own weights."""

    def state(self) -> State:
        return State(self._weights, super().state().optimizer)

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        self._weights = dict(self._weights)
        return super().update(batches, learning_rate)


@FAULTS.model("Reading the state resets the moments", "calls/training", "calls/long")
class StateResets(ReferenceModel):
    """Moves the moments to the host instead of copying them."""

    def state(self) -> State:
        state = super().state()
        assert state.optimizer is not None
        zeros = OptimizerState.zeros(state.weights)
        self._moments.m, self._moments.v = dict(zeros.m), dict(zeros.v)
        return state


# States that a model is compiled from.

_weights: dict[Any, dict[str, Array]] = {}


@FAULTS.model("Weights remembered by the first kernel", "use/similar-weights")
class CachedWeights(ReferenceModel):
    """Uploads weights once for each first kernel."""

    def __init__(self, device: ReferenceDevice, program: Program) -> None:
        super().__init__(device, program)
        first = next(iter(self._weights.values()), np.zeros(1))
        self._weights = _weights.setdefault(
            (program.graph.fingerprint, first.tobytes()), self._weights
        ).copy()


def _confusing(changed: Callable[[str], str]) -> type[ReferenceModel]:
    class ConfusesNames(ReferenceModel):
        def __init__(self, device: ReferenceDevice, program: Program) -> None:
            super().__init__(device, program)
            last = {changed(name): weight for name, weight in self._weights.items()}
            self._weights = {name: last[changed(name)] for name in self._weights}

    return ConfusesNames


for _name, _changed in (
    ("with '_' for '/'", lambda name: name.replace("/", "_")),
    ("in lower case", str.lower),
):
    FAULTS.model(f"Names {_name}", "use/names")(_confusing(_changed))


@FAULTS.model("First moments for weights if it does not train", "use/moments-without-training")
class MomentsForWeights(ReferenceModel):
    """Takes the moments of a state for its weights."""

    def __init__(self, device: ReferenceDevice, program: Program) -> None:
        super().__init__(device, program)
        if program.optimizer is None and program.state.optimizer is not None:
            self._weights = self._arrays(program.state.optimizer.m)


@FAULTS.model("A loss that is not finite is zero", "use/not-finite")
class FiniteLosses(ReferenceModel):
    """Hides that a run diverged."""

    def losses(self, batch: Batch) -> Array:
        return np.nan_to_num(super().losses(batch))


@FAULTS.model("A step with a gradient that is not finite is left out", "use/not-finite")
class LeavesOut(ReferenceModel):
    """Does what loss scaling does, in float32."""

    def _step(self, gradients: Mapping[str, Array], learning_rate: float) -> None:
        if all(np.isfinite(gradient).all() for gradient in gradients.values()):
            super()._step(gradients, learning_rate)


@FAULTS.model("Weights that are not finite come back as zero", "use/not-finite")
class FiniteWeights(ReferenceModel):
    """Hides that a run diverged."""

    def state(self) -> State:
        state = super().state()
        weights = {name: np.nan_to_num(weight) for name, weight in state.weights.items()}
        return State(weights, state.optimizer)
