"""Rows about circumstances: how often, when and from which thread a device is called."""

from __future__ import annotations

import contextlib
import gc
import os
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from msinet_core.conformance.cases import Case
from msinet_core.conformance.comparison import Array, Outcome, compare, compare_all, worst
from msinet_core.conformance.process import captured_output, settings, unusual_settings
from msinet_core.conformance.scenario import Rows, Subject
from msinet_core.conformance.scenarios.forward import small_network
from msinet_core.conformance.scenarios.inputs import linear_network, same_maps
from msinet_core.conformance.scenarios.memory import only_new_garbage
from msinet_core.conformance.states import same_movement
from msinet_core.device import Model
from msinet_core.network.adam import Adam
from msinet_core.network.loss import KLDivergence
from msinet_core.network.state import Batch, State

ROWS = Rows()

MANY = 40
"""Results that are unread at the same time."""

IDLE_SECONDS = 1.1
"""How long a device waits for the next call, or a result to be read."""

STEPS = 300

MODELS = 12
"""That are used in turn."""


@ROWS.row("use/many-steps", "update", "training")
def _many_steps(subject: Subject) -> Outcome:
    """The movement and the losses of 300 small steps, whose learning rate falls by a five-hundredth
    each, match the reference.
    """
    case = Case(linear_network(), (1, 4, 6))
    device, oracle = subject.compile(case.graph, case.state, KLDivergence(), Adam())
    losses, expected = [], []
    for step in range(STEPS):
        rate = 1e-3 * 0.998**step
        images = case.images * np.float32(1 - step / (2 * STEPS))
        batch = Batch(images, case.batch.maps)
        expected.append(oracle.train_step([batch], rate))
        losses.append(device.train_step([batch], rate))
    read, right = (
        np.array([float(one) for one in each], np.float32) for each in (losses, expected)
    )
    moved = same_movement(case.state, device.state(), oracle.state(), subject.tolerances.update)
    return worst(moved, compare(read, right, subject.tolerances.steps))


@ROWS.row("use/many-predictions", "convolution")
def _many_predictions(subject: Subject) -> Outcome:
    """After 300 predictions, the next one is still right."""
    case = Case(linear_network(), (1, 4, 6))
    device, oracle = subject.compile(case.graph, case.state)
    for _ in range(STEPS):
        np.asarray(device.predict(case.images))
    return same_maps(subject, device, oracle, later_images=case.images)


