"""Wrong devices that test the kit.

Each is the reference with one mistake that devices make, and names the rows that must catch it.
Every row catches at least one, so no row passes regardless of the device.
"""

from __future__ import annotations

from msinet_core.conformance.faults import (
    arrays,
    circumstances,
    descriptions,
    layouts,
    lifetimes,
    numbers,
    ops,
    results,
    shapes,
    states,
    steps,
    unusual_layers,
)
from msinet_core.conformance.faults.fault import Fault

FAULTS: tuple[Fault, ...] = (
    *descriptions.FAULTS,
    *ops.FAULTS,
    *unusual_layers.FAULTS,
    *numbers.FAULTS,
    *shapes.FAULTS,
    *layouts.FAULTS,
    *steps.FAULTS,
    *arrays.FAULTS,
    *results.FAULTS,
    *states.FAULTS,
    *lifetimes.FAULTS,
    *circumstances.FAULTS,
)
"""All of them."""

__all__ = ["FAULTS", "Fault"]
