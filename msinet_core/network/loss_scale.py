"""The loss scale of float16 training: one rule for every device that keeps one.

The smallest gradients vanish in float16, so the loss is multiplied by a power of two before its
gradient is taken. Whether a step counts is known on the device only, so the rule is written for
numbers that may be tensors: a framework's ``where`` is all it needs of it, and a step never waits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from msinet_core.network.adam import Adam

__all__ = [
    "GROWTH_INTERVAL",
    "INITIAL",
    "LARGEST",
    "SMALLEST",
    "LossScale",
]

INITIAL = 2.0**15
SMALLEST = 1.0
LARGEST = 2.0**30
GROWTH_INTERVAL = 2000
"""Good steps in a row after which the scale is doubled."""


class LossScale(NamedTuple):
    """What the rule remembers from step to step; float32 scalars, on the device or off it.

    Args:
        value: What the loss is multiplied by.
        good: Steps in a row without an overflow.
        step: Adam's steps that counted; exact up to 2**24.
        missing_1: ``1 - beta_1**step``, carried on without the cancellation of that formula.
        missing_2: ``1 - beta_2**step``, likewise.
    """

    value: Any
    good: Any
    step: Any
    missing_1: Any
    missing_2: Any

    @classmethod
    def new(cls, optimizer: Adam, step: int) -> LossScale:
        """Give the scale as it is when a run begins or is resumed, in plain floats.

        Args:
            optimizer: Whose steps they are.
            step: Adam's steps made before.
        """
        missing_1, missing_2 = 1 - optimizer.beta_1**step, 1 - optimizer.beta_2**step
        return cls(INITIAL, 0.0, float(step), missing_1, missing_2)

    def next(
        self, where: Callable[[Any, Any, Any], Any], optimizer: Adam, finite: Any
    ) -> tuple[LossScale, Any]:
        """Decide whether a step counts, and give the scale for the next.

        The scale is halved, and the step does not count, when a gradient is not finite; it doubles
        after ``GROWTH_INTERVAL`` good steps. At scale 1 every step counts: what overflows then has
        diverged, and has to show.

        Args:
            where: The framework's selection: ``where(condition, yes, no)``.
            optimizer: Brings the decays.
            finite: Whether every gradient is; a boolean scalar.

        Returns:
            The next scale, and whether this step counts. If it does, Adam's rate for it is
            ``learning_rate * sqrt(missing_2) / missing_1`` of the next scale.

        Source: Micikevicius et al., arXiv 1710.03740, section 3.2; the numbers are those of
            TensorFlow's DynamicLossScale.
        """
        counts = finite | (self.value <= SMALLEST)
        good = where(finite, self.good + 1.0, 0.0)
        grows = good >= GROWTH_INTERVAL
        doubled = where(self.value < LARGEST / 2, self.value * 2.0, LARGEST)
        halved = where(self.value > SMALLEST * 2, self.value / 2.0, SMALLEST)
        after = LossScale(
            value=where(finite, where(grows, doubled, self.value), halved),
            good=where(grows, 0.0, good),
            step=where(counts, self.step + 1.0, self.step),
            missing_1=where(counts, _nearer(self.missing_1, optimizer.beta_1), self.missing_1),
            missing_2=where(counts, _nearer(self.missing_2, optimizer.beta_2), self.missing_2),
        )
        return after, counts


def _nearer(missing: Any, beta: float) -> Any:
    """Give 1 - beta**(t + 1) from 1 - beta**t."""
    return missing * beta + (1 - beta)
