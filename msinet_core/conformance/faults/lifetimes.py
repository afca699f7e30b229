"""Faults in what a model keeps: weights, results, buffers, caches, other models, memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msinet_core.conformance.faults.fault import Faults, FaultyDevice
from msinet_core.device import Deferred, Program
from msinet_core.network.graph import Graph
from msinet_core.network.state import Batch, OptimizerState, State
from msinet_core.reference.device import ReferenceDevice, ReferenceModel
from msinet_core.reference.tape import Array, Variable

Images = NDArray[np.float32]

FAULTS = Faults()


# The caller's arrays.


@FAULTS.model(
    "Caller's images overwritten",
    "forward/read-only-images",
    "forward/images-unchanged",
    "calls/predictions",
)
class WrittenInPlace(ReferenceModel):
    """Computes in the caller's memory."""

    def forward(self, images: Images) -> Array:
        images += 1
        return super().forward(images - 1)


@FAULTS.model("Caller's images overwritten by a step", "train/four-losses", "calls/training")
class ImagesOverwritten(ReferenceModel):
    """Subtracts the mean in place while it trains."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        loss = super().update(batches, learning_rate)
        batches[0].images[...] -= 1
        return loss


@FAULTS.model("Caller's maps overwritten by a step", "train/four-losses", "calls/training")
class MapsOverwritten(ReferenceModel):
    """Normalizes true maps in place while it trains."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        loss = super().update(batches, learning_rate)
        for batch in batches:
            batch.maps[...] /= batch.maps.sum()
        return loss


@FAULTS.model("Caller's maps overwritten by evaluation", "loss/random", "calls/training")
class MapsOverwrittenByEvaluation(ReferenceModel):
    """Normalizes true maps in place while it evaluates."""

    def losses(self, batch: Batch) -> Array:
        losses = super().losses(batch)
        batch.maps[...] /= 1 + batch.maps.sum()
        return losses


@FAULTS.model("Given weights overwritten", "state/weights-come-back", "network/asymmetric")
class WeightsOverwritten(ReferenceModel):
    """Rounds the caller's weights in place."""

    def __init__(self, device: ReferenceDevice, program: Program) -> None:
        super().__init__(device, program)
        for weight in program.state.weights.values():
            weight[...] = np.float16(weight)


@FAULTS.model("Given weights are not copied", "state/given-arrays")
class WeightsAliased(ReferenceModel):
    """Computes with the caller's arrays."""

    def __init__(self, device: ReferenceDevice, program: Program) -> None:
        super().__init__(device, program)
        self._weights = dict(program.state.weights)


@FAULTS.model("Weights must be contiguous", "state/given-arrays")
class NeedsContiguous(ReferenceModel):
    """Refuses views."""

    def __init__(self, device: ReferenceDevice, program: Program) -> None:
        if not all(weight.flags.c_contiguous for weight in program.state.weights.values()):
            raise ValueError("ndarray is not C-contiguous")
        super().__init__(device, program)


# Results that are read late.


class _Late:
    """A loss that is computed when it is read."""

    def __init__(self, read: Any) -> None:
        self._read = read

    def __float__(self) -> float:
        return float(self._read())


@FAULTS.model("One buffer for all results", "forward/many-sizes", "calls/predictions")
class BufferReused(ReferenceModel):
    """Returns one buffer for all results of a size."""

    _buffers: dict[tuple[int, ...], Array] = {}

    def forward(self, images: Images) -> Array:
        maps = super().forward(images)
        buffer = self._buffers.setdefault(maps.shape, np.empty_like(maps))
        buffer[...] = maps
        return buffer


@FAULTS.model("One buffer for all losses", "calls/training")
class LossBufferReused(ReferenceModel):
    """Returns one buffer for all losses of a batch size."""

    _buffers: dict[int, Array] = {}

    def losses(self, batch: Batch) -> Array:
        losses = super().losses(batch)
        buffer = self._buffers.setdefault(len(losses), np.empty_like(losses))
        buffer[...] = losses
        return buffer


@FAULTS.model("A loss that is read late is the latest one", "calls/training", "calls/long")
class LatestLoss(ReferenceModel):
    """Keeps one loss on the device."""

    _latest = 0.0

    def update(self, batches: Sequence[Batch], learning_rate: float) -> Any:
        self._latest = super().update(batches, learning_rate)
        return _Late(lambda: self._latest)


@FAULTS.model("A prediction that is read late uses later weights", "calls/training", "calls/long")
class LatePrediction(ReferenceModel):
    """Computes a prediction when it is read."""

    def forward(self, images: Images) -> Any:
        images = images.copy()
        return Deferred(lambda: super(LatePrediction, self).forward(images))


