"""Faults in what is kept from one call to the next: results, arrays, programs, models, threads."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from msinet_core.device import Deferred, DeviceSpec, Program
from msinet_core.network.loss import WeightedSum
from msinet_core.network.state import Batch, OptimizerState, State, Tensors
from msinet_core.reference import SPEC
from msinet_core.reference.device import ReferenceDevice, ReferenceModel
from msinet_core.reference.tape import Array
from tests.faults.fault import Faults, FaultyDevice, Images

FAULTS = Faults()


@contextmanager
def _weights_of(model: ReferenceModel, weights: Tensors) -> Iterator[None]:
    """Compute with other weights for a while."""
    kept, model._weights = model._weights, dict(weights)
    try:
        yield
    finally:
        model._weights = kept


# Results.


@FAULTS.model("Results are views of 32 buffers", "use/unread")
class RingOfMaps(ReferenceModel):
    """Uses its buffers again in turn."""

    _calls = 0

    def forward(self, images: Images) -> Array:
        maps = super().forward(images)
        rings = vars(self).setdefault("_rings", {})
        ring: list[Array] = rings.setdefault(maps.shape, [np.empty_like(maps) for _ in range(32)])
        self._calls += 1
        ring[self._calls % 32][...] = maps
        return ring[self._calls % 32]


@FAULTS.model("The losses of 32 steps share a ring", "use/unread-losses")
class RingOfLosses(ReferenceModel):
    """Uses its slots again in turn."""

    _calls = 0

    def update(self, batches: Sequence[Batch], learning_rate: float) -> Any:
        ring = vars(self).setdefault("_ring", {})
        slot = self._calls % 32
        self._calls += 1
        ring[slot] = super().update(batches, learning_rate)
        return Deferred(lambda: ring[slot])


@FAULTS.model("Images are not kept until the result is read", "use/unread")
class ImagesReleased(ReferenceModel):
    """Points to the caller's memory, which may be gone."""

    def forward(self, images: Images) -> Any:
        given, shape, weights = weakref.ref(images), images.shape, dict(self._weights)

        def read() -> Array:
            found = given()
            with _weights_of(self, weights):
                return super(ImagesReleased, self).forward(
                    np.ones(shape, np.float32) if found is None else found
                )

        return Deferred(read)


@FAULTS.model("Evaluated batches are not kept until the losses are read", "use/unread-losses")
class BatchesReleased(ReferenceModel):
    """Points to the caller's memory, which may be gone."""

    def losses(self, batch: Batch) -> Any:
        given, weights = [weakref.ref(array) for array in batch], dict(self._weights)
        shapes = [array.shape for array in batch]

        def read() -> Array:
            arrays: list[Any] = [
                np.ones(shape, np.float32) if one() is None else one()
                for one, shape in zip(given, shapes, strict=True)
            ]
            with _weights_of(self, weights):
                return super(BatchesReleased, self).losses(Batch(*arrays))

        return Deferred(read, (shapes[0][0],))


@FAULTS.model("Maps remembered by content, and handed out without a copy", "use/results")
class SharedMaps(ReferenceModel):
    """Hands out the array that it keeps."""

    def forward(self, images: Images) -> Array:
        key = images.tobytes(), images.shape, tuple(map(id, self._weights.values()))
        if vars(self).get("_key") != key:
            self._key, self._kept = key, super().forward(images)
        return self._kept


class _WithoutDtype:
    def __init__(self, values: Array) -> None:
        self.values = values

    def __array__(self) -> Array:
        return self.values


class _HalfIfAsked(_WithoutDtype):
    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return self.values if dtype is None else self.values.astype(np.float16).astype(dtype)


@FAULTS.model("Results refuse a dtype", "use/results")
class RefusesDtype(ReferenceModel):
    """Cannot be read as float32."""

    def forward(self, images: Images) -> Any:
        return _WithoutDtype(super().forward(images))


@FAULTS.model("Results are half precision if a dtype is asked for", "use/results")
class HalfIfAsked(ReferenceModel):
    """Reads on another path."""

    def forward(self, images: Images) -> Any:
        return _HalfIfAsked(super().forward(images))


