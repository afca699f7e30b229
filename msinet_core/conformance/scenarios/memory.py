"""Rows about memory: what is computed is released."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np
import psutil

from msinet_core.conformance.cases import MIX, Case, chain
from msinet_core.conformance.comparison import Outcome
from msinet_core.conformance.scenario import Rows, Subject
from msinet_core.conformance.tolerances import Tolerances
from msinet_core.network.graph import Graph
from msinet_core.network.loss import KLDivergence
from msinet_core.network.ops import Conv2D

ROWS = Rows()

MIB = 2**20

_MEASUREMENTS = 3


def resident_bytes() -> int:
    """Return the resident memory of this process.

    Memory that the allocator of glibc keeps for later is given back first, or what a device keeps
    could hide in it.
    """
    if sys.platform == "linux":
        with suppress(AttributeError):  # musl has none
            ctypes.CDLL(None).malloc_trim(0)
    return int(psutil.Process().memory_info().rss)


@contextmanager
def only_new_garbage() -> Iterator[None]:
    """Let `gc.collect` look at new objects alone: those of a framework take it a second."""
    was_frozen = gc.get_freeze_count() > 0  # by the caller, who keeps it
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        if not was_frozen:
            gc.unfreeze()


def _growth(call: Callable[[], object], warm_up: int, count: int, kept: float) -> Outcome:
    """Measure how much memory calls leave behind.

    An allocator may grow once in a long-lived process, which is measured again; what a device
    keeps grows each time.

    Args:
        call: Does something that should leave nothing behind.
        warm_up: Calls before the measurement.
        count: Calls in a measurement.
        kept: Bytes that each call would leave if the device kept what it computed.
    """
    with only_new_garbage():
        for _ in range(warm_up):
            call()
        for _ in range(_MEASUREMENTS):
            gc.collect()
            before = resident_bytes()
            for _ in range(count):
                call()
            gc.collect()
            grown = max(0, resident_bytes() - before)
            if grown <= Tolerances.memory * count * kept:
                break
    reason = (
        f"Memory grew by {grown / MIB:.1f} MiB in {count} calls, {grown / count:,.0f} bytes each."
    )
    return Outcome(grown / (count * kept), Tolerances.memory, reason)


def _copying(channels: int) -> Graph:
    return chain(only=Conv2D(channels, 1, activation="linear"))


@ROWS.row("memory/predictions", "memory")
def _predictions(subject: Subject) -> Outcome:
    """Predictions that were read and dropped leave no memory behind."""
    case = Case(_copying(3), (1, 256, 256))
    model = subject.device.compile(case.graph, case.state)
    return _growth(lambda: np.asarray(model.predict(case.images)), 5, 60, kept=case.images.nbytes)


@ROWS.row("memory/steps", "memory", "training")
def _steps(subject: Subject) -> Outcome:
    """Training steps leave no memory behind."""
    case = Case(_copying(1), (1, 256, 256), fixed={"only/bias": 5.0})
    model = subject.trained(case)
    batch = case.batch
    return _growth(lambda: float(model.train_step([batch], 1e-5)), 5, 60, kept=batch.images.nbytes)


@ROWS.row("memory/gradients", "memory", "training")
def _gradients(subject: Subject) -> Outcome:
    """Gradients of many weights leave no memory behind."""
    case = Case(chain(64, many=Conv2D(256), only=Conv2D(1)), (1, 3, 4))
    model = subject.trained(case)
    kept = 4 * case.graph.parameter_count
    return _growth(lambda: float(model.train_step([case.batch], 1e-5)), 5, 60, kept=kept)


@ROWS.row("memory/evaluations", "memory", "training")
def _evaluations(subject: Subject) -> Outcome:
    """Evaluations leave no memory behind."""
    case = Case(_copying(1), (1, 256, 256), fixed={"only/bias": 5.0})
    model = subject.device.compile(case.graph, case.state, loss=KLDivergence())
    batch = case.batch
    return _growth(lambda: np.asarray(model.eval_step(batch)), 5, 60, kept=batch.images.nbytes)


@ROWS.row("memory/unread", "memory")
def _unread(subject: Subject) -> Outcome:
    """Predictions that are dropped unread leave no memory behind."""
    case = Case(_copying(3), (1, 256, 256))
    model = subject.device.compile(case.graph, case.state)

    def drop_and_predict() -> None:
        for _ in range(3):
            model.predict(case.images)
        np.asarray(model.predict(case.images))  # the device may not run far ahead of its caller

    return _growth(drop_and_predict, 5, 20, kept=4 * case.images.nbytes)


@ROWS.row("memory/unread-losses", "memory", "training")
def _unread_losses(subject: Subject) -> Outcome:
    """Steps and evaluations whose losses are dropped unread leave no memory behind."""
    case = Case(_copying(1), (1, 256, 256), fixed={"only/bias": 5.0})
    model, batch = subject.trained(case), case.batch

    def drop_and_read() -> None:
        for _ in range(3):
            model.train_step([batch], 1e-5)
            model.eval_step(batch)
        float(model.train_step([batch], 1e-5))
        np.asarray(model.eval_step(batch))

    return _growth(drop_and_read, 5, 15, kept=3 * batch.images.nbytes)


@ROWS.row("memory/states", "memory")
def _states(subject: Subject) -> Outcome:
    """States that were dropped leave no memory behind."""
    case = Case(chain(64, only=Conv2D(256)), (1, 3, 4))
    model = subject.device.compile(case.graph, case.state)
    return _growth(model.state, 5, 60, kept=4 * case.graph.parameter_count)


@ROWS.row("memory/models", "memory")
def _models(subject: Subject) -> Outcome:
    """Models that were dropped leave no memory behind."""
    case = Case(chain(many=Conv2D(512, 1), only=Conv2D(512)), (1, 3, 4))

    def compile_and_predict() -> None:
        np.asarray(subject.device.compile(case.graph, case.state).predict(case.images))
        gc.collect()  # a compiled function that belongs to a model is a cycle

    return _growth(compile_and_predict, 3, 8, kept=4 * case.graph.parameter_count)


@ROWS.row("memory/trained-models", "memory", "training")
def _trained_models(subject: Subject) -> Outcome:
    """Models that were trained and dropped leave no moments behind."""
    case = Case(chain(many=Conv2D(512, 1), only=Conv2D(512), last=MIX), (1, 3, 4))

    def compile_and_train() -> None:
        float(subject.trained(case).train_step([case.batch], 1e-5))
        gc.collect()

    return _growth(compile_and_train, 3, 6, kept=8 * case.graph.parameter_count)


@ROWS.row("memory/soak", "memory", "training", soak=True)
def _soak(subject: Subject) -> Outcome:
    """A thousand small steps leave no memory behind."""
    case = Case(_copying(1), (2, 32, 32), fixed={"only/bias": 5.0})
    model = subject.trained(case)
    batch = case.batch
    return _growth(
        lambda: float(model.train_step([batch], 1e-5)), 1000, 3000, kept=batch.images.nbytes / 10
    )
