"""The specified Adam in one call for all variables.

PyTorch's fused kernel computes, with s the number it is told to be the step::

    weight -= rate / (1 - beta_1**s) * m / (sqrt(v) / sqrt(1 - beta_2**s) + eps)

`msinet_core.network.adam.Adam` wants, at step t::

    weight -= learning_rate * sqrt(1 - beta_2**t) / (1 - beta_1**t) * m / (sqrt(v) + epsilon)

For s without end both powers vanish, and the first line is ``rate * m / (sqrt(v) + eps)``. So with
``rate = learning_rate * sqrt(1 - beta_2**t) / (1 - beta_1**t)`` and ``eps = epsilon`` the two are
equal; the kernel's own correction, which cancels digits where it is done in float32, is never used.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from msinet_core.network.adam import Adam
from msinet_torch.loading import load_torch

torch = load_torch()

Tensor = Any

ENDLESS = 1e9
"""A step at which beta**step is zero in any float; infinity itself is left to no kernel."""


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
