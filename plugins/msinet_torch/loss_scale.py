"""Loss scaling for float16, whose smallest gradients would vanish; decided on the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msinet_core.network.adam import Adam
from msinet_core.network.loss_scale import LossScale
from msinet_torch.adam import FusedAdam, Tensor, can_skip, torch


class ScaledSteps:
    """The loss scale (`msinet_core.network.loss_scale`) in tensors on the device, changed in place.

    Args:
        optimizer: Whose steps they are.
        step: Adam's steps made before.
        place: The ``torch.device``.
    """

    def __init__(self, optimizer: Adam, step: int, place: Any) -> None:
        self._optimizer = optimizer
        self._on_device = can_skip(place)
        self._scale = LossScale(
            *(
                torch.full((), value, dtype=torch.float32, device=place)
                for value in LossScale.new(optimizer, step)
            )
        )

    @property
    def value(self) -> float:
        """The scale as it is now."""
        return float(self._scale.value)

    @property
    def step(self) -> int:
        """The number of steps that counted."""
        return int(self._scale.step)

    def scaled(self, loss: Tensor) -> Tensor:
        """Multiply the loss, before its gradient is taken.

        Args:
            loss: A float32 scalar.
        """
        return loss * self._scale.value

    def apply(
        self, adam: FusedAdam, gradients: Sequence[Tensor], learning_rate: float | Tensor
    ) -> None:
        """Make a step, or skip it, and set the scale for the next.

        Args:
            adam: Changes the weights.
            gradients: Of the scaled loss, float32; unscaled in place.
            learning_rate: Adam's, not corrected.
        """
        with torch.no_grad():
            # A sum of absolute values is finite only if each of them is.
            finite = torch.stack(torch._foreach_norm(gradients, 1)).sum().isfinite()
            torch._foreach_mul_(gradients, 1 / self._scale.value)
            counts = self.advance(finite)
            rate = learning_rate * self._scale.missing_2.sqrt() / self._scale.missing_1
        if self._on_device:
            adam.apply(gradients, rate, skip=1 - counts.float())
        elif bool(counts):  # waits for the gradients
            adam.apply(gradients, rate)

    def advance(self, finite: Tensor) -> Tensor:
        """Set the scale for the next step; tell whether this one counts.

        Args:
            finite: A boolean scalar: whether every gradient is.
        """
        after, counts = self._scale.next(torch.where, self._optimizer, finite)
        for kept, value in zip(self._scale, after, strict=True):
            kept.copy_(value)
        return counts
