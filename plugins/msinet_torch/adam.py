"""The specified Adam in one call for all variables, and float16's loss scale.

PyTorch's fused kernel computes, with s the number it is told to be the step::

    weight -= rate / (1 - beta_1**s) * m / (sqrt(v) / sqrt(1 - beta_2**s) + eps)

`msinet_core.optimizer.Adam` wants, at step t::

    weight -= learning_rate * sqrt(1 - beta_2**t) / (1 - beta_1**t) * m / (sqrt(v) + epsilon)

For s without end both powers vanish, and the first line is ``rate * m / (sqrt(v) + eps)``. So with
``rate = learning_rate * sqrt(1 - beta_2**t) / (1 - beta_1**t)`` and ``eps = epsilon`` the two are
equal; the kernel's own correction, which cancels digits where it is done in float32, is never used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from msinet_core.optimizer import Adam
from msinet_torch.loading import load_torch

torch = load_torch()

Tensor = Any

ENDLESS = 1e9
"""A step at which beta**step is zero in any float; infinity itself is left to no kernel."""

INITIAL = 2.0**15
SMALLEST, LARGEST = 1.0, 2.0**30
GROWTH_INTERVAL = 2000
"""Good steps in a row after which the scale is doubled."""


class FusedAdam:
    """Adam's memory, and its step.

    Args:
        optimizer: The constants.
        weights: What is trained; float32, changed in place.
        m: First moments, of the same memory formats.
        v: Second moments, likewise.
    """

    def __init__(
        self,
        optimizer: Adam,
        weights: Sequence[Tensor],
        m: Sequence[Tensor],
        v: Sequence[Tensor],
    ) -> None:
        self._optimizer = optimizer
        self._weights = list(weights)
        self._values, self._m, self._v = map(_flat, (weights, m, v))
        self._steps = [torch.full((), ENDLESS, device=weight.device) for weight in weights]

    def apply(
        self, gradients: Sequence[Tensor], rate: float | Tensor, skip: Tensor | None = None
    ) -> None:
        """Make one step.

        Args:
            gradients: One for each weight, float32.
            rate: The learning rate, corrected for moments that began at zero.
            skip: 1 where nothing is to change, else 0; a float32 scalar on the device.
        """
        with torch.no_grad():
            torch._fused_adam_(
                self._values,
                _flat([_like(*pair) for pair in zip(gradients, self._weights, strict=True)]),
                self._m,
                self._v,
                [],
                self._steps,
                lr=rate,
                beta1=self._optimizer.beta_1,
                beta2=self._optimizer.beta_2,
                weight_decay=0.0,
                eps=self._optimizer.epsilon,
                amsgrad=False,
                maximize=False,
                found_inf=skip,
            )


def _flat(tensors: Sequence[Tensor]) -> list[Tensor]:
    """View dense tensors as they lie in memory: the kernel copies what is not contiguous."""
    return [tensor.detach().as_strided((tensor.numel(),), (1,)) for tensor in tensors]


def _like(gradient: Tensor, weight: Tensor) -> Tensor:
    """Return a gradient that lies in memory as its weight does; autograd's almost always does."""
    if gradient.stride() == weight.stride():
        return gradient
    return torch.empty_like(weight).copy_(gradient)


def corrected(optimizer: Adam, learning_rate: float, step: int) -> float:
    """Give the rate of a step, corrected for moments that began at zero.

    Args:
        optimizer: The constants.
        learning_rate: Adam's.
        step: The step's number, from 1.
    """
    correction = math.sqrt(1 - optimizer.beta_2**step) / (1 - optimizer.beta_1**step)
    return learning_rate * correction


@lru_cache(maxsize=8)
def can_skip(place: Any) -> bool:
    """Tell whether the fused kernel on a device leaves everything as it is when it is told to.

    Before June 2026 the one for MPS did not.

    Args:
        place: A ``torch.device``.

    Source: https://github.com/pytorch/pytorch/pull/186360
    """
    weight, gradient, m, v = (torch.ones(1, device=place) for _ in range(4))
    FusedAdam(Adam(), [weight], [m], [v]).apply([gradient], 1.0, skip=torch.ones((), device=place))
    return bool(weight == 1) and bool(m == 1) and bool(v == 1)


class LossScale:
    """A power of two that the loss is multiplied by before its gradient is taken.

    It is halved, and the step skipped, when a gradient is not finite, and doubled after
    ``GROWTH_INTERVAL`` good steps. At scale 1 nothing is skipped: what overflows then has diverged,
    and has to show. Only the device knows whether a step counted, so it counts Adam's steps too.
    The rule is that of the TensorFlow devices.

    Args:
        optimizer: Whose steps they are.
        step: Adam's steps made before.
        place: The ``torch.device``.

    Source: Micikevicius et al., arXiv 1710.03740, section 3.2.
    """

    def __init__(self, optimizer: Adam, step: int, place: Any) -> None:
        self._optimizer = optimizer
        self._on_device = can_skip(place)

        def scalar(value: float) -> Tensor:
            return torch.full((), value, dtype=torch.float32, device=place)

        self._value, self._good = scalar(INITIAL), scalar(0)
        self._step = scalar(step)  # exact up to 2**24
        # 1 - beta**step; from one step to the next without the cancellation of that formula.
        self._missing_1 = scalar(1 - optimizer.beta_1**step)
        self._missing_2 = scalar(1 - optimizer.beta_2**step)

    @property
    def value(self) -> float:
        """The scale as it is now."""
        return float(self._value)

    @property
    def step(self) -> int:
        """The number of steps that counted."""
        return int(self._step)

    def scaled(self, loss: Tensor) -> Tensor:
        """Multiply the loss, before its gradient is taken.

        Args:
            loss: A float32 scalar.
        """
        return loss * self._value

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
            counts = finite | (self._value <= SMALLEST)
            torch._foreach_mul_(gradients, 1 / self._value)
            rate = self._advance(finite, counts) * learning_rate
        if self._on_device:
            adam.apply(gradients, rate, skip=1 - counts.float())
        elif bool(counts):  # waits for the gradients
            adam.apply(gradients, rate)

    def _advance(self, finite: Tensor, counts: Tensor) -> Tensor:
        """Count the step if it counts; give the correction of the learning rate."""
        beta_1, beta_2 = self._optimizer.beta_1, self._optimizer.beta_2
        good = torch.where(finite, self._good + 1, 0.0)
        grows = good >= GROWTH_INTERVAL
        grown = torch.where(grows, (2 * self._value).clamp(max=LARGEST), self._value)
        halved = (self._value / 2).clamp(min=SMALLEST)
        self._value.copy_(torch.where(finite, grown, halved))
        self._good.copy_(torch.where(grows, 0.0, good))
        self._step.add_(counts.float())
        for missing, beta in ((self._missing_1, beta_1), (self._missing_2, beta_2)):
            missing.copy_(torch.where(counts, beta * missing + (1 - beta), missing))
        return self._missing_2.sqrt() / self._missing_1
