"""Stop long work between two steps on Ctrl-C or a termination signal."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from msinet_core.errors import InterruptedRunError

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""Ctrl-C, what schedulers and cloud machines send before they stop a job, and a closed terminal."""


class InterruptFlag:
    """A context in which the first signal sets a flag and the second one raises KeyboardInterrupt.

    Outside the main thread, where Python handles no signals, it is only a flag.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> InterruptFlag:
        if threading.current_thread() is threading.main_thread():
            self._previous = {
                number: signal.signal(number, self._handle)
                for number in SIGNALS
                if signal.getsignal(number) is not signal.SIG_IGN  # as under nohup
            }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._event.is_set():
            raise KeyboardInterrupt
        self._event.set()

    def set(self) -> None:
        """Request a stop, as a signal would."""
        self._event.set()

    def is_set(self) -> bool:
        """Return whether a stop was requested."""
        return self._event.is_set()

    def raise_if_set(self, message: str) -> None:
        """Raise if a stop was requested.

        Args:
            message: What was saved and how to continue.

        Raises:
            InterruptedRunError: A stop was requested.
        """
        if self._event.is_set():
            raise InterruptedRunError(message)
