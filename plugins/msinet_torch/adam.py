"""The specified Adam as one call of PyTorch's fused kernel.

At the step number s that it is given, the kernel computes::

    weight -= rate / (1 - beta_1**s) * m / (sqrt(v) / sqrt(1 - beta_2**s) + eps)

`msinet_core.Adam` specifies, at step t::

    weight -= learning_rate * sqrt(1 - beta_2**t) / (1 - beta_1**t) * m / (sqrt(v) + epsilon)

As s grows, both powers vanish and the kernel computes ``rate * m / (sqrt(v) + eps)``. With
``rate = Adam.rate(learning_rate, t)`` and ``eps = epsilon`` the two are equal, and the kernel's own
correction, which loses digits in float32, is never used.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from msinet_core import Adam
from msinet_torch.loading import Tensor, torch

LARGE_STEP = 1e9
"""A step at which beta**step is zero in any float."""


class FusedAdam:
    """Adam's step on all variables at once.

    Args:
        optimizer: The constants.
        weights: The trained float32 variables, updated in place.
        m: First moments, in the memory formats of the weights.
        v: Second moments, likewise.
        factors: The factor on the learning rate of each weight; None: 1.
    """

    def __init__(
        self,
        optimizer: Adam,
        weights: Sequence[Tensor],
        m: Sequence[Tensor],
        v: Sequence[Tensor],
        factors: Sequence[float] | None = None,
    ) -> None:
        self._optimizer = optimizer
        self._groups: dict[float, list[int]] = {}
        for index, factor in enumerate(factors or [1.0] * len(weights)):
            self._groups.setdefault(factor, []).append(index)
        self._weights = list(weights)
        self._values, self._m, self._v = map(_flat, (weights, m, v))
        self._steps = [torch.full((), LARGE_STEP, device=weight.device) for weight in weights]

    def apply(
        self, gradients: Sequence[Tensor], rate: float | Tensor, skip: Tensor | None = None
    ) -> None:
        """Update the weights and moments.

        Args:
            gradients: One per weight, float32.
            rate: The learning rate with bias correction.
            skip: A float32 scalar on the device: 1 to change nothing, else 0.
        """
        with torch.no_grad():
            flat = _flat(
                [_laid_out_like(*pair) for pair in zip(gradients, self._weights, strict=True)]
            )
            for factor, group in self._groups.items():
                lists = (self._values, flat, self._m, self._v, self._steps)
                values, grads, m, v, steps = (
                    [tensors[index] for index in group] for tensors in lists
                )
                torch._fused_adam_(
                    values,
                    grads,
                    m,
                    v,
                    [],
                    steps,
                    lr=rate if factor == 1 else rate * factor,
                    beta1=self._optimizer.beta_1,
                    beta2=self._optimizer.beta_2,
                    weight_decay=0.0,
                    eps=self._optimizer.epsilon,
                    amsgrad=False,
                    maximize=False,
                    found_inf=skip,
                )


def _flat(tensors: Sequence[Tensor]) -> list[Tensor]:
    """View dense tensors as vectors in memory order; the kernel copies non-contiguous ones."""
    return [tensor.detach().as_strided((tensor.numel(),), (1,)) for tensor in tensors]


def _laid_out_like(gradient: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient in its weight's memory format; autograd's almost always is."""
    if gradient.stride() == weight.stride():
        return gradient
    return torch.empty_like(weight).copy_(gradient)


@lru_cache(maxsize=8)
def can_skip(device: Any) -> bool:
    """Return whether the fused kernel on a device honors `skip`; before June 2026 MPS did not.

    Args:
        device: A ``torch.device``.

    Source: https://github.com/pytorch/pytorch/pull/186360
    """
    weight, gradient, m, v = (torch.ones(1, device=device) for _ in range(4))
    FusedAdam(Adam(), [weight], [m], [v]).apply([gradient], 1.0, skip=torch.ones((), device=device))
    return bool(weight == 1) and bool(m == 1) and bool(v == 1)
