"""How far a device may be from the reference, relative to what, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerances:
    """The largest differences that pass in one precision.

    docs/reference/conformance.md says what each is relative to, and why it has its size.

    Args:
        selection: Ops that select values: pools.
        op: Ops that compute a value from a few: resizes, means, normalization, concatenation.
        coordinates: Resizes to a size, on large images.
        convolution: One convolution, or a few ops in a row.
        wide_convolution: A convolution of as many channels and pixels as in MSI-Net.
        network: The map of an MSI-Net.
        gradient: Gradients through one op, and Adam's moments.
        network_gradient: Gradients of a narrow MSI-Net.
        full_size: Gradients and losses of MSI-Net with all its weights.
        loss: The loss of each image.
        steps: The losses of a few training steps.
        curve: The losses of twenty training steps.
        update: How far the weights moved in a few steps.
        rate: How far weights moved in one step from zero.
        bits: Values that must be stored or repeated exactly.
        seconds: The time that the probe takes.
        memory: The share of what calls computed that stays in memory.
    """

    selection: float
    op: float
    coordinates: float
    convolution: float
    wide_convolution: float
    network: float
    gradient: float
    network_gradient: float
    full_size: float
    loss: float
    steps: float
    curve: float
    update: float
    rate: float = 1e-4
    bits: float = 0.0
    seconds: float = 2.0
    memory: float = 0.5


TOLERANCES: Mapping[str, Tolerances] = {
    "float32": Tolerances(
        selection=1e-6,
        op=1e-5,
        coordinates=1e-4,
        convolution=2e-5,
        wide_convolution=5e-5,
        network=1e-4,
        gradient=1e-4,
        network_gradient=1e-3,
        full_size=1e-4,
        loss=2e-5,
        steps=1e-3,
        curve=1e-3,
        update=5e-3,
    ),
    "bfloat16": Tolerances(
        selection=8e-3,
        op=2e-2,
        coordinates=2e-2,
        convolution=2e-2,
        wide_convolution=1.4e-2,
        network=0.15,
        gradient=0.1,
        network_gradient=0.5,
        full_size=0.75,
        loss=2e-2,
        steps=5e-2,
        curve=5e-2,
        update=0.5,
    ),
    "float16": Tolerances(
        selection=1e-3,
        op=4e-3,
        coordinates=4e-3,
        convolution=4e-3,
        wide_convolution=2e-3,
        network=3e-2,
        gradient=5e-2,
        network_gradient=0.3,
        full_size=0.5,
        loss=5e-3,
        steps=2e-2,
        curve=2e-2,
        update=0.4,
    ),
}
"""By precision.

float32: one rounding is 6e-8. The reference in float32 stays within 1e-6 (op), 1e-5 (gradient) and
1e-4 (update) of the reference in float64; a device that computes in TF32 or bfloat16 is 1e-3 off.
bfloat16 and float16: one rounding is 4e-3 and 5e-4; the tolerances are four times the difference of
a reference that rounds every input, weight, output and gradient of every op.
"""
