"""Faults in results: buffers that are reused, results that are read late, caches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from msinet_core.device import Deferred, Program
from msinet_core.network.graph import Graph
from msinet_core.network.state import Batch
from msinet_core.reference.device import ReferenceDevice, ReferenceModel
from msinet_core.reference.tape import Array
from tests.faults.fault import Faults, FaultyDevice, Images

FAULTS = Faults()


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
