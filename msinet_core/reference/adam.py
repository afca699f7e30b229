"""Adam in NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from msinet_core.network.adam import Adam
from msinet_core.reference.tape import Array


@dataclass
class Moments:
    """Adam's moments for every parameter.

    Args:
        step: The number of steps so far.
        m: First moment by parameter name.
        v: Second moment by parameter name.
    """

    step: int
    m: dict[str, Array]
    v: dict[str, Array]


def adam_step(
    optimizer: Adam,
    learning_rate: float,
    weights: dict[str, Array],
    moments: Moments,
    gradients: Mapping[str, Array],
) -> None:
    """Make one step, which replaces the arrays in `weights` and `moments` by new ones.

    Args:
        optimizer: Adam's constants.
        learning_rate: The learning rate of this step.
        weights: By parameter name.
        moments: So far.
        gradients: Of the loss, by parameter name.

    Source: the formulas in `msinet_core.network.adam.Adam`.
    """
    moments.step += 1
    rate = optimizer.rate(learning_rate, moments.step)
    for name, gradient in gradients.items():
        factor = optimizer.factor(name)
        if not factor:
            continue
        m = optimizer.beta_1 * moments.m[name] + (1 - optimizer.beta_1) * gradient
        v = optimizer.beta_2 * moments.v[name] + (1 - optimizer.beta_2) * gradient**2
        weights[name] = weights[name] - rate * factor * m / (np.sqrt(v) + optimizer.epsilon)
        moments.m[name], moments.v[name] = m, v
