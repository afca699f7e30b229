"""How far a device may be from the reference, by precision, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerances:
    """The largest differences that pass.

    Args:
        op: The output of one op, or of a few in a row, relative to the largest value.
        network: The map of a narrow MSI-Net; maps reach from 0 to 1.
        gradient: Gradients through one op, and Adam's moments: relative to the norm of each.
        network_gradient: Gradients of a narrow MSI-Net, relative to the norm of each.
        loss: The loss of each image, relative to the largest.
        steps: The losses of four training steps of a narrow MSI-Net, relative to the largest.
        update: How far the weights moved, relative to the norm of the longest way of a tensor.
    """

    op: float
    network: float
    gradient: float
    network_gradient: float
    loss: float
    steps: float
    update: float


TOLERANCES: Mapping[str, Tolerances] = {
    "float32": Tolerances(
        op=2e-5,
        network=1e-4,
        gradient=1e-4,
        network_gradient=1e-3,
        loss=2e-5,
        steps=1e-3,
        update=5e-3,
    ),
    "bfloat16": Tolerances(
        op=2e-2,
        network=0.15,
        gradient=0.1,
        network_gradient=0.5,
        loss=2e-2,
        steps=5e-2,
        update=0.5,
    ),
    "float16": Tolerances(
        op=4e-3,
        network=3e-2,
        gradient=5e-2,
        network_gradient=0.3,
        loss=5e-3,
        steps=2e-2,
        update=0.4,
    ),
}
"""By precision.

float32: one rounding is 6e-8. Sums of a hundred products in another order differ by 1e-6, and
Winograd's convolution by ten times that; a device that quietly computes in TF32 or bfloat16 differs
by 1e-3. The reference in float32 stays below 1e-6 (op), 1e-5 (gradient) and 1e-4 (update) of the
reference in float64. That maps agree within 1e-4 and losses within 1e-3 is the project's promise.

bfloat16 and float16: one rounding is 4e-3 and 5e-4. Four times what the reference shows when every
input, weight, output and gradient of every op is rounded. A network's single gradients mean little
at 8 bits, since rounding decides which of two near maxima a pool takes; its losses still agree.
"""
