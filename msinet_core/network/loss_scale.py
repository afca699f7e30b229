"""Dynamic loss scaling for float16 training, the same for every device.

Small gradients underflow in float16, so the loss is multiplied by a power of two before its
gradient is computed. Whether a step overflowed is only known on the device. The rule is therefore
written for numbers that may be tensors, needs only the framework's ``where``, and never waits for
the device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from msinet_core.network.adam import Adam

INITIAL = 2.0**15
SMALLEST = 1.0
LARGEST = 2.0**30
GROWTH_INTERVAL = 2000
"""The number of consecutive steps without overflow after which the scale doubles."""


class LossScale(NamedTuple):
    """The state of the loss scale: float32 scalars, on the device or on the host.

    Args:
        value: The factor on the loss.
        good: The number of consecutive steps without overflow.
        skipped: The number of skipped steps. The host counts all steps, so that Adam's step, their
            difference, is exact in any run.
        missing_1: ``1 - beta_1**step``, updated without that formula's loss of digits.
        missing_2: ``1 - beta_2**step``, likewise.
    """

    value: Any
    good: Any
    skipped: Any
    missing_1: Any
    missing_2: Any

    @classmethod
    def new(cls, optimizer: Adam, step: int) -> LossScale:
        """Return the initial scale of a run, in Python's floats.

        Args:
            optimizer: The optimizer.
            step: The number of steps before, if the run is resumed.
        """
        missing_1, missing_2 = 1 - optimizer.beta_1**step, 1 - optimizer.beta_2**step
        return cls(INITIAL, 0.0, 0.0, missing_1, missing_2)

    def next(
        self, where: Callable[[Any, Any, Any], Any], optimizer: Adam, finite: Any
    ) -> tuple[LossScale, Any]:
        """Decide whether to apply a step, and return the scale for the next.

        If a gradient is not finite, the scale is halved and the step is skipped. After
        ``GROWTH_INTERVAL`` steps without overflow it is doubled. At scale 1 every step is applied,
        so that a divergence shows in the weights.

        Args:
            where: The framework's selection: ``where(condition, yes, no)``.
            optimizer: The optimizer, for its decays.
            finite: Whether every gradient is finite; a boolean scalar.

        Returns:
            The next scale, and whether to apply this step. If so, Adam's rate for it is
            ``learning_rate * missing_2**0.5 / missing_1`` of the next scale.

        Source: Micikevicius et al., arXiv 1710.03740, section 3.2; the numbers are those of
            TensorFlow's DynamicLossScale.
        """
        counts = finite | (self.value <= SMALLEST)
        good = where(finite, self.good + 1.0, 0.0)
        grows = good >= GROWTH_INTERVAL
        doubled = where(self.value < LARGEST / 2, self.value * 2.0, LARGEST)
        halved = where(self.value > SMALLEST * 2, self.value / 2.0, SMALLEST)

        def missing(before: Any, beta: float) -> Any:
            """Return 1 - beta**(t + 1) from 1 - beta**t, or that if the step is skipped."""
            return where(counts, before * beta + (1 - beta), before)

        after = LossScale(
            value=where(finite, where(grows, doubled, self.value), halved),
            good=where(grows, 0.0, good),
            skipped=where(counts, self.skipped, self.skipped + 1.0),
            missing_1=missing(self.missing_1, optimizer.beta_1),
            missing_2=missing(self.missing_2, optimizer.beta_2),
        )
        return after, counts

    def step(
        self,
        where: Callable[[Any, Any, Any], Any],
        optimizer: Adam,
        finite: Any,
        gradients: Mapping[str, Any],
        rate: Any,
    ) -> tuple[LossScale, Any, tuple[Any, Any], dict[str, Any]]:
        """Return what Adam's step needs, so that a skipped one changes no bit of its variables.

        Args:
            where: The framework's selection: ``where(condition, yes, no)``.
            optimizer: The optimizer.
            finite: Whether every gradient is finite; a boolean scalar.
            gradients: The gradients of the scaled loss, float32, by parameter name.
            rate: The learning rate without bias correction.

        Returns:
            The next scale, the corrected rate, both decays, and the gradients of the loss itself.
            In a skipped step the rate and the gradients are 0, and the decays are 1.
        """
        after, counts = self.next(where, optimizer, finite)
        corrected = where(counts, rate * after.missing_2**0.5 / after.missing_1, 0.0)
        decays = where(counts, optimizer.beta_1, 1.0), where(counts, optimizer.beta_2, 1.0)
        unscaled = {
            name: where(counts, gradient / self.value, 0.0) for name, gradient in gradients.items()
        }
        return after, corrected, decays, unscaled
