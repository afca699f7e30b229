"""Loss scaling for float16, whose smallest gradients would vanish; decided on the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msinet_core import Adam, LossScale
from msinet_torch.adam import FusedAdam, Tensor, can_skip, torch


class ScaledSteps:
    """Adam's steps with a loss scale (`msinet_core.LossScale`), in tensors updated in place.

    Args:
        optimizer: The constants.
        step: The steps made so far.
        device: The ``torch.device``.
    """

    def __init__(self, optimizer: Adam, step: int, device: Any) -> None:
        self._optimizer = optimizer
        self._kernel_skips = can_skip(device)
        self._scale = LossScale(
            *(
                torch.full((), value, dtype=torch.float32, device=device)
                for value in LossScale.new(optimizer, step)
            )
        )

    @property
    def value(self) -> float:
        """The current scale."""
        return float(self._scale.value)

    @property
    def skipped(self) -> int:
        """The number of skipped steps."""
        return int(self._scale.skipped)

    def scale(self, loss: Tensor) -> Tensor:
        """Scale a float32 loss before its gradient is computed."""
        return loss * self._scale.value

    def apply(
        self, adam: FusedAdam, gradients: Sequence[Tensor], learning_rate: float | Tensor
    ) -> None:
        """Make a step, or skip it if a gradient overflowed, and update the scale.

        Args:
            adam: Updates the weights.
            gradients: Gradients of the scaled loss, float32; unscaled in place.
            learning_rate: Adam's, without bias correction.
        """
        with torch.no_grad():
            # A sum of absolute values is finite only if each of them is.
            finite = torch.stack(torch._foreach_norm(gradients, 1)).sum().isfinite()
            torch._foreach_mul_(gradients, 1 / self._scale.value)
            counts = self.advance(finite)
            rate = learning_rate * self._scale.missing_2.sqrt() / self._scale.missing_1
        if self._kernel_skips:
            adam.apply(gradients, rate, skip=1 - counts.float())
        elif bool(counts):  # waits for the gradients
            adam.apply(gradients, rate)

    def advance(self, finite: Tensor) -> Tensor:
        """Update the scale; return whether this step counts.

        Args:
            finite: A boolean scalar: whether all gradients are finite.
        """
        after, counts = self._scale.next(torch.where, self._optimizer, finite)
        for current, value in zip(self._scale, after, strict=True):
            current.copy_(value)
        return counts
