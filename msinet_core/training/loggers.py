"""Where a training run reports its losses beside its own tables: TensorBoard, Weights & Biases."""

from __future__ import annotations

import importlib
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from msinet_core.errors import MsinetError, UsageError, did_you_mean, os_reason
from msinet_core.system.files import write_text
from msinet_core.system.progress import Progress

CSV, TENSORBOARD, WANDB = LOGGERS = ("csv", "tensorboard", "wandb")
"""What follows ``--log``; the tables are always written."""

WANDB_PROJECT = "msinet"

_PACKAGES = {TENSORBOARD: "tensorboardX", WANDB: "wandb"}

_FLUSH_INTERVAL = 5
"""Seconds after which TensorBoard gets to see new steps."""


class Logger(Protocol):
    """Is told what a run's tables are told."""

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
        """Finish what is being written."""


def parse_loggers(value: str) -> tuple[str, ...]:
    """Read what follows ``--log``; the tables are always among the result.

    Args:
        value: Names with commas between them.

    Raises:
        UsageError: One of them is unknown.
    """
    names = [name.strip() for name in value.split(",") if name.strip()]
    for name in names:
        if name not in LOGGERS:
            raise UsageError(
                f"--log {value}: there is no '{name}'.{did_you_mean(name, LOGGERS)} Use one or "
                f"more of {', '.join(LOGGERS)}, with commas between them."
            )
    return tuple(dict.fromkeys((CSV, *names)))


def check_loggers(names: Sequence[str]) -> None:
    """Refuse what cannot be reported to, before the work begins.

    Args:
        names: Some of `LOGGERS`.

    Raises:
        UsageError: A package is not installed.
    """
    for logger, package in _PACKAGES.items():
        if logger in names:
            _package(package, logger)


@contextmanager
def logging_to(
    names: Sequence[str],
    folder: Path,
    settings: Mapping[str, Any],
    step: int,
    progress: Progress,
) -> Iterator[tuple[Logger, ...]]:
    """Lend the loggers of a run, and close them at the end.

    A logger that fails is left out from then on, and says so once: the run's tables hold
    everything, and a training run is worth more than its second report.

    Args:
        names: Some of `LOGGERS`.
        folder: The run's.
        settings: What the run was started with.
        step: Steps made before; 0 for a new run.
        progress: Told what fails.
    """
    opened: list[Logger] = []
    makers: dict[str, Callable[[], Logger]] = {
        TENSORBOARD: lambda: EventFiles(folder / TENSORBOARD, step),
        WANDB: lambda: WandbRun(folder, settings),
    }
    try:
        for name, make in makers.items():
            if name in names:
                opened.append(_Careful(name, make, progress))
        yield tuple(opened)
    finally:
        for logger in opened:
            logger.close()


class _Careful:
    """Lets a logger fail once and then be silent."""

    def __init__(self, name: str, make: Callable[[], Logger], progress: Progress) -> None:
        self._name = name
        self._progress = progress
        self._logger: Logger | None = None
        try:
            self._logger = make()
        except Exception as error:
            self._give_up(error)

    def step(self, row: Mapping[str, Any]) -> None:
        self._call("step", row)

    def epoch(self, row: Mapping[str, Any]) -> None:
        self._call("epoch", row)

    def close(self) -> None:
        self._call("close")

    def _call(self, method: str, *arguments: Mapping[str, Any]) -> None:
        if self._logger is None:
            return
        try:
            getattr(self._logger, method)(*arguments)
        except Exception as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._logger = None
        reason = os_reason(error) if isinstance(error, OSError) else str(error)
        self._progress.message(
            f"Logging to {self._name} stopped: {reason or type(error).__name__}. The run goes on; "
            f"its tables hold everything."
        )


class EventFiles:
    """TensorBoard's event files, one each time that the run is begun or resumed.

    Args:
        folder: What ``tensorboard --logdir`` is given.
        step: Steps made before; TensorBoard forgets later ones, which are made again.

    Source: https://tensorboardx.readthedocs.io
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        writer = _package(_PACKAGES[TENSORBOARD], TENSORBOARD).SummaryWriter
        self._writer = writer(
            str(folder),
            purge_step=step + 1 if step else None,
            flush_secs=_FLUSH_INTERVAL,
            filename_suffix=f".{step}",  # names have whole seconds: a run resumed within one
        )

    def step(self, row: Mapping[str, Any]) -> None:
        """Report an optimizer step."""
        self._scalars(row, {"train/loss": row["loss"], "train/images_per_s": row["images_per_s"]})

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Report a finished epoch."""
        losses = {"epoch/train_loss": row["train_loss"], "epoch/valid_loss": row["valid_loss"]}
        self._scalars(row, losses)
        self._writer.flush()

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()

    def _scalars(self, row: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        for tag, value in values.items():
            self._writer.add_scalar(tag, float(value), int(row["step"]))


class WandbRun:
    """A run at Weights & Biases, or in a folder of its own where ``WANDB_MODE=offline``.

    Args:
        folder: The training run's; it keeps the identity under which a resumed run goes on.
        settings: What the run was started with.

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
        values = {"train/loss": float(row["loss"]), "train/images_per_s": row["images_per_s"]}
        self._run.log({name: float(value) for name, value in values.items()}, step=row["step"])

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Report a finished epoch."""
        values = {"epoch/train_loss": row["train_loss"], "epoch/valid_loss": row["valid_loss"]}
        self._run.log(values, step=row["step"])

    def close(self) -> None:
        """Send what is left."""
        self._run.finish()


def _package(name: str, logger: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(
            f"--log {logger} needs the package {name}, which cannot be imported ({error}). "
            f"Run: pip install {name}, or leave {logger} out."
        ) from error
    except Exception as error:
        raise MsinetError(
            f"--log {logger}: the package {name} is broken ({type(error).__name__}: {error}). "
            f"Install it again with: pip install --force-reinstall {name}, or leave {logger} out."
        ) from error