@FAULTS.model("Losses that are read late use later weights", "calls/training", "calls/long")
class LateLosses(ReferenceModel):
    """Evaluates when the result is read."""

    def losses(self, batch: Batch) -> Any:
        if self._optimizer is None:
            return super().losses(batch)
        batch = Batch(batch.images.copy(), batch.maps.copy())
        shape = (len(batch.images),)
        return Deferred(lambda: super(LateLosses, self).losses(batch), shape)

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        return super().update(batches, learning_rate)


@FAULTS.model("A result can be read once", "calls/predictions")
class ReadOnce(ReferenceModel):
    """Releases a result after it was read."""

    def forward(self, images: Images) -> Any:
        return _Once(super().forward(images))


class _Once:
    def __init__(self, values: Array) -> None:
        self._values: Array | None = values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        values, self._values = self._values, None
        if values is None:
            raise RuntimeError("buffer has been deleted or donated")
        return values


# Caches.


@FAULTS.model("Results cached by shape", "calls/predictions", "calls/training")
class CachedByShape(ReferenceModel):
    """Returns an earlier map for images of the same shape."""

    def __init__(self, device: ReferenceDevice, program: Program) -> None:
        super().__init__(device, program)
        self._cache: dict[tuple[int, ...], Array] = {}

    def forward(self, images: Images) -> Array:
        return self._cache.setdefault(images.shape, super().forward(images)).copy()


_programs: dict[Any, Graph] = {}


@FAULTS.model("Programs cached by the shapes of weights", "calls/predictions")
class ProgramsCachedByShapes(ReferenceModel):
    """Computes an earlier graph whose parameters have the same names and shapes."""

    def __init__(self, device: ReferenceDevice, program: Program) -> None:
        super().__init__(device, program)
        key = tuple((p.name, p.shape) for p in program.graph.parameters)
        self._graph = _programs.setdefault(key, program.graph)


@FAULTS.device("Adam's constants of the first model for all", "calls/training", "calls/long")
class FirstAdam(FaultyDevice):
    """Compiles one optimizer for each device."""

    def build(self, program: Program) -> ReferenceModel:
        model = super().build(program)
        if program.optimizer is not None:
            self._first = getattr(self, "_first", program.optimizer)
            model._optimizer = self._first
        return model


@FAULTS.device("Loss of the first model for all", "calls/training", "calls/long")
class FirstLoss(FaultyDevice):
    """Compiles one loss for each device."""

    def build(self, program: Program) -> ReferenceModel:
        model = super().build(program)
        if program.loss is not None:
            self._first = getattr(self, "_first", program.loss)
            model._loss = self._first
        return model


@FAULTS.model("A small batch is polluted by a larger one", "calls/predictions", "calls/training")
class Polluted(ReferenceModel):
    """Pads small batches with what an earlier, larger one left, and normalizes over all."""

    _padded: Array | None = None

    def forward(self, images: Images) -> Array:
        last = self._padded
        if last is not None and last.shape[1:] == images.shape[1:] and len(last) > len(images):
            last[: len(images)] = images
            maps = super().forward(last)
            polluted: Array = maps[: len(images)] + np.float32(0.01) * maps[len(images)]
            return polluted
        self._padded = images.copy()
        return super().forward(images)


@FAULTS.model("A small batch trains with the rest of a larger one", "calls/training", "calls/long")
class PollutedTraining(ReferenceModel):
    """Trains a small batch with what an earlier, larger one left in the buffer."""

    _buffer: Batch | None = None

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        (batch, *_), last = batches, self._buffer
        if last is not None and len(last.images) > len(batch.images):
            if last.images.shape[1:] == batch.images.shape[1:]:
                rest = Batch(last.images[len(batch.images) :], last.maps[len(batch.images) :])
                return super().update([*batches, rest], learning_rate)
            return super().update(batches, learning_rate)
        self._buffer = Batch(batch.images.copy(), batch.maps.copy())
        return super().update(batches, learning_rate)


@FAULTS.model("Predictions depend on earlier ones", "calls/predictions", "forward/repeated")
class RunningStatistic(ReferenceModel):
    """Mixes a running mean of its outputs into each output."""

    _mean = np.float32(0)

    def forward(self, images: Images) -> Array:
        maps = super().forward(images)
        maps = maps + np.float32(0.01) * self._mean
        self._mean = np.float32(0.9 * self._mean + 0.1 * maps.mean())
        return maps


@FAULTS.model("Wrong after the tenth prediction", "calls/predictions", "calls/training")
class WrongLater(ReferenceModel):
    """Loses a bias after ten calls."""

    _calls = 0

    def forward(self, images: Images) -> Array:
        self._calls += 1
        maps = super().forward(images)
        return maps if self._calls <= 10 else maps * np.float32(0.99)


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
