"""How far a device may be from the reference, relative to what, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerances:
    """The largest differences that pass in one precision; `REASONS` explains each.

    Args:
        selection: Ops that select values: pools.
        op: Ops that compute a value from a few: resizes, means, normalization, concatenation.
        coordinates: Resizes to a size, on large images.
        convolution: One convolution, or a few ops in a row.
        wide_convolution: A convolution of as many channels and pixels as in MSI-Net.
        network: The map of an MSI-Net.
        gradient: Gradients through one op, and Adam's moments.
        network_gradient: Gradients of a narrow MSI-Net.
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

REASONS: Mapping[str, str] = {
    "selection": "Relative to the largest value. Selection does not round: in float32 only a "
    "device that converts to another precision differs, in 16 bits by rounding the input.",
    "op": "Relative to the largest value. A handful of roundings of 6e-8, 4e-3 or 5e-4 each, and "
    "resize coordinates computed in float32.",
    "coordinates": "Relative to the largest value. At pixel 400 a coordinate in float32 is off by "
    "2e-5 pixels, and neighboring pixels of random images differ by their whole range.",
    "convolution": "Relative to the largest value. Sums of a hundred products in another order "
    "differ by 1e-6 in float32, Winograd convolutions by ten times that; TF32 by 1e-3.",
    "wide_convolution": "Relative to the largest value. Winograd convolutions of this size are up "
    "to 2.6e-5 off in float32. With intermediate values in 16 bits they are 0.13 and 0.017 off, "
    "sums in float32 of rounded products only 3.4e-3 and 5e-4.",
    "network": "Of maps in 0..1. 23 convolutions and a normalization in a row. The project "
    "promises 1e-4 in float32.",
    "gradient": "Relative to the norm of each tensor. Sums over all pixels, some of opposite sign: "
    "five times the error of a convolution.",
    "network_gradient": "Relative to the norm of each tensor. Rounding decides which of two nearly "
    "equal maxima a pool selects, and so where a gradient goes; with 8 bits one tensor says "
    "little.",
    "loss": "Relative to the largest loss. One sum over the pixels, with a logarithm.",
    "steps": "Relative to the largest loss. The project promises 1e-3 in float32.",
    "curve": "Relative to the largest loss. The reference in float32 stays within 1e-6 of "
    "float64 over twenty steps, since training draws nearby curves together; the tolerance is that "
    "of four steps, so that nothing may drift.",
    "update": "Relative to the tensor that moved farthest. Adam moves a weight whose gradient is "
    "only rounding as far as any other, in an arbitrary direction.",
    "rate": "Relative to the movement. Adam's first step is the learning rate in the direction of "
    "the sign of the gradient, in any precision; the rate is float32.",
    "bits": "The number of values that differ in any bit. Storing, moving and repeating do not "
    "round.",
    "seconds": "The faster of two calls. msinet-run devices calls every probe each time.",
    "memory": "Of the resident memory that would be left if every call kept its inputs; allocators "
    "keep a few pages.",
}
"""What each tolerance is relative to, and why it has its size; one for each field."""