# What is remembered by content, by address and by shape.


@FAULTS.model("Maps remembered by content, also after a step", "use/after-a-step")
class MapsRemembered(ReferenceModel):
    """Forgets that the weights have changed."""

    def forward(self, images: Images) -> Array:
        memo = vars(self).setdefault("_memo", {})
        key = images.tobytes(), images.shape
        if key not in memo:
            memo[key] = super().forward(images)
        return memo[key].copy()  # type: ignore[no-any-return]


@FAULTS.model("Losses remembered by content, also after a step", "use/after-a-step")
class LossesRemembered(ReferenceModel):
    """Forgets that the weights have changed."""

    def losses(self, batch: Batch) -> Array:
        memo = vars(self).setdefault("_memo", {})
        key = batch.images.tobytes(), batch.maps.tobytes()
        if key not in memo:
            memo[key] = super().losses(batch)
        return memo[key].copy()  # type: ignore[no-any-return]


class _FirstWeights(ReferenceModel):
    """Has a second program for some images, which does not see later weights."""

    def __init__(self, device: ReferenceDevice, program: Program) -> None:
        super().__init__(device, program)
        self._first = dict(self._weights)

    def uses_first(self, images: Images) -> bool:
        """Whether the second program predicts these images."""
        raise NotImplementedError

    def forward(self, images: Images) -> Array:
        with _weights_of(self, self._first if self.uses_first(images) else self._weights):
            return super().forward(images)


@FAULTS.model("Large images use the weights of compile", "use/after-a-step")
class LargeImagesStale(_FirstWeights):
    """Keeps weights for tiles."""

    def uses_first(self, images: Images) -> bool:
        return bool(images.shape[1] * images.shape[2] > 2**14)


@FAULTS.model("Large batches use the weights of compile", "use/after-a-step")
class LargeBatchesStale(_FirstWeights):
    """Keeps weights for batches."""

    def uses_first(self, images: Images) -> bool:
        return len(images) > 16


@FAULTS.model(
    "A program that was evicted is made with the weights of compile", "forward/many-widths"
)
class Evicted(_FirstWeights):
    """Keeps the programs of eight shapes."""

    def uses_first(self, images: Images) -> bool:
        programs: OrderedDict[tuple[int, ...], bool]
        programs = vars(self).setdefault("_programs", OrderedDict())
        seen = vars(self).setdefault("_seen", set())
        if images.shape not in programs:
            programs[images.shape] = images.shape in seen
            seen.add(images.shape)
            if len(programs) > 8:
                programs.popitem(last=False)
        programs.move_to_end(images.shape)
        return programs[images.shape]


@FAULTS.model("Programs of more than 32 shapes mixed up", "forward/many-widths")
class ManyShapes(ReferenceModel):
    """Mirrors the images of the 33rd shape and later ones."""

    def forward(self, images: Images) -> Array:
        shapes = vars(self).setdefault("_shapes", [])
        if images.shape not in shapes:
            shapes.append(images.shape)
        maps = super().forward(images)
        return maps if shapes.index(images.shape) < 32 else maps[:, :, ::-1]


@FAULTS.model("Evaluated batches remembered by their address", "use/changed-batches")
class EvaluatedByAddress(ReferenceModel):
    """Does not see that an array was filled again."""

    def losses(self, batch: Batch) -> Array:
        kept = vars(self).setdefault("_kept", {})
        key = id(batch.images), id(batch.maps)
        copies = Batch(batch.images.copy(), batch.maps.copy())
        _, copies = kept.setdefault(key, (batch, copies))
        return super().losses(copies)


@FAULTS.model("Evaluated images remembered by their first row", "use/changed-batches")
class EvaluatedByFirstRow(ReferenceModel):
    """Does not look below what may be padding."""

    def losses(self, batch: Batch) -> Array:
        kept = vars(self).setdefault("_kept", {})
        key = batch.images.shape, batch.images[:, 0].tobytes()
        return super().losses(Batch(kept.setdefault(key, batch.images.copy()), batch.maps))


