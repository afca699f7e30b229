"""Loss scaling for float16, whose smallest gradients would vanish; decided on the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msinet_core import Adam, LossScale
from msinet_torch.adam import FusedAdam, can_skip
from msinet_torch.loading import Tensor, torch


class ScaledSteps:
    """Adam's steps with a loss scale (`msinet_core.LossScale`), in tensors updated in place.

    Args:
        optimizer: The constants.
        step: The steps made so far.
        device: The ``torch.device``.

    Attributes:
        scale: The current scale, float32 scalars on the device.
    """

    def __init__(self, optimizer: Adam, step: int, device: Any) -> None:
        self._optimizer = optimizer
        self._kernel_skips = can_skip(device)
        self.scale = LossScale(
            *(
                torch.full((), value, dtype=torch.float32, device=device)
                for value in LossScale.new(optimizer, step)
            )
        )

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
            torch._foreach_mul_(gradients, 1 / self.scale.value)
            after, counts = self.scale.next(torch.where, self._optimizer, finite)
            rate = learning_rate * after.missing_2.sqrt() / after.missing_1
            for current, value in zip(self.scale, after, strict=True):
                current.copy_(value)
        if self._kernel_skips:
            adam.apply(gradients, rate, skip=1 - counts.float())
        elif bool(counts):  # waits for the gradients
            adam.apply(gradients, rate)
