"""The settings and the output of the process, which a device leaves alone."""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import os
import pickle
import random
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from msinet_core.system.native_output import redirected


@dataclass(frozen=True)
class _Setting:
    """A setting of the process.

    Args:
        name: Its name in messages.
        get: Returns its value, which can be compared.
        set: Sets it to such a value.
        unusual: A value that no earlier row may have set; None to leave it as it is.
    """

    name: str
    get: Callable[[], Any]
    set: Callable[[Any], object]
    unusual: Any


def _handler_of(number: signal.Signals) -> _Setting:
    def set_handler(handler: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(number, handler)

    def unusual(number: int, frame: object) -> None:
        signal.default_int_handler(number, None)

    return _Setting(
        f"the handler of {number.name}", lambda: signal.getsignal(number), set_handler, unusual
    )


def _set_numpy_state(state: bytes) -> None:
    np.random.set_state(pickle.loads(state))


def _set_environment(variables: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(variables)


def _set_collector(value: tuple[bool, tuple[int, int, int]]) -> None:
    enabled, threshold = value
    (gc.enable if enabled else gc.disable)()
    gc.set_threshold(*threshold)


_SETTINGS = (
    _Setting(
        "NumPy's random numbers",
        lambda: pickle.dumps(np.random.get_state()),
        _set_numpy_state,
        pickle.dumps(np.random.RandomState(271_828).get_state()),
    ),
    _Setting(
        "Python's random numbers",
        random.getstate,
        random.setstate,
        random.Random(271_828).getstate(),
    ),
    _Setting(
        "NumPy's handling of errors",
        np.geterr,
        lambda values: np.seterr(**values),
        {"divide": "warn", "over": "warn", "under": "warn", "invalid": "warn"},
    ),
    _Setting(
        "how NumPy prints",
        np.get_printoptions,
        lambda values: np.set_printoptions(**values),
        {**np.get_printoptions(), "precision": 7},
    ),
    _handler_of(signal.SIGINT),
    _handler_of(signal.SIGTERM),
    _Setting("the environment variables", lambda: dict(os.environ), _set_environment, None),
    _Setting("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit, 2718),
    _Setting(
        "the garbage collector",
        lambda: (gc.isenabled(), gc.get_threshold()),
        _set_collector,
        (True, (717, 12, 9)),
    ),
    _Setting(
        "sys.excepthook",
        lambda: sys.excepthook,
        lambda hook: setattr(sys, "excepthook", hook),
        sys.__excepthook__,
    ),
    _Setting(
        "the handlers of the root logger",
        lambda: list(logging.getLogger().handlers),
        lambda handlers: setattr(logging.getLogger(), "handlers", list(handlers)),
        [],
    ),
)


@contextlib.contextmanager
def captured_output() -> Iterator[list[str]]:
    """Yield a list for the lines that Python and native code write to stdout."""
    found: list[str] = []
    printed = io.StringIO()
    with tempfile.TemporaryFile() as hidden:
        with redirected(sys.stdout, hidden.fileno()), contextlib.redirect_stdout(printed):
            yield found
        hidden.seek(0)
        found += printed.getvalue().splitlines()
        found += hidden.read().decode(errors="replace").splitlines()


def settings() -> dict[str, Any]:
    """Return every setting by its name in messages."""
    return {setting.name: setting.get() for setting in _SETTINGS}


@contextlib.contextmanager
def unusual_settings() -> Iterator[None]:
    """Set what an earlier row may already have changed, and restore it."""
    before = [setting.get() for setting in _SETTINGS]
    with warnings.catch_warnings():
        warnings.resetwarnings()
        try:
            for setting in _SETTINGS:
                if setting.unusual is not None:
                    setting.set(setting.unusual)
            yield
        finally:
            for setting, value in zip(_SETTINGS, before, strict=True):
                setting.set(value)
