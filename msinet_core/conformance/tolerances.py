"""How far a device may be from the reference: what is measured, how, and why so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerances:
    """The largest differences that pass in one precision; `REASONS` tells what they are of.

    Args:
        selection: Ops that choose values and compute none: pools.
        op: Ops that compute a value from a few: resizes, means, normalization, concatenation.
        convolution: One convolution, or a few ops in a row.
        network: The map of an MSI-Net; maps reach from 0 to 1.
        gradient: Gradients through one op, and Adam's moments.
        network_gradient: Gradients of a narrow MSI-Net.
        loss: The loss of each image.
        steps: The losses of four training steps of a narrow MSI-Net.
        curve: The losses of twenty.
        update: How far the weights moved in a few steps.
        bits: What must come back or be repeated as it was.
        seconds: The probe's answer.
    """

    selection: float
    op: float
    convolution: float
    network: float
    gradient: float
    network_gradient: float
    loss: float
    steps: float
    curve: float
    update: float
    bits: float = 0.0
    seconds: float = 2.0


TOLERANCES: Mapping[str, Tolerances] = {
    "float32": Tolerances(
        selection=1e-6,
        op=1e-5,
        convolution=2e-5,
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
        convolution=2e-2,
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
        convolution=4e-3,
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

float32: one rounding is 6e-8. The reference in float32 stays below 1e-6 (op), 1e-5 (gradient) and
1e-4 (update) of the reference in float64; a device that quietly computes in TF32 or bfloat16 is
1e-3 away. bfloat16 and float16: one rounding is 4e-3 and 5e-4; the numbers are four times what the
reference shows when every input, weight, output and gradient of every op is rounded.
"""

REASONS: Mapping[str, str] = {
    "selection": "Relative to the largest value. Choosing rounds nothing: in float32 only a device "
    "that goes through another precision differs, in 16 bits by the rounding of the input.",
    "op": "Relative to the largest value. A handful of roundings of 6e-8, 4e-3 or 5e-4 each, and "
    "coordinates of a resize computed in float32.",
    "convolution": "Relative to the largest value. Sums of a hundred products in another order "
    "differ by 1e-6 in float32, and Winograd's convolution by ten times that; TF32 by 1e-3.",
    "network": "Of maps in 0..1. 23 convolutions and a normalization in a row; agreement within "
    "1e-4 in float32 is the project's promise.",
    "gradient": "Relative to the norm of each tensor. Sums over all pixels, some of opposite sign: "
    "five times what a convolution loses forward.",
    "network_gradient": "Relative to the norm of each tensor. Rounding decides which of two near "
    "maxima a pool takes, and with it where a gradient goes; at 8 bits a single one means little.",
    "loss": "Relative to the largest loss. One sum over the pixels, with a logarithm.",
    "steps": "Relative to the largest loss. Agreement within 1e-3 in float32 is the project's "
    "promise.",
    "curve": "Relative to the largest loss: the band around the reference's curve. The reference "
    "in float32 stays within 1e-6 of the one in float64 over twenty steps, as training draws near "
    "curves together; the band is that of four steps, so that nothing drifts.",
    "update": "Relative to the tensor that moved farthest. Adam moves a weight whose gradient is "
    "only rounding as far as any other, in a direction that is chance.",
    "bits": "The number of values that are not the same to the last bit: what is only stored, "
    "moved or repeated is not rounded.",
    "seconds": "The better of two calls. msinet-run devices asks every probe on each call, and "
    "commands that probes may ask have two seconds.",
}
"""What each tolerance is relative to and why it is what it is; for every field of `Tolerances`."""