@ROWS.row("use/unread", "convolution")
def _unread(subject: Subject) -> Outcome:
    """Forty results may be read late: after their images are gone and a garbage collection, and in
    another thread.
    """
    case = Case(linear_network(), (2, 4, 6))
    device, oracle = subject.compile(case.graph, case.state)
    factors = [np.float32(1 + index / MANY) for index in range(MANY)]
    results = [device.predict(case.images * factor) for factor in factors]
    gc.collect()
    time.sleep(IDLE_SECONDS)
    with ThreadPoolExecutor(1) as pool:
        read = [np.asarray(result) for result in results[: MANY // 2]]
        read += pool.map(np.asarray, results[MANY // 2 :])
    pairs: dict[str, tuple[Any, Array]] = {
        f"Result {index}": (actual, np.asarray(oracle.predict(case.images * factor)))
        for index, (actual, factor) in enumerate(zip(read, factors, strict=True))
    }
    pairs["A prediction after a pause"] = device.predict(case.images), pairs["Result 0"][1]
    return compare_all(pairs, subject.tolerances.convolution)


@ROWS.row("use/unread-losses", "steps", "training")
def _unread_losses(subject: Subject) -> Outcome:
    """The losses of 40 steps, and of 40 evaluations of arrays that are gone, may wait to be read.

    They keep their order.
    """
    case = Case(linear_network(), (2, 4, 6))
    device, oracle = subject.compile(case.graph, case.state, KLDivergence(), Adam())
    losses = [device.train_step([case.batch], 0.01) for _ in range(MANY)]
    expected = [float(oracle.train_step([case.batch], 0.01)) for _ in range(MANY)]
    read = np.array([float(loss) for loss in losses], np.float32)
    pairs: dict[str, tuple[Any, Array]] = {
        "The losses of steps": (read, np.array(expected, np.float32))
    }
    factors = [np.float32(1 - index / (2 * MANY)) for index in range(MANY)]
    evaluated = [
        [model.eval_step(Batch(case.images * f, case.batch.maps * f)) for f in factors]
        for model in (device, oracle)
    ]
    for index, (actual, right) in enumerate(zip(*evaluated, strict=True)):
        pairs[f"The losses of evaluation {index}"] = actual, np.asarray(right)
    return compare_all(pairs, subject.tolerances.steps)


@ROWS.row("use/models", "convolution")
def _models(subject: Subject) -> Outcome:
    """Twelve models of one graph keep their own weights."""
    case = Case(linear_network(), (2, 8, 12))
    pairs: dict[str, tuple[Any, Array]] = {}
    models = []
    for index in range(MODELS):
        factor = np.float32(1 + index / 4)
        weights = {name: weight * factor for name, weight in case.state.weights.items()}
        models.append(subject.compile(case.graph, State(weights)))
    for index, (device, oracle) in enumerate(models):
        expected = np.asarray(oracle.predict(case.images))
        pairs[f"The map of model {index}"] = np.array(device.predict(case.images)), expected
    return compare_all(pairs, subject.tolerances.convolution)


@ROWS.row("use/second-device", "convolution")
def _second_device(subject: Subject) -> Outcome:
    """The device may be opened twice; dropping one leaves the other alone."""
    case = Case(linear_network(), (2, 8, 12))
    model, oracle = subject.compile(case.graph, case.state)
    other = subject.spec.open(subject.device.precision, subject.options)
    others = other.compile(case.graph, case.state)
    expected = np.asarray(oracle.predict(case.images))
    pairs: dict[str, tuple[Any, Array]] = {
        "The map of the second device": (np.array(others.predict(case.images)), expected),
        "The map of the first device": (np.array(model.predict(case.images)), expected),
    }
    del other, others
    gc.collect()
    pairs["The map of the first device, alone again"] = model.predict(case.images), expected
    return compare_all(pairs, subject.tolerances.convolution)


@ROWS.row("use/threads", "convolution")
def _threads(subject: Subject) -> Outcome:
    """Another thread may use a model, and make one that lives on after the thread."""
    case = Case(small_network(), (2, 8, 12))
    device, oracle = subject.compile(case.graph, case.state)

    def in_thread() -> tuple[Model, Array, Array]:
        other = subject.device.compile(case.graph, case.state)
        return other, np.array(device.predict(case.images)), np.array(other.predict(case.images))

    with ThreadPoolExecutor(1) as pool:
        other, used, made = pool.submit(in_thread).result()
    expected = np.asarray(oracle.predict(case.images))
    pairs = {
        "A model of the main thread": (used, expected),
        "A model of the other thread": (made, expected),
        "A model of a thread that has ended": (np.array(other.predict(case.images)), expected),
    }
    return compare_all(pairs, subject.tolerances.convolution)


@ROWS.row("use/training-threads", "update", "training")
def _training_threads(subject: Subject) -> Outcome:
    """Another thread may train and evaluate a model, read its state, and see each step."""
    case = Case(linear_network(), (2, 4, 6))
    models = subject.compile(case.graph, case.state, KLDivergence(), Adam())

    def use(model: Model) -> tuple[State, Array]:
        for _ in range(2):
            float(model.train_step([case.batch], 1e-3))
        return model.state(), np.asarray(model.eval_step(case.batch))

    with ThreadPoolExecutor(1) as pool:
        state, losses = pool.submit(use, models[0]).result()
        expected, right = use(models[1])
        for model in models:
            float(model.train_step([case.batch], 0.1))
        seen = pool.submit(lambda: np.array(models[0].predict(case.images))).result()
    moved = same_movement(case.state, state, expected, subject.tolerances.update)
    map = np.asarray(models[1].predict(case.images))
    return worst(
        moved,
        compare(losses, right, subject.tolerances.steps),
        compare(seen, map, subject.tolerances.network),
    )


@ROWS.row("use/side-effects", "bits")
def _side_effects(subject: Subject) -> Outcome:
    """Computing prints nothing, starts no thread for each model, writes no file into the current
    folder, and leaves random numbers, signal handlers, warnings, loggers, the garbage collector,
    NumPy's and Python's settings and the environment alone.
    """
    case = Case(linear_network(), (2, 8, 12))
    training: dict[str, Any] = {}
    if subject.spec.capabilities.training:
        training = {"loss": KLDivergence(), "optimizer": Adam()}

    def compute() -> None:
        model = subject.device.compile(case.graph, case.state, **training)
        if training:
            float(model.train_step([case.batch], 1e-3))
        np.asarray(model.predict(case.images))
        gc.collect()

    with only_new_garbage():
        with _temporary_folder(), unusual_settings():
            compute()  # a first model may start what the device keeps
        with _temporary_folder(), unusual_settings(), captured_output() as printed:
            before = _surroundings()
            for _ in range(2):
                compute()
            after = _surroundings()
    changed = [name for name, value in before.items() if after[name] != value]
    changed += ["standard output"] if printed else []
    reason = f"Changed: {', '.join(changed)}." if changed else ""
    return Outcome(float(len(changed)), 0.0, reason)


def _surroundings() -> dict[str, Any]:
    return {
        **settings(),
        "the handling of warnings": list(warnings.filters),
        "the current folder": os.getcwd(),  # noqa: PTH109
        "the files in it": [path.name for path in Path.cwd().iterdir()],
        "the number of Python's threads": threading.active_count(),
    }


@contextlib.contextmanager
def _temporary_folder() -> Iterator[None]:
    """Change to an empty folder, so that a device leaves no file in the user's."""
    folder = Path.cwd()
    with tempfile.TemporaryDirectory() as temporary:
        os.chdir(temporary)
        try:
            yield
        finally:
            os.chdir(folder)