@FAULTS.model("Weights are cast again if the first one has changed", "use/after-a-step")
class CastByFirst(ReferenceModel):
    """Does not notice steps of a network whose first layer is frozen."""

    def forward(self, images: Images) -> Array:
        first = next(iter(self._weights.values()), None)
        known, cast = vars(self).get("_cast", (None, {}))
        if known is not first:
            cast = dict(self._weights)
            self._cast = first, cast
        with _weights_of(self, cast):
            return super().forward(images)


@FAULTS.model("A result is freed with the program of its shape", "forward/many-widths")
class FreedWithProgram(ReferenceModel):
    """Keeps the programs of eight shapes."""

    def forward(self, images: Images) -> Any:
        programs = vars(self).setdefault("_programs", OrderedDict())
        maps, shape = super().forward(images), images.shape
        programs[shape] = maps
        programs.move_to_end(shape)
        if len(programs) > 8:
            programs.popitem(last=False)
        return Deferred(lambda: maps if shape in programs else 0 * maps)


@FAULTS.model("True maps uploaded once for each array", "use/changed-batches")
class MapsByAddress(ReferenceModel):
    """Does not see that an array was filled again."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        kept = vars(self).setdefault("_kept", {})
        for batch in batches:
            kept.setdefault(id(batch.maps), (batch.maps, batch.maps.copy()))
        changed = [Batch(batch.images, kept[id(batch.maps)][1]) for batch in batches]
        return super().update(changed, learning_rate)


@FAULTS.device("A sum of losses is remembered by its terms, not its weights", "loss/sum")
class SumsByTerms(FaultyDevice):
    """Compiles a loss once for each tuple of terms."""

    def build(self, program: Program) -> ReferenceModel:
        model = super().build(program)
        if isinstance(program.loss, WeightedSum):
            key = tuple(type(term).__name__ for _, term in program.loss.terms)
            model._loss = vars(self).setdefault("_losses", {}).setdefault(key, program.loss)
        return model


@FAULTS.device("Factors of the first model of a graph for all", "adam/factors")
class FirstFactors(FaultyDevice):
    """Compiles a step once for each graph."""

    def build(self, program: Program) -> ReferenceModel:
        model = super().build(program)
        if program.optimizer is not None:
            kept = vars(self).setdefault("_factors", {})
            factors = kept.setdefault(program.graph.fingerprint, program.optimizer.factors)
            model._optimizer = replace(program.optimizer, factors=factors)
        return model


# Given states.


def _by_position(tensors: Tensors, program: Program) -> Tensors:
    """Give each parameter the next tensor of its shape."""
    waiting = list(tensors.values())
    taken = {}
    for parameter in program.graph.parameters:
        index = next(i for i, value in enumerate(waiting) if value.shape == parameter.shape)
        taken[parameter.name] = waiting.pop(index)
    return taken


@FAULTS.model("Weights taken by position", "state/order")
class WeightsByPosition(ReferenceModel):
    """Relies on the order of names."""

    def __init__(self, device: ReferenceDevice, program: Program) -> None:
        weights = _by_position(program.state.weights, program)
        state = State(weights, program.state.optimizer)
        super().__init__(device, replace(program, state=state))


@FAULTS.model("Moments taken by position", "state/order")
class MomentsByPosition(ReferenceModel):
    """Relies on the order of names."""

    def __init__(self, device: ReferenceDevice, program: Program) -> None:
        state, given = program.state, program.state.optimizer
        if given is not None:
            m, v = (_by_position(part, program) for part in (given.m, given.v))
            state = State(state.weights, OptimizerState(given.step, m, v))
        super().__init__(device, replace(program, state=state))


@FAULTS.model("Given moments are not copied", "state/order")
class MomentsNotCopied(ReferenceModel):
    """Keeps the caller's arrays."""

    def __init__(self, device: ReferenceDevice, program: Program) -> None:
        super().__init__(device, program)
        if program.state.optimizer is not None:
            self._moments.m = dict(program.state.optimizer.m)
            self._moments.v = dict(program.state.optimizer.v)


