"""Call a device in any order, and compare every result with the oracle.

A failed row of the group ``calls`` prints a short script that repeats it::

    from msinet_core import Walk

    walk = Walk("mydev")
    walk.compile(model="a", graph="plain", seed=1)
    walk.train(model="a", shapes=[(2, 8, 10)], seed=2, rate=0.01, later=3)
    walk.predict(model="a", shape=(2, 8, 10), seed=4)
    walk.read(result=3)
    walk.finish()
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from msinet_core.conformance.cases import chain, random_weights
from msinet_core.conformance.comparison import Array, Outcome, compare
from msinet_core.conformance.scenario import Subject, open_subject
from msinet_core.conformance.states import same_moments, same_movement, same_state
from msinet_core.device import Model
from msinet_core.errors import PluginError
from msinet_core.network.adam import Adam
from msinet_core.network.graph import Graph
from msinet_core.network.loss import KLDivergence
from msinet_core.network.ops import (
    Conv2D,
    Coordinates,
    MaxPool2D,
    MinMaxNormalize,
    Op,
    Resize,
    SubtractMean,
)
from msinet_core.network.state import Batch, State
from msinet_core.registry.registry import load_registry

Shape = tuple[int, int, int]
"""``(N, H, W)``."""

Use = Literal["predict", "evaluate", "train"]

OPTIMIZERS: Mapping[str, Adam] = {
    "usual": Adam(),
    "other": Adam(beta_1=0.7, beta_2=0.95, epsilon=1e-3),
}

LOSSES: Mapping[str, KLDivergence] = {
    "usual": KLDivergence(),
    "other": KLDivergence(epsilon=0.01),
}


_LIFTED = SubtractMean((-8.0,))
"""Keeps maps above zero, where the loss is smooth and rounding does not decide."""


def _graph(
    filters: int = 4, coordinates: Coordinates = "asymmetric", end: Op = _LIFTED, **second: Any
) -> Graph:
    return chain(
        first=Conv2D(filters),
        pool=MaxPool2D(),
        second=Conv2D(filters, **second),
        resize=Resize(2, coordinates),
        last=Conv2D(1, activation="linear"),
        end=end,
    )


GRAPHS: Mapping[str, Graph] = {
    "plain": _graph(),
    # The same names and shapes as "plain", but other attributes.
    "other": _graph(activation="linear", coordinates="half_pixel"),
    # The same names as "plain", but other shapes.
    "wide": _graph(filters=6),
    "dilated": _graph(dilation=2),
    "normalized": _graph(end=MinMaxNormalize()),
}
"""Small graphs by name."""


class DisagreementError(PluginError):
    """Report a result that differs from the oracle's.

    Args:
        outcome: The difference.
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


@dataclass
class _Twins:
    """One model on the device and on the oracle.

    Args:
        graph: Its graph.
        given: The state that the device's model was compiled with.
        start: The weights that its movement is measured from.
        device: The device's model.
        oracle: The oracle's model.
        training: The loss and the optimizer that it has.
        steps: The training steps since `given`.
    """

    graph: Graph
    given: State
    start: State
    device: Model
    oracle: Model
    training: Mapping[str, Any]
    steps: int = 0


@dataclass
class _Pending:
    """A result that was not read yet.

    Args:
        name: For messages.
        result: Maps, losses, or the loss of a step, which is read with `float`.
        expected: The oracle's.
        tolerance: The largest difference that passes.
        given: The arrays that the device was called with.
        copies: Their right values.
    """

    name: str
    result: Any
    expected: Array
    tolerance: float
    given: Sequence[Array]
    copies: Sequence[Array]

    def read(self) -> Array:
        """Wait for the result."""
        if self.expected.ndim:
            return np.asarray(self.result)
        return np.asarray(float(self.result), np.float32)


