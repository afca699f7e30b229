"""Where a resumed run continues, which settings it keeps, and whether its checkpoint is its own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from shlex import quote
from typing import TYPE_CHECKING, Any

from msinet_core.checkpoint import Checkpoint, load_checkpoint
from msinet_core.checkpoint.guard import reading
from msinet_core.errors import CheckpointError, DataError, UsageError, bullet_list
from msinet_core.system.settings import declared_settings
from msinet_core.training.config import COSINE, TrainConfig, plain

if TYPE_CHECKING:
    from pathlib import Path

    from msinet_core.data.dataset import Dataset
    from msinet_core.training.run_folder import RunFolder


FREE_ON_RESUME = frozenset(
    {
        *("device", "device_options", "precision", "distribute", "workers", "cache", "log"),
        *("data", "data_root", "epochs", "patience", "batch_size", "accumulate"),
    }
)
"""The settings that a resumed run may change: where it runs and how long, not what it computes.

Of a batch's size and the number of accumulated batches, the product decides what it computes. The
number of epochs decides it too if the learning rate follows a cosine.
"""


@dataclass
class Position:
    """Where a run is; together with weights and moments, all it takes to continue exactly.

    Args:
        epoch: Finished epochs.
        batch: Finished batches of the current epoch.
        loss_sum: Sum of the losses of the images in these batches.
        images: Number of these images.
        seconds: Time spent on these batches.
        data_wait: The part of it that was spent waiting for images.
        history: One row per finished epoch.
    """

    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    images: int = 0
    seconds: float = 0.0
    data_wait: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)

    def begin_epoch(self) -> None:
        """Move on to the next epoch."""
        self.epoch += 1
        self.batch = self.images = 0
        self.loss_sum = self.seconds = self.data_wait = 0.0


def fixed_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a resumed run must keep.

    An earlier version, which did not have a setting, used its default.

    Args:
        settings: A result of `TrainConfig.to_dict`.
    """
    free = FREE_ON_RESUME - ({"epochs"} if settings.get("schedule") == COSINE else set())
    defaults = {
        name: plain(declared.default)
        for name, declared in declared_settings(TrainConfig).items()
        if declared.default is not None
    }
    known = {**defaults, **settings}
    fixed = {name: value for name, value in known.items() if name not in free}
    return {**fixed, "batch_size x accumulate": settings["batch_size"] * settings["accumulate"]}


def resumed_with(
    config: TrainConfig, changes: Mapping[str, Any], latest: Path | None = None
) -> TrainConfig:
    """Return the settings of a run with those changed that a resumed run may change.

    Args:
        config: The settings of the run.
        changes: The settings that the user gave, by name.
        latest: The run's latest checkpoint, for the message.

    Raises:
        UsageError: A value is not accepted, or would make it another run.
    """
    changed = replace(config, **changes)
    refused = [
        f"{name}: {before} in the run, requested {after}"
        + (", but the cosine schedule ends with the last epoch" if name == "epochs" else "")
        for name, before, after in _differences(config.to_dict(), changed.to_dict())
    ]
    if refused:
        weights = f" from this run's weights with --init {_quoted(latest)}" if latest else ""
        raise UsageError(
            f"A resumed run keeps its settings, so that it continues exactly:\n"
            f"{bullet_list(refused)}\nLeave them out, or start a new run{weights}."
        )
    return changed


def _differences(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    """Yield the name and both values of each setting that must be kept and is not."""
    before, after = fixed_settings(before), fixed_settings(after)
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield name, before.get(name), after.get(name)


def find_checkpoint(run: RunFolder, config: TrainConfig) -> Checkpoint | None:
    """Return the checkpoint that a run continues from; None if it was stopped before its first.

    Args:
        run: The run's folder.
        config: The run's settings.

    Raises:
        CheckpointError: It is missing, damaged, holds weights only, or belongs to another run.
        UsageError: The run has finished more epochs than requested.
    """
    restart = (
        f"start a new run from the best weights with --init {_quoted(run.best)} and another --run."
    )
    if not run.latest.exists():
        if run.epochs_finished():  # counted after the checkpoint is written, `best` before it
            raise CheckpointError(
                f"{run.latest} is missing, and the run has finished epochs. Restore the file, or "
                f"{restart}"
            )
        return None
    checkpoint = load_checkpoint(run.latest)
    if checkpoint.training is None:
        raise CheckpointError(
            f"{run.latest} holds weights only, so the run cannot continue from it. Restore the "
            f"run's own checkpoint, or {restart}"
        )
    with reading(run.latest):  # its texts are JSON, but perhaps not a run's
        differing = [
            f"{name}: {present} in config.toml, {saved} in the checkpoint"
            for name, saved, present in _differences(
                checkpoint.training["config"], config.to_dict()
            )
        ]
        done = int(position_of(checkpoint, config).epoch)
        step_of(checkpoint)
    if differing:
        raise CheckpointError(
            f"{run.latest} belongs to another run:\n{bullet_list(differing)}\n"
            f"Restore the run's own files, or {restart}"
        )
    if done > config.epochs:
        raise UsageError(
            f"The run has already finished {done} epochs, more than --epochs {config.epochs}. "
            f"--epochs counts all epochs of a run; use at least {done}."
        )
    return checkpoint


def check_images(
    checkpoint: Checkpoint, images: Mapping[str, Any], dataset: Dataset, latest: Path
) -> None:
    """Refuse to resume a run on other images.

    Args:
        checkpoint: The run's checkpoint.
        images: The digest of the dataset's images.
        dataset: The dataset.
        latest: The file of the checkpoint, for the message.

    Raises:
        DataError: The run started with other images.
    """
    before = checkpoint.metadata.get("images", images)
    if before != images:
        raise DataError(
            f"The dataset '{dataset.name}' has changed since the run started: it had "
            f"{before['train']} training and {before['valid']} validation images and now has "
            f"{images['train']} and {images['valid']}, or their names differ. Restore it, or "
            f"start a new run from this run's weights with --init {_quoted(latest)}."
        )


def position_of(checkpoint: Checkpoint | None, config: TrainConfig) -> Position:
    """Return where a run continues.

    Args:
        checkpoint: The run's checkpoint; None for a new run.
        config: The run's settings, whose batches may have another size than the checkpoint's.
    """
    if checkpoint is None or checkpoint.training is None:
        return Position()
    position = Position(**checkpoint.training["position"])
    # Whole steps have been taken, which are a whole number of batches except at the epoch's end.
    position.batch = math.ceil(position.images / config.batch_size)
    return position


def _quoted(path: Path) -> str:
    return quote(str(path))


def step_of(checkpoint: Checkpoint | None) -> int:
    """Return how many steps a run has taken; Adam counts fewer if float16 skipped some.

    Args:
        checkpoint: The run's checkpoint; None for a new run.
    """
    if checkpoint is None or checkpoint.state.optimizer is None:
        return 0
    return int(checkpoint.metadata.get("step", checkpoint.state.optimizer.step))