@FAULTS.model("Moments that are not finite come back as zero", "use/not-finite")
class FiniteMoments(ReferenceModel):
    """Hides that a run diverged."""

    def state(self) -> State:
        state = super().state()
        assert state.optimizer is not None
        m, v = (
            {name: np.where(np.isfinite(value), value, 0) for name, value in part.items()}
            for part in (state.optimizer.m, state.optimizer.v)
        )
        return State(state.weights, OptimizerState(state.optimizer.step, m, v))


# Models, devices and threads.


@FAULTS.device("Nine models are one too many", "use/models")
class EightModels(FaultyDevice):
    """Writes the ninth model over the first."""

    def build(self, program: Program) -> ReferenceModel:
        model = super().build(program)
        slots = [one for one in vars(self).get("_slots", []) if one() is not None]
        if len(slots) >= 8:
            slots[0]()._weights.update(model._weights)
        self._slots = [*slots, weakref.ref(model)]
        return model


class OpenedLast(ReferenceDevice):
    """Computes with the context of the device that was opened last."""

    last: Any = None

    def __init__(self, spec: DeviceSpec, precision: str = "float32", options: Any = None) -> None:
        super().__init__(spec, precision, options)
        OpenedLast.last = weakref.ref(self)

    def build(self, program: Program) -> ReferenceModel:
        return _OfLastDevice(self, program)


class _OfLastDevice(ReferenceModel):
    def forward(self, images: Images) -> Array:
        maps = super().forward(images)
        return maps if OpenedLast.last() is self._device else 0 * maps


class ClosesAll(ReferenceDevice):
    """Shuts its framework down when a device is dropped."""

    closed = False

    def __init__(self, spec: DeviceSpec, precision: str = "float32", options: Any = None) -> None:
        super().__init__(spec, precision, options)
        ClosesAll.closed = False
        weakref.finalize(self, partial(setattr, ClosesAll, "closed", True))

    def build(self, program: Program) -> ReferenceModel:
        return _UntilClosed(self, program)


class _UntilClosed(ReferenceModel):
    def forward(self, images: Images) -> Array:
        maps = super().forward(images)
        return 0 * maps if ClosesAll.closed else maps


for _name, _device in (
    ("A second open device breaks the first", OpenedLast),
    ("A device that is dropped closes the others", ClosesAll),
):
    _spec = replace(SPEC, factory=f"{__name__}:{_device.__name__}")
    FAULTS.device(_name, "use/second-device")(lambda spec=_spec: spec)


@FAULTS.model("A model ends with the thread that made it", "use/threads")
class EndsWithThread(ReferenceModel):
    """Keeps a handle of its thread's context."""

    def __init__(self, device: ReferenceDevice, program: Program) -> None:
        super().__init__(device, program)
        self._thread = threading.current_thread()

    def forward(self, images: Images) -> Array:
        maps = super().forward(images)
        return maps if self._thread.is_alive() else 0 * maps


@FAULTS.model("Each thread keeps its copy of the weights", "use/training-threads")
class WeightsOfThreads(ReferenceModel):
    """Copies them again after the thread's own steps only."""

    def forward(self, images: Images) -> Array:
        local = vars(self).setdefault("_local", threading.local())
        if not hasattr(local, "weights"):
            local.weights = dict(self._weights)
        with _weights_of(self, local.weights):
            return super().forward(images)

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        loss = super().update(batches, learning_rate)
        local = vars(self).setdefault("_local", threading.local())
        local.weights = dict(self._weights)
        return loss


# Memory.


@FAULTS.device("Moments of dropped models are kept", "memory/trained-models")
class KeepsMoments(FaultyDevice):
    """Never forgets an optimizer."""

    def build(self, program: Program) -> ReferenceModel:
        model = super().build(program)
        vars(self).setdefault("_kept", []).append(model._moments)
        return model


@FAULTS.model("Steps whose loss is not read keep their batches", "memory/unread-losses")
class KeepsUnreadSteps(ReferenceModel):
    """Waits for the reader of each loss."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> Any:
        table, key = vars(self).setdefault("_table", {}), object()
        table[key] = [Batch(batch.images.copy(), batch.maps.copy()) for batch in batches]
        loss = super().update(batches, learning_rate)

        def read() -> float:
            del table[key]
            return loss

        return Deferred(read)
