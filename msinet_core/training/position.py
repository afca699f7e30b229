"""Where a training run is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


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
