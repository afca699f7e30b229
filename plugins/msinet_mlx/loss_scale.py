"""Loss scaling for float16, whose smallest gradients would vanish; decided within the step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from msinet_core.optimizer import Adam
from msinet_mlx.layers import Tensor, mx

INITIAL = 2.0**15
SMALLEST, LARGEST = 1.0, 2.0**30
GROWTH_INTERVAL = 2000
"""Good steps in a row after which the scale is doubled."""

Scale = Mapping[str, Tensor]
"""The ``value``, ``good`` steps in a row, Adam's ``step``, and ``missing_1`` and ``missing_2``:
1 - beta**step, without the cancellation of that formula."""


class AdamStep(NamedTuple):
    """What Adam takes for one step; scalars are arrays where the device decided about them.

    Args:
        gradients: Of the unscaled loss, float32.
        rate: The learning rate, corrected for moments that began at zero.
        beta_1: Decay of the first moment.
        beta_2: Decay of the second moment.
    """

    gradients: Mapping[str, Tensor]
    rate: Any
    beta_1: Any
    beta_2: Any


def new_scale(optimizer: Adam, step: int) -> Scale:
    """Make the scale as it is when a run begins or is resumed.

    Args:
        optimizer: Whose steps they are.
        step: Adam's steps made before.
    """
    values = {
        "value": INITIAL,
        "good": 0.0,
        "step": float(step),  # exact up to 2**24
        "missing_1": 1 - optimizer.beta_1**step,
        "missing_2": 1 - optimizer.beta_2**step,
    }
    return {name: mx.array(value, mx.float32) for name, value in values.items()}


def advance(
    optimizer: Adam, scale: Scale, gradients: Mapping[str, Tensor], learning_rate: Tensor
) -> tuple[Scale, AdamStep]:
    """Decide about a step, inside the compiled function.

    The scale is halved, and the step skipped, when a gradient is not finite, and doubled after
    ``GROWTH_INTERVAL`` good steps. At scale 1 nothing is skipped: what overflows then has diverged,
    and has to show. A skipped step has decays of 1, rate 0 and gradients 0, which change nothing.

    Args:
        optimizer: Brings the decays.
        scale: As it was when the loss was scaled.
        gradients: Of the scaled loss, float32.
        learning_rate: Adam's, not corrected.

    Source: Micikevicius et al., arXiv 1710.03740, section 3.2; the numbers are those of
        TensorFlow's DynamicLossScale.
    """
    finite = mx.stack([mx.isfinite(gradient).all() for gradient in gradients.values()]).all()
    value = scale["value"]
    counts = finite | (value <= SMALLEST)
    good = mx.where(finite, scale["good"] + 1, 0.0)
    grows = good >= GROWTH_INTERVAL
    grown = mx.where(grows, mx.minimum(2 * value, LARGEST), value)
    betas = {1: optimizer.beta_1, 2: optimizer.beta_2}
    missing_1, missing_2 = (
        mx.where(counts, beta * scale[f"missing_{order}"] + (1 - beta), scale[f"missing_{order}"])
        for order, beta in betas.items()
    )
    after = {
        "value": mx.where(finite, grown, mx.maximum(value / 2, SMALLEST)),
        "good": mx.where(grows, 0.0, good),
        "step": scale["step"] + mx.where(counts, 1.0, 0.0),
        "missing_1": missing_1,
        "missing_2": missing_2,
    }
    unscaled = {
        name: mx.where(counts, gradient / value, 0.0) for name, gradient in gradients.items()
    }
    rate = mx.where(counts, learning_rate * mx.sqrt(missing_2) / missing_1, 0.0)
    decays = (mx.where(counts, beta, 1.0) for beta in betas.values())
    return after, AdamStep(unscaled, rate, *decays)
