"""Show progress on stderr: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from msinet_core.system.progress import Progress, Task

PLAIN_INTERVAL = 5.0
"""Seconds between two plain lines of one task."""


def progress_bars() -> Progress:
    """Return a display for stderr: bars on a terminal, plain lines in a file or a pipe."""
    return _RichProgress() if sys.stderr.isatty() else _PlainProgress()


class _CountingTask(Task):
    def __init__(self, unit: str, total: int, done: int) -> None:
        self._unit = unit
        self._total = total
        self._done = self._before = done
        self._start = self._now = time.monotonic()

    def _add(self, count: int) -> None:
        self._done += count
        self._now = time.monotonic()

    def _speed(self) -> str:
        """Return the rate of this process."""
        rate = (self._done - self._before) / max(self._now - self._start, 1e-9)
        return f"{rate / 1e6:.2f} MB/s" if self._unit == "bytes" else f"{rate:.2f} {self._unit}/s"

    def _left(self, share: float | None) -> str:
        """Return the remaining time; empty if it is unknown."""
        if not self._total:
            return ""
        before = self._before / self._total
        now = self._done / self._total if share is None else share
        if now <= before:
            return ""
        return f"{_clock((self._now - self._start) * (1 - now) / (now - before))} left"


def as_progress(progress: bool | Progress) -> Progress:
    """Return a progress display for an argument of a public function.

    Args:
        progress: True for bars on stderr, False for none, or a display of the caller's own.
    """
    if isinstance(progress, Progress):
        return progress
    return progress_bars() if progress else Progress()


class _PlainTask(_CountingTask):
    def __init__(self, description: str, total: int, unit: str, done: int) -> None:
        super().__init__(unit, total, done)
        self._description = description
        self._shown = self._start

    def advance(self, count: int = 1, share: float | None = None, **fields: str) -> None:
        self._add(count)
        if self._done != self._total and self._now - self._shown < PLAIN_INTERVAL:
            return
        self._shown = self._now
        parts = [self._description, self._amount()]
        parts += [f"{name} {value}" for name, value in fields.items()]
        parts += [self._speed(), self._left(share)]
        click.echo("  ".join(filter(None, parts)), err=True)

    def _amount(self) -> str:
        if self._unit != "bytes":
            return f"{self._done}/{self._total} {self._unit}"
        total = f"/{self._total / 1e6:.1f}" if self._total else ""
        return f"{self._done / 1e6:.1f}{total} MB"


class _PlainProgress(Progress):
    def warn(self, text: str) -> None:
        self.message(text)

    @contextmanager
    def task(
        self, description: str, total: int, unit: str = "images", done: int = 0
    ) -> Iterator[Task]:
        yield _PlainTask(description, total, unit, done)

    def message(self, text: str) -> None:
        click.echo(text, err=True)


class _RichTask(_CountingTask):
    def __init__(self, bars: Any, row: Any, unit: str, total: int, done: int) -> None:
        super().__init__(unit, total, done)
        self._bars = bars
        self._row = row

    def advance(self, count: int = 1, share: float | None = None, **fields: str) -> None:
        self._add(count)
        shown = "  ".join(f"{name} {value}" for name, value in fields.items())
        self._bars.update(
            self._row, advance=count, fields=shown, rate=self._speed(), left=self._left(share)
        )


class _RichProgress(Progress):
    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)

    @contextmanager
    def task(
        self, description: str, total: int, unit: str = "images", done: int = 0
    ) -> Iterator[Task]:
        from rich import progress

        bars = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.DownloadColumn() if unit == "bytes" else progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[fields]}"),
            progress.TextColumn("{task.fields[rate]}"),
            progress.TextColumn("{task.fields[left]}"),
            console=self._console,
        )
        with bars:
            row = bars.add_task(
                description, total=total or None, completed=done, fields="", rate="", left=""
            )
            yield _RichTask(bars, row, unit, total, done)

    def warn(self, text: str) -> None:
        self.message(text)

    def message(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
