"""Rows about calls in any order: seeded random walks, shortened when they fail."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from msinet_core.conformance.comparison import Outcome
from msinet_core.conformance.scenario import Rows, Subject
from msinet_core.conformance.walk import GRAPHS, DisagreementError, Shape, Walk
from msinet_core.device import Capabilities
from msinet_core.registry.diagnosis import describe_failure

ROWS = Rows()

SHAPES: tuple[Shape, ...] = (
    (2, 8, 10),
    (1, 8, 10),
    (5, 8, 10),
    (2, 10, 8),
    (1, 16, 10),
    (4, 6, 14),
    (8, 4, 6),
)
"""Some have equally many values, some differ in one axis only."""

SECONDS_TO_SHORTEN = 30.0
"""The time limit for shortening a failed walk; it is then printed as it stands."""


@dataclass(frozen=True)
class Call:
    """One call of a `Walk`.

    Args:
        method: The name of the method.
        arguments: Its arguments.
    """

    method: str
    arguments: Mapping[str, Any]

    def __str__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"walk.{self.method}({arguments})"

    def simpler(self) -> Iterator[Call]:
        """Yield variants that do less."""
        if "later" in self.arguments:
            fewer = {name: value for name, value in self.arguments.items() if name != "later"}
            yield replace(self, arguments=fewer)
        shapes = self.arguments.get("shapes", ())
        for index in range(len(shapes)) if len(shapes) > 1 else ():
            fewer = {"shapes": [*shapes[:index], *shapes[index + 1 :]]}
            yield replace(self, arguments={**self.arguments, **fewer})


class _CallGenerator:
    """Write a random walk.

    Args:
        seed: Any integer.
        capabilities: What the device can do.
        trains: Whether to train.
    """

    def __init__(self, seed: int, capabilities: Capabilities, trains: bool) -> None:
        self._random = random.Random(seed)
        self._trains = trains
        self._graphs = [
            name
            for name in GRAPHS
            if not trains
            or (name != "normalized" and (name != "dilated" or capabilities.dilated_gradient))
        ]
        self._any_shape = capabilities.dynamic_shapes
        self._models: dict[str, tuple[str, Shape]] = {}
        self._unread: list[int] = []
        self._seed = 0

    def calls(self, count: int) -> list[Call]:
        """Write a walk of so many calls, and `Walk.finish`.

        Args:
            count: The number of calls.
        """
        calls = [self._compile("a"), self._compile("b")]
        while len(calls) < count:
            calls.append(self._next())
        return [*calls, Call("finish", {})]

    def _next(self) -> Call:
        weights = {"predict": 15, "compile": 1, "restore": 1, "drop": 1, "state": 2, "read": 8}
        if self._trains:
            weights |= {"train": 15, "evaluate": 8, "state": 5}
        kind = self._random.choices(list(weights), list(weights.values()))[0]
        if kind == "read" and self._unread:
            index = self._random.randrange(len(self._unread))
            return Call("read", {"result": self._unread.pop(index)})
        if kind == "compile" or not self._models:
            return self._compile(self._random.choice("abcd"))
        model = self._random.choice(list(self._models))
        use, shape = self._models[model]
        if kind == "drop" and len(self._models) > 2:
            del self._models[model]
            return Call("drop", {"model": model})
        if kind == "restore":
            target = self._random.choice("abcd")
            self._models[target] = (use, shape)
            return Call("restore", {"model": target, "source": model})
        if kind == "state":
            return Call("state", {"model": model})
        if kind == "train" and use == "train":
            return self._train(model, shape)
        if kind == "evaluate" and use != "predict":
            return self._call("evaluate", model, shape)
        return self._call("predict", model, shape)

    def _compile(self, model: str) -> Call:
        use = "predict"
        arguments: dict[str, Any] = {"model": model, "graph": self._random.choice(self._graphs)}
        arguments["seed"] = self._new_seed()
        if self._trains:
            use = self._random.choice(["train", "train", "train", "evaluate"])
            for name in ("loss", "optimizer"):
                if self._random.random() < 0.3:
                    arguments[name] = "other"
        if use != "train":
            arguments["use"] = use
        self._models[model] = (use, self._random.choice(SHAPES))
        return Call("compile", arguments)

    def _call(self, method: str, model: str, shape: Shape) -> Call:
        if self._any_shape:
            shape = self._random.choice(SHAPES)
        arguments = {"model": model, "shape": shape, "seed": self._new_seed()}
        return Call(method, arguments | self._later())

    def _train(self, model: str, shape: Shape) -> Call:
        count = self._random.choice([1, 1, 1, 2, 3])
        shapes = [shape] * count
        if self._any_shape:
            first = self._random.choice(SHAPES)
            equal = self._random.random() < 0.5
            shapes = [first if equal else self._random.choice(SHAPES) for _ in range(count)]
        arguments = {"model": model, "shapes": shapes, "seed": self._new_seed()}
        arguments["rate"] = self._random.choice([0.01, 0.003, 0.001, 0.0])
        return Call("train", arguments | self._later())

    def _later(self) -> dict[str, int]:
        if len(self._unread) > 3 or self._random.random() < 0.5:
            return {}
        self._unread.append(self._new_seed())
        return {"later": self._unread[-1]}

    def _new_seed(self) -> int:
        self._seed += 1
        return self._seed


def run_calls(subject: Subject, calls: Sequence[Call]) -> Outcome | None:
    """Make calls on a fresh walk; calls whose model or result does not exist are skipped.

    Args:
        subject: The device.
        calls: The calls.

    Returns:
        The first difference, or None if there is none.
    """
    walk = Walk(subject)
    for call in calls:
        if not walk.is_possible(call.method, call.arguments):
            continue
        try:
            getattr(walk, call.method)(**call.arguments)
        except DisagreementError as error:
            return error.outcome
        except Exception as error:  # any failure of a third-party device is a finding
            return Outcome(np.inf, 0.0, describe_failure(error, subject.spec))
    return None


def shorten(subject: Subject, calls: Sequence[Call]) -> tuple[list[Call], Outcome]:
    """Remove calls from a failing walk as long as it fails.

    Args:
        subject: The device.
        calls: A walk that fails.

    Returns:
        The calls that are left, and their difference.
    """
    stop = time.monotonic() + SECONDS_TO_SHORTEN
    left, outcome = list(calls), run_calls(subject, calls)
    assert outcome is not None

    def still_fails(fewer: list[Call]) -> bool:
        nonlocal left, outcome
        found = None if time.monotonic() > stop else run_calls(subject, fewer)
        if found is not None:
            left, outcome = fewer, found
        return found is not None

    def remove(size: int) -> None:
        for start in range(len(left) - size, -size, -size):
            still_fails(left[: max(0, start)] + left[start + size :])

    size = len(left) // 2
    while size:
        remove(size)
        size //= 2
    for index in range(len(left)):
        for variant in left[index].simpler():
            if still_fails([*left[:index], variant, *left[index + 1 :]]):
                break
    remove(1)  # calls that the simpler ones made superfluous
    return left, outcome


def script(subject: Subject, calls: Sequence[Call]) -> str:
    """Return calls as a script that the author of a device can run.

    Args:
        subject: The device.
        calls: The calls.
    """
    arguments = [repr(subject.spec.name), repr(subject.device.precision)]
    if subject.options:
        arguments.append(repr(subject.options))
    lines = [
        "from msinet_core import Walk",
        f"walk = Walk({', '.join(arguments)})",
        *map(str, calls),
    ]
    return "\n".join(lines)


def _walk(subject: Subject, seed: int, count: int, trains: bool = True) -> Outcome:
    calls = _CallGenerator(seed, subject.spec.capabilities, trains).calls(count)
    outcome = run_calls(subject, calls)
    if outcome is None:
        return Outcome(0.0, 0.0)
    calls, outcome = shorten(subject, calls)
    return replace(outcome, reason=f"{outcome.reason}\nTo repeat it:\n{script(subject, calls)}")


@ROWS.row("calls/predictions", "network")
def _predictions(subject: Subject) -> Outcome:
    """Predictions of several models, sizes and batches, read in any order, match the reference."""
    return _walk(subject, seed=1, count=150, trains=False)


@ROWS.row("calls/training", "update", "training")
def _training(subject: Subject) -> Outcome:
    """Training, evaluation, prediction, states and restored models, in any order, match."""
    return _walk(subject, seed=2, count=200)


@ROWS.row("calls/long", "update", "training", slow=True)
def _long(subject: Subject) -> Outcome:
    """As calls/training, with 500 calls."""
    return _walk(subject, seed=3, count=500)
