"""Faults between models, and in the memory that they leave behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from msinet_core.device import Deferred, Program
from msinet_core.network.state import Batch, State
from msinet_core.reference.device import ReferenceDevice, ReferenceModel
from msinet_core.reference.tape import Array, Variable
from tests.faults.fault import Faults, FaultyDevice, Images

FAULTS = Faults()


# Other models.


@FAULTS.device("A second model of a graph has the first one's weights", "calls/predictions")
class WeightsByGraph(FaultyDevice):
    """Keeps the weights of each graph, and finds them again."""

    def build(self, program: Program) -> ReferenceModel:
        model = super().build(program)
        kept = vars(self).setdefault("_kept", {})
        model._weights = kept.setdefault(program.graph.fingerprint, model._weights)
        return model


@FAULTS.device("Models of a graph share their moments", "calls/training", "calls/long")
class SharedMoments(FaultyDevice):
    """Keeps one optimizer for each graph."""

    def build(self, program: Program) -> ReferenceModel:
        model = super().build(program)
        kept = vars(self).setdefault("_kept", {})
        model._moments = kept.setdefault(program.graph.fingerprint, model._moments)
        return model


@FAULTS.device("Only the model compiled last computes", "calls/predictions", "calls/training")
class LastModelOnly(FaultyDevice):
    """Keeps one set of weights for each shape of them on the device."""

    def build(self, program: Program) -> ReferenceModel:
        model = super().build(program)
        kept = vars(self).setdefault("_kept", {})
        key = tuple(p.shape for p in program.graph.parameters)
        shared = kept.setdefault(key, model._weights)
        shared.update(model._weights)
        model._weights = shared
        return model


@FAULTS.device("A third model is refused", "calls/predictions", "calls/training")
class TwoModels(FaultyDevice):
    """Runs out of something after two models."""

    def build(self, program: Program) -> ReferenceModel:
        self._count = vars(self).get("_count", 0) + 1
        if self._count > 2:
            raise RuntimeError("no free context")
        return super().build(program)


@FAULTS.model("A model for training cannot predict", "calls/training")
class TrainsOnly(ReferenceModel):
    """Compiles a program for training only."""

    def forward(self, images: Images) -> Array:
        if self._optimizer is not None:
            raise RuntimeError("program 'predict' was not compiled")
        return super().forward(images)


# Memory.


@FAULTS.model("Everything computed is kept", "memory/predictions", "memory/steps", "memory/soak")
class KeepsEverything(ReferenceModel):
    """Appends every input to a list."""

    def __init__(self, device: ReferenceDevice, program: Program) -> None:
        super().__init__(device, program)
        self._all: list[Array] = []

    def forward(self, images: Images) -> Array:
        self._all.append(images.copy())
        return super().forward(images)

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        self._all += [batch.images.copy() for batch in batches]
        return super().update(batches, learning_rate)


@FAULTS.model("The gradients of every step are kept", "memory/gradients")
class KeepsGradients(ReferenceModel):
    """Appends as many values as the weights have to a list."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        gradients = [weight.copy() for weight in super().state().weights.values()]
        vars(self).setdefault("_all", []).append(gradients)
        return super().update(batches, learning_rate)


@FAULTS.device("Every model is kept", "memory/models")
class KeepsModels(FaultyDevice):
    """Appends every model to a list."""

    def build(self, program: Program) -> ReferenceModel:
        model = super().build(program)
        vars(self).setdefault("_all", []).append(model)
        return model


@FAULTS.model("The tape of every step is kept", "memory/steps", "memory/soak")
class KeepsTapes(ReferenceModel):
    """Keeps what a step computed, for example by adding up losses that hold their graph."""

    def __init__(self, device: ReferenceDevice, program: Program) -> None:
        super().__init__(device, program)
        self._all: list[Array] = []

    def _losses(self, batch: Batch, variables: Any) -> Variable:
        losses = super()._losses(batch, variables)
        self._all.append(np.array(batch.images))
        return losses


@FAULTS.model("Evaluated batches are kept", "memory/evaluations")
class KeepsEvaluations(ReferenceModel):
    """Appends every batch to a list."""

    def losses(self, batch: Batch) -> Array:
        vars(self).setdefault("_all", []).append(batch.images.copy())
        return super().losses(batch)


@FAULTS.model("States are kept", "memory/states")
class KeepsStates(ReferenceModel):
    """Appends every state to a list."""

    def state(self) -> State:
        state = super().state()
        copies = [weight.copy() for weight in state.weights.values()]
        vars(self).setdefault("_all", []).append(copies)
        return state


_results: dict[object, Array] = {}


@FAULTS.model("Results are kept until they are read", "memory/unread")
class KeepsUnread(ReferenceModel):
    """Holds results in a table, from which reading removes them."""

    def forward(self, images: Images) -> Any:
        key, maps = object(), super().forward(images)
        _results[key] = maps
        return Deferred(lambda: _results.pop(key))
