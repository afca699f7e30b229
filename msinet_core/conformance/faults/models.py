"""Faults in a model: reading, computing, remembering and returning."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msinet_core.device import Program
from msinet_core.network.adam import Adam
from msinet_core.network.state import Batch, OptimizerState, State
from msinet_core.reference.device import ReferenceDevice, ReferenceModel
from msinet_core.reference.tape import Array

Images = NDArray[np.float32]


class RowsAndColumnsSwapped(ReferenceModel):
    """Swaps height and width of the images."""

    def forward(self, images: Images) -> Array:
        return super().forward(images.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)


class BufferRead(ReferenceModel):
    """Reads the memory of a view as if it were contiguous."""

    def forward(self, images: Images) -> Array:
        base = images if images.base is None else images.base
        return super().forward(base.ravel()[: images.size].reshape(images.shape))


class BufferReused(ReferenceModel):
    """Returns one buffer for all results of a size."""

    _buffers: dict[tuple[int, ...], Array] = {}

    def forward(self, images: Images) -> Array:
        maps = super().forward(images)
        buffer = self._buffers.setdefault(maps.shape, np.empty_like(maps))
        buffer[...] = maps
        return buffer


class WrittenInPlace(ReferenceModel):
    """Computes in the caller's memory."""

    def forward(self, images: Images) -> Array:
        images += 1
        return super().forward(images - 1)


class OneSize(ReferenceModel):
    """Compiles for the first shape, and resizes other images to it."""

    _size: tuple[int, ...] | None = None

    def forward(self, images: Images) -> Array:
        self._size = self._size or images.shape[1:3]
        return super().forward(np.resize(images, (len(images), *self._size, images.shape[-1])))


class OnlyFirstImage(ReferenceModel):
    """Gives every image of a batch the first one's map."""

    def forward(self, images: Images) -> Array:
        return np.repeat(super().forward(images[:1]), len(images), axis=0)


class DoublePrecision(ReferenceModel):
    """Returns float64."""

    def forward(self, images: Images) -> Array:
        return super().forward(images).astype(np.float64)


class Nondeterministic(ReferenceModel):
    """Sums in random order."""

    _random = np.random.default_rng()

    def forward(self, images: Images) -> Array:
        maps = super().forward(images)
        noise = 1 + 1e-6 * self._random.standard_normal(maps.shape)
        return (maps * noise).astype(np.float32)

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        chance = 1 + 1e-6 * self._random.standard_normal()
        return super().update(batches, learning_rate * float(chance))


class BatchesWeighTheSame(ReferenceModel):
    """Uses as many images from each batch as the smallest has."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        smallest = min(len(batch.images) for batch in batches)
        cut = [Batch(b.images[:smallest], b.maps[:smallest]) for b in batches]
        return super().update(cut, learning_rate)


class LastBatchOnly(ReferenceModel):
    """Forgets the accumulated gradient."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        return super().update(batches[-1:], learning_rate)


class LossAfterTheStep(ReferenceModel):
    """Returns the loss after the step."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        super().update(batches, learning_rate)
        return float(np.mean(np.concatenate([self.losses(batch) for batch in batches])))


class FirstRateForever(ReferenceModel):
    """Compiles the learning rate into the program."""

    _rate: float | None = None

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        self._rate = self._rate or learning_rate
        return super().update(batches, self._rate)


class RateDecays(ReferenceModel):
    """Lowers the learning rate after the fourth step."""

    _steps = 0

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        self._steps += 1
        return super().update(batches, learning_rate * 0.9 ** max(0, self._steps - 4))


class DefaultAdam(ReferenceModel):
    """Ignores Adam's constants."""

    def __init__(self, device: ReferenceDevice, program: Program) -> None:
        super().__init__(device, dataclasses.replace(program, optimizer=Adam()))


class EpsilonInsideTheCorrection(ReferenceModel):
    """Computes Adam as the documentation of PyTorch and Keras defines it."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        given = self._optimizer
        assert given is not None
        correction = np.sqrt(1 - given.beta_2 ** (self._moments.step + 1))
        self._optimizer = dataclasses.replace(given, epsilon=float(given.epsilon * correction))
        try:
            return super().update(batches, learning_rate)
        finally:
            self._optimizer = given


class _OtherMoments(ReferenceModel):
    """Starts with other moments than the given ones."""

    def __init__(self, device: ReferenceDevice, program: Program) -> None:
        state = State(program.state.weights, self.start(program.state))
        super().__init__(device, dataclasses.replace(program, state=state))

    def start(self, state: State) -> OptimizerState | None:
        """Return the moments to start with."""
        raise NotImplementedError


class MomentsForgotten(_OtherMoments):
    """Starts with zero moments."""

    def start(self, state: State) -> OptimizerState | None:
        return None


class StepForgotten(_OtherMoments):
    """Restarts the bias correction."""

    def start(self, state: State) -> OptimizerState | None:
        return state.optimizer and dataclasses.replace(state.optimizer, step=0)


class MomentsStartAtOne(_OtherMoments):
    """Starts with a second moment of one."""

    def start(self, state: State) -> OptimizerState | None:
        fresh = OptimizerState.zeros(state.weights)
        ones = {name: np.ones_like(value) for name, value in fresh.v.items()}
        return state.optimizer or dataclasses.replace(fresh, v=ones)


class StaleState(ReferenceModel):
    """Returns the moments that it was compiled with."""

    def __init__(self, device: ReferenceDevice, program: Program) -> None:
        super().__init__(device, program)
        self._first = program.optimizer_state

    def state(self) -> State:
        return State(super().state().weights, self._first)


class MomentsSwapped(ReferenceModel):
    """Returns the moments in the wrong order."""

    def state(self) -> State:
        state = super().state()
        moments = state.optimizer
        assert moments is not None
        return State(state.weights, OptimizerState(moments.step, moments.v, moments.m))


class EvaluationTrains(ReferenceModel):
    """Changes the weights during evaluation."""

    def losses(self, batch: Batch) -> Array:
        found = super().losses(batch)
        if self._optimizer:
            self.update([batch], 1e-3)
        return found


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


class SignLost(ReferenceModel):
    """Loses the sign of the first moment."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        loss: Any = super().update(batches, learning_rate)
        self._moments.m = {name: np.abs(m) for name, m in self._moments.m.items()}
        return float(loss)
