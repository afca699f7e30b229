"""The optimizer that MSI-Net is trained with, as a value that devices implement."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Adam:
    """Adam as in TensorFlow, with epsilon outside the bias correction.

    At step t, with gradient g::

        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g * g
        weight -= learning_rate * sqrt(1 - beta_2**t) / (1 - beta_1**t) * m / (sqrt(v) + epsilon)

    Other frameworks add epsilon after the correction of v; a device that uses their optimizer
    scales epsilon by ``sqrt(1 - beta_2**t)`` or proves that the difference does not matter.

    Args:
        beta_1: Decay of the first moment.
        beta_2: Decay of the second moment.
        epsilon: Added to the square root of the second moment.
        factors: Factors on the learning rate of some parameters: the beginning of their names,
            such as ``"aspp/"``, and the factor. A factor of 0 freezes them: neither the weights nor
            their moments change, and a device need not compute their gradients.

    Source: Kingma and Ba, arXiv 1412.6980, section 2, the remark on "epsilon hat"; TensorFlow's
        ResourceApplyAdam.
    """

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    factors: tuple[tuple[str, float], ...] = ()

    def factor(self, name: str) -> float:
        """Return the factor on the learning rate of a parameter; 0 if it is frozen.

        Args:
            name: The parameter's name.
        """
        return next((factor for start, factor in self.factors if name.startswith(start)), 1.0)

    def rate(self, learning_rate: float, step: int) -> float:
        """Return the learning rate of a step, corrected for moments that start at zero.

        Computed in Python's floats; in float32, ``1 - 0.999`` has five correct digits.

        Args:
            learning_rate: The chosen learning rate.
            step: The number of the step, from 1.
        """
        correction = math.sqrt(1 - self.beta_2**step) / (1 - self.beta_1**step)
        return learning_rate * correction
