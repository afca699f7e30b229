"""Stop long work between two steps when the user or the system requests it."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

from msinet_core.errors import InterruptedRunError

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""Ctrl-C, the warning that schedulers send before they stop a job, and a closed terminal."""

EXIT_DELAY = 0.8
"""Seconds between the second signal and the forced end of a program."""


class InterruptFlag(threading.Event):
    """A context in which the first signal sets a flag and the second raises KeyboardInterrupt.

    Outside the main thread, where Python handles no signals, it only serves as a flag.

    Attributes:
        forces_exit: Whether the second signal also ends the process soon, whatever still runs;
            for programs, but not for notebooks.
    """

    forces_exit = False

    def __init__(self) -> None:
        super().__init__()
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> InterruptFlag:
        if threading.current_thread() is threading.main_thread():
            self._previous = {
                number: signal.signal(number, self._handle)
                for number in SIGNALS
                if signal.getsignal(number) is not signal.SIG_IGN  # as under nohup
            }
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.is_set():
            if self.forces_exit:
                timer = threading.Timer(EXIT_DELAY, os._exit, [InterruptedRunError.exit_code])
                timer.daemon = True
                timer.start()
            raise KeyboardInterrupt
        self.set()

    def raise_if_set(self, message: str) -> None:
        """End the work if a stop was requested.

        Args:
            message: What was saved and how to continue.

        Raises:
            InterruptedRunError: A stop was requested.
        """
        if self.is_set():
            raise InterruptedRunError(message)
