"""Report a training run to TensorBoard or Weights & Biases, or record how busy the machine is."""

from __future__ import annotations

import importlib
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from msinet_core.errors import MsinetError, UsageError, os_reason
from msinet_core.system.files import write_text
from msinet_core.system.progress import Progress

CSV, TENSORBOARD, WANDB, SYSTEM = LOGGERS = ("csv", "tensorboard", "wandb", "system")
"""The values of ``--log``; the CSV files are always written."""

WANDB_PROJECT = "msinet"

REPORTED = ("loss", "images_per_s", "data_wait")
"""The values of a step that are reported."""

_PACKAGES = {TENSORBOARD: "tensorboardX", WANDB: "wandb"}

_NOT_REPORTED = frozenset({"epoch", "step", "images_per_s", "seconds", "data_wait"})
"""The columns of ``history.csv`` that are not reported per epoch."""

_FLUSH_INTERVAL = 5
"""Seconds until new steps are visible in TensorBoard."""


class Logger(Protocol):
    """Receive what is written to a run's CSV files."""

    def step(self, row: Mapping[str, Any]) -> None:
        """Report an optimizer step.

        Args:
            row: With the keys ``STEP_FIELDS``.
        """

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Report a finished epoch.

        Args:
            row: With the keys ``HISTORY_FIELDS``.
        """

    def close(self) -> None:
        """Write what is pending."""


def check_loggers(names: Sequence[str]) -> None:
    """Check that the packages of loggers can be imported, before training starts.

    Args:
        names: Some of `LOGGERS`.

    Raises:
        UsageError: A package is not installed.
        MsinetError: A package fails to import.
    """
    for logger, package in _PACKAGES.items():
        if logger in names:
            _package(package, logger)


@contextmanager
def open_loggers(
    names: Sequence[str],
    folder: Path,
    settings: Mapping[str, Any],
    step: int,
    progress: Progress,
) -> Iterator[tuple[Logger, ...]]:
    """Open the loggers of a run, and close them at the end.

    A logger that fails is reported once and then ignored: the CSV files hold everything, and
    a training run is worth more than its second report.

    Args:
        names: Some of `LOGGERS`.
        folder: The run folder.
        settings: The run's settings.
        step: Steps taken before; 0 for a new run.
        progress: Shows failures.
    """
    makers: dict[str, Callable[[], Logger]] = {
        TENSORBOARD: lambda: EventFiles(folder / TENSORBOARD, step),
        WANDB: lambda: WandbRun(folder, settings),
        SYSTEM: lambda: _system_log(folder, step),
    }
    opened = [_Guarded(name, makers[name], progress) for name in makers if name in names]
    try:
        yield tuple(opened)
    finally:
        for logger in opened:
            logger.close()


class _Guarded:
    """A logger that is dropped when it fails."""

    def __init__(self, name: str, make: Callable[[], Logger], progress: Progress) -> None:
        self._name, self._progress = name, progress
        self._logger: Logger | None = None
        self._logger = self._try(make)

    def step(self, row: Mapping[str, Any]) -> None:
        if self._logger:
            self._try(self._logger.step, row)

    def epoch(self, row: Mapping[str, Any]) -> None:
        if self._logger:
            self._try(self._logger.epoch, row)

    def close(self) -> None:
        if self._logger:
            self._try(self._logger.close)

    def _try(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except Exception as error:
            failed, self._logger = self._logger, None
            if failed:
                with suppress(Exception):  # it may hold threads and files
                    failed.close()
            self._progress.message(
                f"Logging to {self._name} stopped: {os_reason(error)}. Training continues; the "
                f"CSV files hold everything."
            )


class EventFiles:
    """Write TensorBoard event files, one whenever the run starts or resumes.

    Args:
        folder: The folder for ``tensorboard --logdir``.
        step: Steps taken before; TensorBoard drops later ones, which are repeated.

    Source: https://tensorboardx.readthedocs.io
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        writer = _package(_PACKAGES[TENSORBOARD], TENSORBOARD).SummaryWriter
        self._writer = writer(
            str(folder),
            purge_step=step + 1 if step else None,
            flush_secs=_FLUSH_INTERVAL,
            filename_suffix=f".{step}",  # the time in a name is in seconds
        )

    def step(self, row: Mapping[str, Any]) -> None:
        """Report an optimizer step."""
        self._scalars(row, {f"train/{name}": row[name] for name in REPORTED})

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Report a finished epoch."""
        self._scalars(row, _scores(row))
        self._writer.flush()

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()

    def _scalars(self, row: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        for tag, value in values.items():
            self._writer.add_scalar(tag, float(value), int(row["step"]))


class WandbRun:
    """Report to a run at Weights & Biases, or to a local folder if ``WANDB_MODE=offline``.

    Args:
        folder: The run folder; it keeps the ID under which a resumed run continues.
        settings: The run's settings.

    Source: https://docs.wandb.ai/ref/python/init
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        identity = folder / "wandb-id.txt"
        if not identity.exists():
            write_text(identity, uuid.uuid4().hex)
        self._run = _package(_PACKAGES[WANDB], WANDB).init(
            project=os.environ.get("WANDB_PROJECT", WANDB_PROJECT),
            name=folder.name,
            id=identity.read_text(encoding="utf-8").strip(),
            resume="allow",
            dir=str(folder),
            config=dict(settings),
        )

    def step(self, row: Mapping[str, Any]) -> None:
        """Report an optimizer step."""
        values = {f"train/{name}": float(row[name]) for name in REPORTED}
        self._run.log(values, step=row["step"])

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Report a finished epoch."""
        self._run.log(_scores(row), step=row["step"])

    def close(self) -> None:
        """Send what is pending."""
        self._run.finish()


def _system_log(folder: Path, step: int) -> Logger:
    from msinet_core.training.system_log import SystemLog  # psutil, which few runs need

    return SystemLog(folder / "system.csv", step)


def _scores(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the learning rate, the losses and the metrics of an epoch."""
    return {f"epoch/{name}": row[name] for name in row if name not in _NOT_REPORTED}


def _package(name: str, logger: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(
            f"--log {logger} needs the package {name}, which cannot be imported: {error}. "
            f"Run: pip install {name}, or leave out {logger}."
        ) from error
    except Exception as error:
        raise MsinetError(
            f"--log {logger}: importing the package {name} failed: {type(error).__name__}: "
            f"{error}. Run: pip install --force-reinstall {name}, or leave out {logger}."
        ) from error
