"""The learning rate of each step, computed on the host from where the run is.

It depends on the settings, the number of the step and the finished epochs alone, so a resumed run
continues with the same rates on any device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msinet_core.training.config import COSINE, PLATEAU, TrainConfig


@dataclass(frozen=True)
class Schedule:
    """The learning rates of a run.

    Args:
        config: Its settings.
        images: The number of training images.
    """

    config: TrainConfig
    images: int

    @property
    def steps_per_epoch(self) -> int:
        """The number of optimizer steps in an epoch."""
        return -(-self.images // (self.config.batch_size * self.config.accumulate))

    def rate(self, epoch: int, image: int, reductions: int = 0) -> float:
        """Return the learning rate of a step.

        Args:
            epoch: The number of finished epochs.
            image: The number of images of the current epoch before the step.
            reductions: What `reductions` returned for the finished epochs.
        """
        config = self.config
        step = epoch * self.steps_per_epoch + image // (config.batch_size * config.accumulate)
        rate = config.learning_rate
        if config.schedule == COSINE:
            rate *= self._cosine(step)
        elif config.schedule == PLATEAU:
            rate *= config.plateau_factor**reductions
        return rate * (step + 1) / config.warmup if step < config.warmup else rate

    def last_rate(self, epoch: int, history: Sequence[Mapping[str, Any]]) -> float:
        """Return the learning rate of the last step of an epoch.

        Args:
            epoch: The number of finished epochs.
            history: A row for each of them.
        """
        return self.rate(epoch, self.images - 1, self.reductions(history))

    def reductions(self, history: Sequence[Mapping[str, Any]]) -> int:
        """Count how often `plateau_epochs` epochs in a row had no new best.

        Args:
            history: A row for each finished epoch.
        """
        if self.config.schedule != PLATEAU:
            return 0
        selection, reductions, waited = self.config.selection, 0, 0
        best: list[Mapping[str, Any]] = []
        for row in history:
            if selection.improves([*best, row]):
                best, waited = [row], 0
                continue
            waited += 1
            if waited == self.config.plateau_epochs:
                reductions, waited = reductions + 1, 0
        return reductions

    def _cosine(self, step: int) -> float:
        """Return the factor of a half cosine from 1, after the warm-up, to 0 after the last step.

        Source: Loshchilov and Hutter, SGDR, ICLR 2017, equation 5, without restarts.
        """
        warmup = self.config.warmup
        total = self.config.epochs * self.steps_per_epoch - warmup
        progress = min(max(step - warmup, 0) / max(total, 1), 1.0)
        return (1 + math.cos(math.pi * progress)) / 2
