"""The one progress display: bars on a terminal, plain lines elsewhere; always on stderr."""

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


class _PlainTask(Task):
    def __init__(self, description: str, total: int, unit: str, done: int) -> None:
        self._description = description
        self._total = total
        self._unit = unit
        self._done = self._before = done
        self._start = self._shown = time.monotonic()

    def advance(self, count: int = 1, **fields: str) -> None:
        self._done += count
        now = time.monotonic()
        if self._done != self._total and now - self._shown < PLAIN_INTERVAL:
            return
        self._shown = now
        elapsed = max(now - self._start, 1e-9)
        rate = (self._done - self._before) / elapsed
        left = (self._total - self._done) / rate if rate else 0.0
        shown = "".join(f"  {name} {value}" for name, value in fields.items())
        end = f"  {_clock(left)} left" if self._total else ""
        click.echo(
            f"{self._description}  {_amount(self._done, self._total, self._unit)}{shown}  "
            f"{_rate(rate, self._unit)}{end}",
            err=True,
        )


class _PlainProgress(Progress):
    @contextmanager
    def task(
        self, description: str, total: int, unit: str = "images", done: int = 0
    ) -> Iterator[Task]:
        yield _PlainTask(description, total, unit, done)

    def message(self, text: str) -> None:
        click.echo(text, err=True)


class _RichTask(Task):
    def __init__(self, bars: Any, identifier: Any, unit: str) -> None:
        self._bars = bars
        self._identifier = identifier
        self._unit = unit
        self._done = 0
        self._start = time.monotonic()

    def advance(self, count: int = 1, **fields: str) -> None:
        self._done += count
        rate = self._done / max(time.monotonic() - self._start, 1e-9)
        shown = "  ".join(f"{name} {value}" for name, value in fields.items())
        self._bars.update(
            self._identifier, advance=count, fields=shown, rate=_rate(rate, self._unit)
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
            progress.TimeRemainingColumn(),
            console=self._console,
        )
        with bars:
            row = bars.add_task(
                description, total=total or None, completed=done, fields="", rate=""
            )
            yield _RichTask(bars, row, unit)

    def message(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)


def _amount(done: int, total: int, unit: str) -> str:
    """Write how much of how much is done; bytes as megabytes, and alone if the total is unknown."""
    if unit != "bytes":
        return f"{done}/{total} {unit}"
    return f"{done / 1e6:.1f}/{total / 1e6:.1f} MB" if total else f"{done / 1e6:.1f} MB"


def _rate(rate: float, unit: str) -> str:
    return f"{rate / 1e6:.2f} MB/s" if unit == "bytes" else f"{rate:.2f} {unit}/s"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
