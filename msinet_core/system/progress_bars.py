"""Show progress on stderr: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from msinet_core.system.progress import Progress, Task

PLAIN_INTERVAL = 5.0
"""Seconds between two plain lines of one task."""


def progress_bars() -> Progress:
    """Return a display for stderr: bars on a terminal, plain lines in a file or a pipe.

    Where stderr is closed, as in a daemon, nothing is shown.
    """
    if sys.stderr is None:
        return Progress()
    return _Bars() if sys.stderr.isatty() else _Lines()


def as_progress(progress: bool | Progress) -> Progress:
    """Return a progress display for an argument of a public function.

    Args:
        progress: True for bars on stderr, False for none, or a display of the caller's own.
    """
    if isinstance(progress, Progress):
        return progress
    return progress_bars() if progress else Progress()


class _CountingTask(Task):
    """Count items, and pass on their number and what is shown beside it."""

    def __init__(
        self, show: Callable[[int, list[str]], None], unit: str, total: int, done: int
    ) -> None:
        self._show, self._unit, self._total = show, unit, total
        self._done = self._before = done
        self._start = time.monotonic()

    def advance(self, count: int = 1, share: float | None = None, **fields: str) -> None:
        self._done += count
        seconds, new = time.monotonic() - self._start, self._done - self._before
        rate = new / max(seconds, 1e-9)
        speed = f"{rate / 1e6:.2f} MB/s" if self._unit == "bytes" else f"{rate:.2f} {self._unit}/s"
        parts = [*(f"{name} {value}" for name, value in fields.items()), speed]
        if self._total:
            before = self._before / self._total
            now = self._done / self._total if share is None else share
            if now > before:
                parts.append(f"{_clock(seconds * (1 - now) / (now - before))} left")
        self._show(self._done, parts)


class _Lines(Progress):
    def message(self, text: str) -> None:
        click.echo(text, err=True)

    def warn(self, text: str) -> None:
        self.message(text)

    @contextmanager
    def task(
        self, description: str, total: int, unit: str = "images", done: int = 0
    ) -> Iterator[Task]:
        shown = time.monotonic()

        def show(done: int, parts: list[str]) -> None:
            nonlocal shown
            now = time.monotonic()
            if done == total or now - shown >= PLAIN_INTERVAL:
                shown = now
                self.message("  ".join([description, _amount(done, total, unit), *parts]))

        yield _CountingTask(show, unit, total, done)


class _Bars(_Lines):
    """A bar for each task, and lines for messages and warnings."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)

    def message(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)

    @contextmanager
    def task(
        self, description: str, total: int, unit: str = "images", done: int = 0
    ) -> Iterator[Task]:
        from rich import progress

        bars = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.DownloadColumn() if unit == "bytes" else progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[beside]}"),
            console=self._console,
        )
        with bars:
            row = bars.add_task(description, total=total or None, completed=done, beside="")

            def show(done: int, parts: list[str]) -> None:
                bars.update(row, completed=done, beside="  ".join(parts))

            yield _CountingTask(show, unit, total, done)


def _amount(done: int, total: int, unit: str) -> str:
    if unit != "bytes":
        return f"{done}/{total} {unit}"
    return f"{done / 1e6:.1f}{f'/{total / 1e6:.1f}' if total else ''} MB"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
