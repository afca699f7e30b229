"""How batches are placed on a TPU: always the same size, so that XLA compiles each step once."""

from __future__ import annotations

from msinet_tensorflow.distribution import Distribution, StrategyDistribution


class FixedBatch(Distribution):
    """Pads smaller batches to the largest seen.

    XLA compiles every shape anew, for minutes: an epoch's last batch, or a folder's, would cost
    more than it computes. The padding has zero weight in the loss and its gradient, and is removed
    from results.
    """

    _largest = 0

    def size(self, count: int) -> int:
        self._largest = max(self._largest, super().size(count))
        return self._largest if count else 0


class TpuDistribution(FixedBatch, StrategyDistribution):
    """Runs steps on every core of a TPU, by ``tf.distribute.TPUStrategy``."""
