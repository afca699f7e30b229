"""Write a run's checkpoints in a thread of their own while training goes on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent import futures


class CheckpointWriter:
    """A context in which files are written in one thread, one write at a time and in order.

    It ends when everything is written, whatever ends it. A failed write is raised by the next
    call, or reported if another exception ends the context.

    Args:
        report: Shows a sentence.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._thread = futures.ThreadPoolExecutor(1, thread_name_prefix="checkpoint-writer")
        self._running: futures.Future[None] | None = None

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._thread.shutdown()
        if error is None:
            self.wait()
        elif self._running is not None and (failure := self._running.exception()):
            self._report(str(failure))

    def start(self, write: Callable[[], None]) -> None:
        """Call a function in the thread, after waiting for the one before.

        Args:
            write: Writes files; what it reads must not change meanwhile.

        Raises:
            Exception: What the one before raised; this one is not called.
        """
        self.wait()
        self._running = self._thread.submit(write)

    def check(self) -> None:
        """Raise what a write raised, if it has ended; do not wait.

        Raises:
            Exception: What it raised.
        """
        if self._running is not None and self._running.done():
            self.wait()

    def wait(self) -> None:
        """Wait until everything is on the disk.

        Raises:
            Exception: What the write raised.
        """
        self.settle()
        running, self._running = self._running, None
        if running is not None:
            running.result()

    def settle(self) -> None:
        """Wait until the write has ended, and leave its exception to the next call."""
        if self._running is not None:
            futures.wait([self._running])