class Walk:
    """Make the same calls on a device and on the oracle; any difference is an exception.

    Args:
        device: The name of a device, or a subject of the kit.
        precision: The precision; None for float32 if the device supports it.
        options: The device options.
    """

    def __init__(
        self,
        device: str | Subject,
        precision: str | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        if isinstance(device, str):
            device = open_subject(load_registry(in_process=True).spec(device), precision, options)
        self._subject = device
        self._models: dict[str, _Twins] = {}
        self._pending: dict[int | None, _Pending] = {}
        self._read: list[tuple[_Pending, Array]] = []
        self._states: list[tuple[str, State, State]] = []

    def is_possible(self, method: str, arguments: Mapping[str, Any]) -> bool:
        """Whether the model or result that a call is about exists.

        Args:
            method: The name of a method.
            arguments: Its arguments.
        """
        if method in ("compile", "finish"):
            return True
        if method == "read":
            return arguments["result"] in self._pending
        twins = self._models.get(arguments.get("source", arguments["model"]))
        needed = {"train": "optimizer", "evaluate": "loss"}.get(method)
        return twins is not None and (needed is None or needed in twins.training)

    def compile(
        self,
        model: str,
        graph: str,
        seed: int,
        use: Use = "train",
        loss: str = "usual",
        optimizer: str = "usual",
    ) -> None:
        """Compile a model; one of the same name is dropped.

        Args:
            model: A name for it.
            graph: A key of `GRAPHS`.
            seed: Of the weights.
            use: What it is for.
            loss: A key of `LOSSES`.
            optimizer: A key of `OPTIMIZERS`.
        """
        state = State(random_weights(GRAPHS[graph], seed))
        training: dict[str, Any] = {"loss": LOSSES[loss]} if use != "predict" else {}
        training |= {"optimizer": OPTIMIZERS[optimizer]} if use == "train" else {}
        self._compile(model, GRAPHS[graph], state, state, state, training)

    def restore(self, model: str, source: str) -> None:
        """Compile a model from the state of another one.

        Args:
            model: A name for it; may be that of the source.
            source: The other model.
        """
        twins = self._models[source]
        given, right = self.state(source), twins.oracle.state()
        self._compile(model, twins.graph, given, right, twins.start, twins.training)

    def _compile(
        self,
        model: str,
        graph: Graph,
        given: State,
        right: State,
        start: State,
        training: Mapping[str, Any],
    ) -> None:
        oracle = self._subject.oracle.compile(graph, right, **training)
        device = self._subject.device.compile(graph, given, **training)
        self._models[model] = _Twins(graph, given, start, device, oracle, training)

    def drop(self, model: str) -> None:
        """Forget a model.

        Args:
            model: Its name.
        """
        del self._models[model]

    def predict(self, model: str, shape: Shape, seed: int, later: int | None = None) -> None:
        """Predict random images.

        Args:
            model: The model.
            shape: ``(N, H, W)``.
            seed: Of the images.
            later: A number to read the result by; None to read it now.
        """
        twins = self._models[model]
        images, _ = self._batch(twins, shape, seed)
        expected = np.array(twins.oracle.predict(images))
        given = _device_copy(images, seed)
        result = twins.device.predict(given)
        self._add(f"The prediction of model {model}", result, expected, "network", [given], later)

    def evaluate(self, model: str, shape: Shape, seed: int, later: int | None = None) -> None:
        """Compute the losses of random images.

        Args:
            model: The model.
            shape: ``(N, H, W)``.
            seed: Of the images and maps.
            later: A number to read the result by; None to read it now.
        """
        twins = self._models[model]
        batch = self._batch(twins, shape, seed)
        expected = np.array(twins.oracle.eval_step(batch))
        given = Batch(*(_device_copy(array, seed) for array in batch))
        result = twins.device.eval_step(given)
        self._add(f"The losses of model {model}", result, expected, "steps", given, later)

    def train(
        self, model: str, shapes: Sequence[Shape], seed: int, rate: float, later: int | None = None
    ) -> None:
        """Make one training step.

        Args:
            model: The model.
            shapes: ``(N, H, W)`` of each batch; N may be 0 in some of them.
            seed: Of the images and maps.
            rate: The learning rate.
            later: A number to read the loss by; None to read it now.
        """
        twins = self._models[model]
        batches = [self._batch(twins, shape, seed + index) for index, shape in enumerate(shapes)]
        given = [Batch(*(_device_copy(array, seed) for array in batch)) for batch in batches]
        expected = np.array(float(twins.oracle.train_step(batches, rate)))
        twins.steps += 1
        result = twins.device.train_step(given, rate)
        arrays = [array for batch in given for array in batch]
        self._add(f"The loss of a step of model {model}", result, expected, "steps", arrays, later)

    def read(self, result: int | None) -> None:
        """Read a result.

        Args:
            result: Its number.
        """
        pending = self._pending.pop(result)
        actual = pending.read()
        self._require(compare(actual, pending.expected, pending.tolerance), pending.name)
        for given, copy in zip(pending.given, pending.copies, strict=True):
            if not np.array_equal(given, copy):
                reason = "After the result was read, the caller's arrays had changed."
                self._require(Outcome(np.inf, 0.0, reason), pending.name)
            if given.flags.writeable:
                given[...] = np.nan  # the caller may reuse its arrays now
        self._read.append((pending, actual.copy()))

    def state(self, model: str) -> State:
        """Compare a model's state, and return it.

        Args:
            model: The model.
        """
        twins, subject = self._models[model], self._subject
        state = twins.device.state()
        copy = deepcopy(state)
        name = f"The state of model {model}"
        if not twins.steps:
            given = twins.given if "optimizer" in twins.training else State(twins.given.weights)
            self._require(same_state(state, given), name)
        else:
            right = twins.oracle.state()
            tolerances = subject.tolerances
            self._require(same_movement(twins.start, state, right, tolerances.update), name)
            self._require(
                same_moments(state.optimizer, right.optimizer, tolerances.network_gradient), name
            )
        self._states.append((name, state, copy))
        return state

    def finish(self) -> None:
        """Read what is unread, read everything again, and compare every state."""
        for result in tuple(self._pending):
            self.read(result)
        for model in self._models:
            self.state(model)
        for pending, before in self._read:
            if not np.array_equal(pending.read(), before):
                reason = "Read again after later calls, it has changed."
                self._require(Outcome(np.inf, 0.0, reason), pending.name)
        for name, state, copy in self._states:
            outcome = same_state(state, copy)
            self._require(replace(outcome, reason="It changed after later calls."), name)

    def _batch(self, twins: _Twins, shape: Shape, seed: int) -> Batch:
        random = np.random.default_rng(seed)
        count, height, width = shape
        images = random.uniform(-1, 1, (count, height, width, 3)).astype(np.float32)
        maps = random.uniform(0, 1, twins.graph.shapes(images.shape)[twins.graph.output.name])
        return Batch(images, maps.astype(np.float32))

    def _add(
        self,
        name: str,
        result: Any,
        expected: Array,
        measure: str,
        given: Sequence[Array],
        later: int | None,
    ) -> None:
        tolerance = getattr(self._subject.tolerances, measure)
        copies = [array.copy() for array in given]
        self._pending[later] = _Pending(name, result, expected, tolerance, given, copies)
        if later is None:
            self.read(None)

    def _require(self, outcome: Outcome, name: str) -> None:
        if not outcome.passed:
            raise DisagreementError(replace(outcome, reason=f"{name}: {outcome.reason}"))


def _device_copy(array: Array, seed: int) -> Array:
    """Return a copy for the device, read-only for every third seed."""
    array = array.copy()
    array.flags.writeable = seed % 3 != 0
    return array
