"""Where a resumed run continues: its latest checkpoint, if that is really its own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msinet_core.checkpoint import Checkpoint, load_checkpoint
from msinet_core.checkpoint.guard import reading
from msinet_core.errors import CheckpointError, DataError, UsageError, bullet_list
from msinet_core.training.config import TrainConfig
from msinet_core.training.fixed_settings import fixed_settings
from msinet_core.training.position import Position

if TYPE_CHECKING:
    from msinet_core.data.dataset import Dataset
    from msinet_core.training.run_folder import RunFolder


def find_checkpoint(run: RunFolder, config: TrainConfig) -> Checkpoint | None:
    """Return the checkpoint that a run continues from; None if it was stopped before its first.

    Args:
        run: The run's folder.
        config: The run's settings.

    Raises:
        CheckpointError: It is missing, damaged, holds weights only, or belongs to another run.
        UsageError: The run has finished more epochs than requested.
    """
    restart = f"start a new run from the best weights with --init {run.best} and another --run."
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
        saved = fixed_settings(checkpoint.training["config"])
        done = int(position_of(checkpoint, config).epoch)
        step_of(checkpoint)
    present = fixed_settings(config.to_dict())
    differing = [
        f"{name}: {present.get(name)} in config.toml, {saved.get(name)} in the checkpoint"
        for name in sorted(saved.keys() | present.keys())
        if saved.get(name) != present.get(name)
    ]
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


def check_images(checkpoint: Checkpoint, images: Mapping[str, Any], dataset: Dataset) -> None:
    """Refuse to resume a run on other images.

    Args:
        checkpoint: The run's checkpoint.
        images: The digest of the dataset's images.
        dataset: The dataset.

    Raises:
        DataError: The run started with other images.
    """
    before = checkpoint.metadata.get("images", images)
    if before != images:
        raise DataError(
            f"The dataset '{dataset.name}' has changed since the run started: it had "
            f"{before['train']} training and {before['valid']} validation images and now has "
            f"{images['train']} and {images['valid']}, or their names differ. Restore it, or "
            f"start a new run from this run's weights with --init."
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


def step_of(checkpoint: Checkpoint | None) -> int:
    """Return how many steps a run has taken; Adam counts fewer if float16 skipped some.

    Args:
        checkpoint: The run's checkpoint; None for a new run.
    """
    if checkpoint is None or checkpoint.state.optimizer is None:
        return 0
    return int(checkpoint.metadata.get("step", checkpoint.state.optimizer.step))
