"""A device whose caller's arrays are compared before and after every call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from msinet_core.errors import PluginError
from msinet_core.network.state import state_arrays

if TYPE_CHECKING:
    from collections.abc import Iterator

    from msinet_core.conformance.comparison import Array
    from msinet_core.device import Device, Model
    from msinet_core.network.graph import Graph
    from msinet_core.network.state import Batch, State


def guarded(device: Device) -> Device:
    """Return a device that raises if it changes the arrays of its caller.

    The arrays are restored then, so that the oracle and later rows compute with the right ones.

    Args:
        device: The device.
    """
    return cast("Device", _GuardedDevice(device))


@contextmanager
def unchanged(call: str, arrays: Mapping[str, Array]) -> Iterator[None]:
    """Raise if the block changes arrays, and restore them.

    Args:
        call: What the block calls, for the message.
        arrays: By name.

    Raises:
        PluginError: Names the arrays.
    """
    before = {name: array.copy() for name, array in arrays.items()}
    yield
    changed = [
        name for name, array in arrays.items() if not np.array_equal(array, before[name], True)
    ]
    for name in changed:
        arrays[name][...] = before[name]
    if changed:
        raise PluginError(f"{call} changed the caller's arrays: {', '.join(changed)}.")


class _GuardedDevice:
    def __init__(self, device: Device) -> None:
        self._device = device

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)

    def compile(self, graph: Graph, state: State, **training: Any) -> Model:
        with unchanged("Device.compile", state_arrays(state)):
            model = self._device.compile(graph, state, **training)
        return cast("Model", _GuardedModel(model))


class _GuardedModel:
    def __init__(self, model: Model) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def predict(self, images: Array) -> Any:
        with unchanged("Model.predict", {"images": images}):
            return self._model.predict(images)

    def eval_step(self, batch: Batch) -> Any:
        with unchanged("Model.eval_step", batch._asdict()):
            return self._model.eval_step(batch)

    def train_step(self, batches: Sequence[Batch], learning_rate: float) -> Any:
        arrays = {
            f"{name} of batch {index}": array
            for index, batch in enumerate(batches)
            for name, array in batch._asdict().items()
        }
        with unchanged("Model.train_step", arrays):
            return self._model.train_step(batches, learning_rate)
