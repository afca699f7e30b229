"""Wrong devices that test the kit.

Each is the reference with one mistake that devices make, and names the rows that must catch it.
Every row catches at least one, so no row passes regardless of the device.
"""

from __future__ import annotations

from tests.faults import (
    adam,
    arrays,
    circumstances,
    convolutions,
    descriptions,
    half,
    inputs,
    layouts,
    lifetimes,
    losses,
    numbers,
    other_ops,
    results,
    reuse,
    shapes,
    states,
    steps,
    unusual_layers,
)
from tests.faults.fault import Fault

FAULTS: tuple[Fault, ...] = (
    *descriptions.FAULTS,
    *convolutions.FAULTS,
    *other_ops.FAULTS,
    *losses.FAULTS,
    *unusual_layers.FAULTS,
    *numbers.FAULTS,
    *shapes.FAULTS,
    *layouts.FAULTS,
    *steps.FAULTS,
    *adam.FAULTS,
    *half.FAULTS,
    *arrays.FAULTS,
    *results.FAULTS,
    *reuse.FAULTS,
    *states.FAULTS,
    *lifetimes.FAULTS,
    *inputs.FAULTS,
    *circumstances.FAULTS,
)
"""All of them."""

__all__ = ["FAULTS", "Fault"]
