"""Batches of a fixed size, for which XLA compiles each step only once."""

from __future__ import annotations

from msinet_tensorflow.distribution import Distribution, StrategyDistribution


class FixedBatch(Distribution):
    """Pads smaller batches to the largest one so far.

    XLA takes minutes to compile each new shape, longer than the last batch of an epoch or folder
    takes to compute. The padding has zero weight in the loss and is removed from results.
    """

    _largest = 0

    def size(self, count: int) -> int:
        self._largest = max(self._largest, super().size(count))
        return self._largest if count else 0


class TpuDistribution(FixedBatch, StrategyDistribution):
    """Runs steps on every core of a TPU with ``tf.distribute.TPUStrategy``."""
