"""Faults that depend on circumstances: how many calls, when, and from which thread."""

from __future__ import annotations

import gc
import logging
import os
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from msinet_core.device import Deferred, Program
from msinet_core.network.state import Batch, State
from msinet_core.reference.device import ReferenceDevice, ReferenceModel
from msinet_core.reference.tape import Array
from tests.faults.change import spoiled
from tests.faults.fault import Faults, Images

FAULTS = Faults()


# How many calls, and when.


@FAULTS.model("Maps wrong after 100 predictions", "use/many-predictions")
class After100Predictions(ReferenceModel):
    """Wears out."""

    _calls = 0

    def forward(self, images: Images) -> Array:
        self._calls += 1
        maps = super().forward(images)
        return spoiled(maps) if self._calls > 100 else maps


@FAULTS.model("Maps wrong after a pause of a second", "use/unread")
class Pauses(ReferenceModel):
    """Loses something when the device goes to sleep."""

    _last = float("inf")

    def forward(self, images: Images) -> Array:
        now = time.monotonic()
        paused, self._last = now - self._last > 1, now
        maps = super().forward(images)
        return spoiled(maps) if paused else maps


@FAULTS.model("A result expires after a second", "use/unread")
class Expires(ReferenceModel):
    """Reuses the memory of a result that is not read in time."""

    def forward(self, images: Images) -> Any:
        maps, start = super().forward(images), time.monotonic()
        return Deferred(lambda: maps if time.monotonic() - start < 1 else spoiled(maps))


@FAULTS.model("The losses of 16 steps share a buffer", "use/unread-losses")
class SixteenLossBuffers(ReferenceModel):
    """Keeps losses in a ring."""

    _steps = 0

    def update(self, batches: Sequence[Batch], learning_rate: float) -> Any:
        ring = vars(self).setdefault("_ring", [0.0] * 16)
        index = self._steps % len(ring)
        self._steps += 1
        ring[index] = super().update(batches, learning_rate)
        return Deferred(lambda: ring[index])


# From which thread, and what happens besides.


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()


@FAULTS.model("Maps wrong in another thread", "use/threads")
class OtherThread(ReferenceModel):
    """Keeps something for each thread."""

    def forward(self, images: Images) -> Array:
        maps = super().forward(images)
        return maps if _is_main() else spoiled(maps)


@FAULTS.model("Steps in another thread do not train", "use/training-threads")
class StepsInOtherThread(ReferenceModel):
    """Keeps the learning rate for each thread."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        return super().update(batches, learning_rate if _is_main() else 0.0)


@FAULTS.model("The state in another thread is the first one", "use/training-threads")
class StateInOtherThread(ReferenceModel):
    """Keeps a copy for each thread."""

    def __init__(self, device: ReferenceDevice, program: Program) -> None:
        super().__init__(device, program)
        self._first = super().state()

    def state(self) -> State:
        return super().state() if _is_main() else self._first


@FAULTS.model("A result read in another thread is wrong", "use/unread")
class ReadInOtherThread(ReferenceModel):
    """Waits for the stream of the current thread."""

    def forward(self, images: Images) -> Any:
        maps = super().forward(images)
        return Deferred(lambda: maps if _is_main() else spoiled(maps))


def _also(method: str, change: Callable[[], object]) -> type[ReferenceModel]:
    def changed(self: ReferenceModel, *arguments: Any) -> Any:
        change()
        return getattr(ReferenceModel, method)(self, *arguments)

    return type("Changes", (ReferenceModel,), {method: changed})


for _method, _effect, _change in (
    ("__init__", "Compiling prints", lambda: print("compiled")),
    ("__init__", "Compiling sets the random seed", lambda: np.random.seed(0)),
    ("__init__", "Compiling ignores Ctrl-C", lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)),
    (
        "__init__",
        "Compiling changes NumPy's handling of errors",
        lambda: np.seterr(under="ignore"),
    ),
    ("__init__", "Compiling changes the current folder", lambda: os.chdir("/")),
    (
        "__init__",
        "Compiling hides warnings",
        lambda: warnings.simplefilter("ignore", UserWarning),
    ),
    (
        "__init__",
        "Compiling sets an environment variable",
        lambda: os.environ.update(COMPILED=str(time.time())),
    ),
    (
        "__init__",
        "Compiling starts a thread for each model",
        lambda: threading.Thread(target=time.sleep, args=(60,), daemon=True).start(),
    ),
    ("__init__", "Native code prints", lambda: os.write(1, b"compiling\n")),
    ("__init__", "Compiling sets Python's random seed", lambda: random.seed(0)),
    (
        "__init__",
        "Compiling ignores SIGTERM",
        lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    ),
    (
        "__init__",
        "Compiling adds a handler to the root logger",
        lambda: logging.getLogger().addHandler(logging.NullHandler()),
    ),
    ("__init__", "Compiling changes how NumPy prints", lambda: np.set_printoptions(precision=3)),
    ("__init__", "Compiling turns the garbage collector off", gc.disable),
    ("__init__", "Compiling raises the recursion limit", lambda: sys.setrecursionlimit(100_000)),
    (
        "__init__",
        "Compiling replaces sys.excepthook",
        lambda: setattr(sys, "excepthook", lambda *error: None),
    ),
    ("update", "Training prints", lambda: print("step")),
    ("update", "Training sets the random seed", lambda: np.random.seed(0)),
    ("update", "Training writes a file", lambda: Path("step.log").write_text("step")),
):
    FAULTS.model(_effect, "use/side-effects")(_also(_method, _change))
