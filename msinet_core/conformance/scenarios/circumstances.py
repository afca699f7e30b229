"""Rows about circumstances: how often, when and from which thread a device is called."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import signal
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
from msinet_core.conformance.scenario import Rows, Subject
from msinet_core.conformance.scenarios.forward import small_network
from msinet_core.conformance.scenarios.inputs import linear_network, same_maps
from msinet_core.conformance.scenarios.memory import only_new_garbage
from msinet_core.conformance.states import same_movement
from msinet_core.device import Model
from msinet_core.network.adam import Adam
from msinet_core.network.loss import KLDivergence
from msinet_core.network.state import State

ROWS = Rows()

MANY = 24
"""Results that are unread at the same time."""

IDLE_SECONDS = 1.1
"""How long a device waits for the next call, or a result to be read."""

STEPS = 150


@ROWS.row("use/many-steps", "update", "training")
def _many_steps(subject: Subject) -> Outcome:
    """The movement of 150 small steps matches the reference."""
    case = Case(linear_network(), (1, 4, 6))
    device, oracle = subject.compile(case.graph, case.state, KLDivergence(), Adam())
    for _ in range(STEPS):
        oracle.train_step([case.batch], 1e-3)
        loss = device.train_step([case.batch], 1e-3)
    float(loss)
    return same_movement(case.state, device.state(), oracle.state(), subject.tolerances.update)


@ROWS.row("use/many-predictions", "convolution")
def _many_predictions(subject: Subject) -> Outcome:
    """After 300 predictions, the next one is still right."""
    case = Case(linear_network(), (1, 4, 6))
    device, oracle = subject.compile(case.graph, case.state)
    for _ in range(2 * STEPS):
        np.asarray(device.predict(case.images))
    return same_maps(subject, device, oracle, later_images=case.images)


@ROWS.row("use/unread", "convolution")
def _unread(subject: Subject) -> Outcome:
    """Twenty-four results may be read late: after a garbage collection, and in another thread."""
    case = Case(linear_network(), (2, 4, 6))
    device, oracle = subject.compile(case.graph, case.state)
    batches = [case.images * np.float32(1 + index / MANY) for index in range(MANY)]
    results = [device.predict(batch) for batch in batches]
    gc.collect()
    time.sleep(IDLE_SECONDS)
    with ThreadPoolExecutor(1) as pool:
        read = [np.asarray(result) for result in results[: MANY // 2]]
        read += pool.map(np.asarray, results[MANY // 2 :])
    pairs: dict[str, tuple[Any, Array]] = {
        f"Result {index}": (actual, np.asarray(oracle.predict(batch)))
        for index, (actual, batch) in enumerate(zip(read, batches, strict=True))
    }
    pairs["A prediction after a pause"] = device.predict(case.images), pairs["Result 0"][1]
    return compare_all(pairs, subject.tolerances.convolution)


@ROWS.row("use/unread-losses", "steps", "training")
def _unread_losses(subject: Subject) -> Outcome:
    """The losses of 24 steps may wait to be read, and keep their order."""
    case = Case(linear_network(), (2, 4, 6))
    device, oracle = subject.compile(case.graph, case.state, KLDivergence(), Adam())
    losses = [device.train_step([case.batch], 0.01) for _ in range(MANY)]
    expected = [float(oracle.train_step([case.batch], 0.01)) for _ in range(MANY)]
    read = np.array([float(loss) for loss in losses], np.float32)
    pair = (read, np.array(expected, np.float32))
    return compare_all({"The losses": pair}, subject.tolerances.steps)


@ROWS.row("use/threads", "convolution")
def _threads(subject: Subject) -> Outcome:
    """Another thread may use a model, and make its own."""
    case = Case(small_network(), (2, 8, 12))
    device, oracle = subject.compile(case.graph, case.state)

    def in_thread() -> tuple[Array, Array]:
        other = subject.device.compile(case.graph, case.state)
        return np.array(device.predict(case.images)), np.array(other.predict(case.images))

    with ThreadPoolExecutor(1) as pool:
        used, made = pool.submit(in_thread).result()
    expected = np.asarray(oracle.predict(case.images))
    pairs = {
        "A model of the main thread": (used, expected),
        "A model of the other thread": (made, expected),
    }
    return compare_all(pairs, subject.tolerances.convolution)


@ROWS.row("use/training-threads", "update", "training")
def _training_threads(subject: Subject) -> Outcome:
    """Another thread may train and evaluate a model, and read its state."""
    case = Case(linear_network(), (2, 4, 6))
    models = subject.compile(case.graph, case.state, KLDivergence(), Adam())

    def use(model: Model) -> tuple[State, Array]:
        for _ in range(2):
            float(model.train_step([case.batch], 1e-3))
        return model.state(), np.asarray(model.eval_step(case.batch))

    with ThreadPoolExecutor(1) as pool:
        state, losses = pool.submit(use, models[0]).result()
    expected, right = use(models[1])
    moved = same_movement(case.state, state, expected, subject.tolerances.update)
    return worst(moved, compare(losses, right, subject.tolerances.steps))


@ROWS.row("use/side-effects", "bits")
def _side_effects(subject: Subject) -> Outcome:
    """Computing prints nothing, starts no thread for each model, writes no file into the current
    folder, and leaves random numbers, signal handlers, warnings, NumPy's settings and the
    environment alone.
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

    printed = io.StringIO()
    with only_new_garbage():
        with _temporary_folder():
            compute()  # a first model may start what the device keeps
        with _unusual_settings(), contextlib.redirect_stdout(printed):
            before = _settings()
            for _ in range(2):
                compute()
            after = _settings()
    changed = [name for name, value in before.items() if after[name] != value]
    changed += ["standard output"] if printed.getvalue() else []
    reason = f"Changed: {', '.join(changed)}." if changed else ""
    return Outcome(float(len(changed)), 0.0, reason)


def _settings() -> dict[str, Any]:
    return {
        "NumPy's random numbers": np.random.get_state()[1].tobytes(),  # type: ignore[index]
        "NumPy's handling of errors": np.geterr(),
        "the handler of SIGINT": signal.getsignal(signal.SIGINT),
        "the handling of warnings": list(warnings.filters),
        "the environment variables": dict(os.environ),
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


@contextlib.contextmanager
def _unusual_settings() -> Iterator[None]:
    """Set what an earlier row may already have changed, and restore it."""
    state, handler = np.random.get_state(), signal.getsignal(signal.SIGINT)
    variables = dict(os.environ)
    is_main = threading.current_thread() is threading.main_thread()
    with _temporary_folder(), np.errstate(under="warn"), warnings.catch_warnings():
        np.random.seed(271_828)
        if is_main:
            signal.signal(signal.SIGINT, lambda number, frame: signal.default_int_handler(2, frame))
        warnings.resetwarnings()
        try:
            yield
        finally:
            if is_main:
                signal.signal(signal.SIGINT, handler)
            np.random.set_state(state)
            os.environ.clear()
            os.environ.update(variables)
