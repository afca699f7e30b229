"""Faults in a model: in what it reads, remembers, repeats and hands out."""

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
    """Computes on images whose axes it swapped."""

    def forward(self, images: Images) -> Array:
        return super().forward(images.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)


class BufferRead(ReferenceModel):
    """Reads the memory behind a view as if it were contiguous."""

    def forward(self, images: Images) -> Array:
        base = images if images.base is None else images.base
        return super().forward(base.ravel()[: images.size].reshape(images.shape))


class BufferReused(ReferenceModel):
    """Hands out one buffer for all results of a size."""

    _buffers: dict[tuple[int, ...], Array] = {}

    def forward(self, images: Images) -> Array:
        maps = super().forward(images)
        buffer = self._buffers.setdefault(maps.shape, np.empty_like(maps))
        buffer[...] = maps
        return buffer


class WrittenInPlace(ReferenceModel):
    """Computes in the host's memory."""

    def forward(self, images: Images) -> Array:
        images += 1
        return super().forward(images - 1)


class OneSize(ReferenceModel):
    """Is compiled for the first shape, and makes whatever comes later fit it."""

    _size: tuple[int, ...] | None = None

    def forward(self, images: Images) -> Array:
        self._size = self._size or images.shape[1:3]
        return super().forward(np.resize(images, (len(images), *self._size, images.shape[-1])))


class OnlyFirstImage(ReferenceModel):
    """Gives every image of a batch the first one's map."""

    def forward(self, images: Images) -> Array:
        return np.repeat(super().forward(images[:1]), len(images), axis=0)


class DoublePrecision(ReferenceModel):
    """Puts out float64."""

    def forward(self, images: Images) -> Array:
        return super().forward(images).astype(np.float64)


class Nondeterministic(ReferenceModel):
    """Adds up in an order that is chance."""

    _random = np.random.default_rng()

    def forward(self, images: Images) -> Array:
        maps = super().forward(images)
        noise = 1 + 1e-6 * self._random.standard_normal(maps.shape)
        return (maps * noise).astype(np.float32)

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        chance = 1 + 1e-6 * self._random.standard_normal()
        return super().update(batches, learning_rate * float(chance))


class BatchesWeighAlike(ReferenceModel):
    """Takes as many images from each batch as the smallest has."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        smallest = min(len(batch.images) for batch in batches)
        cut = [Batch(b.images[:smallest], b.maps[:smallest]) for b in batches]
        return super().update(cut, learning_rate)


class LastBatchOnly(ReferenceModel):
    """Forgets what it accumulated."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        return super().update(batches[-1:], learning_rate)


class LossAfterTheStep(ReferenceModel):
    """Tells the loss that the step leads to."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        super().update(batches, learning_rate)
        return float(np.mean(np.concatenate([self.losses(batch) for batch in batches])))


class FirstRateForever(ReferenceModel):
    """Compiles the learning rate in."""

    _rate: float | None = None

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        self._rate = self._rate or learning_rate
        return super().update(batches, self._rate)


class RateDecays(ReferenceModel):
    """Lowers the learning rate step by step, which shows in many steps only."""

    _steps = 0

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        self._steps += 1
        return super().update(batches, learning_rate * 0.9 ** max(0, self._steps - 4))


class DefaultAdam(ReferenceModel):
    """Ignores Adam's constants."""

    def __init__(
        self,
        device: ReferenceDevice,
        program: Program,
    ) -> None:
        super().__init__(device, dataclasses.replace(program, optimizer=Adam()))


class EpsilonInsideTheCorrection(ReferenceModel):
    """Computes Adam as PyTorch and Keras' documentation write it."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        kept = self._optimizer
        assert kept is not None
        correction = np.sqrt(1 - kept.beta_2 ** (self._moments.step + 1))
        self._optimizer = dataclasses.replace(kept, epsilon=float(kept.epsilon * correction))
        try:
            return super().update(batches, learning_rate)
        finally:
            self._optimizer = kept


class _OtherMemory(ReferenceModel):
    """Begins with another memory than it is given."""

    def __init__(
        self,
        device: ReferenceDevice,
        program: Program,
    ) -> None:
        state = State(program.state.weights, self.remember(program.state))
        super().__init__(device, dataclasses.replace(program, state=state))

    def remember(self, state: State) -> OptimizerState | None:
        """Choose the memory to begin with."""
        raise NotImplementedError


class MomentsForgotten(_OtherMemory):
    """Begins without a memory."""

    def remember(self, state: State) -> OptimizerState | None:
        return None


class StepForgotten(_OtherMemory):
    """Starts the bias correction anew."""

    def remember(self, state: State) -> OptimizerState | None:
        return state.optimizer and dataclasses.replace(state.optimizer, step=0)


class MomentsBeginAtOne(_OtherMemory):
    """Begins with a second moment of one."""

    def remember(self, state: State) -> OptimizerState | None:
        fresh = OptimizerState.zeros(state.weights)
        ones = {name: np.ones_like(value) for name, value in fresh.v.items()}
        return state.optimizer or dataclasses.replace(fresh, v=ones)


class StaleState(ReferenceModel):
    """Reports the moments that it was compiled with."""

    def __init__(
        self,
        device: ReferenceDevice,
        program: Program,
    ) -> None:
        super().__init__(device, program)
        self._first = program.optimizer_state

    def state(self) -> State:
        return State(super().state().weights, self._first)


class MomentsSwapped(ReferenceModel):
    """Takes one moment for the other when it hands them out."""

    def state(self) -> State:
        state = super().state()
        memory = state.optimizer
        assert memory is not None
        return State(state.weights, OptimizerState(memory.step, memory.v, memory.m))


class EvaluationTrains(ReferenceModel):
    """Changes the weights when it is asked for losses."""

    def losses(self, batch: Batch) -> Array:
        found = super().losses(batch)
        if self._optimizer:
            self.update([batch], 1e-3)
        return found


class StateShared(ReferenceModel):
    """Hands out the arrays that it goes on training in place."""

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
