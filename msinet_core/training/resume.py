"""Find what a run continues from, and refuse what is not its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msinet_core.checkpoint import Checkpoint, load_checkpoint
from msinet_core.errors import CheckpointError, UsageError, bullet_list
from msinet_core.training.config import FREE_ON_RESUME, TrainConfig

if TYPE_CHECKING:
    from msinet_core.training.run_folder import RunFolder


def find_checkpoint(run: RunFolder, config: TrainConfig) -> Checkpoint | None:
    """Return the checkpoint that a run continues from; None if it was stopped before its first.

    Args:
        run: The run's folder.
        config: The run's settings.

    Raises:
        CheckpointError: It is missing, damaged, holds weights only, or is another run's.
        UsageError: More epochs are done than are asked for.
    """
    begin = f"Or begin a new run from the best weights, with --init {run.best} and another --run."
    if not run.latest.exists():
        if run.epochs_finished():  # counted after the checkpoint is written, `best` before it
            raise CheckpointError(
                f"{run.path} was trained before, but {run.latest} is not there. Put it back. "
                f"{begin}"
            )
        return None
    found = load_checkpoint(run.latest)
    if found.training is None:
        raise CheckpointError(
            f"{run.latest} holds weights only, and nothing to continue from. Put the run's own "
            f"checkpoint back. {begin}"
        )
    saved, present = found.training["config"], config.to_dict()
    differing = [
        f"{name}: {present.get(name)} in config.toml, {saved.get(name)} in the checkpoint"
        for name in sorted((saved.keys() | present.keys()) - FREE_ON_RESUME)
        if saved.get(name) != present.get(name)
    ]
    if differing:
        raise CheckpointError(
            f"{run.latest} is not the checkpoint of this run:\n{bullet_list(differing)}\n"
            f"Put the run's own files back. {begin}"
        )
    done = found.training["position"]["epoch"]
    if done > config.epochs:
        raise UsageError(
            f"The run has finished {done} epochs, and --epochs is {config.epochs}. Give the number "
            f"of epochs in all, at least {done}."
        )
    return found
