"""Scenarios, what they are checked on, and how two sets of numbers are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msinet_core.conformance.tolerances import TOLERANCES, Tolerances
from msinet_core.device import Device, DeviceSpec, Probe
from msinet_core.errors import MsinetError
from msinet_core.reference import SPEC as REFERENCE
from msinet_core.reference.device import ReferenceDevice
from msinet_core.registry.registry import run_probe

Array = NDArray[Any]

IMAGE_AXES: Mapping[int, str] = {4: "(N, H, W, C)", 1: "(N,)"}
"""The axes of maps and of losses on the host, by their number."""

WEIGHT_AXES: Mapping[int, str] = {4: "(H, W, in, out)", 1: "(out,)"}
"""The axes of kernels and biases on the host, by their number."""

ORACLE = ReferenceDevice(REFERENCE, dtype=np.float64)
"""The reference with rounding that does not count."""

MISSING_CAPABILITY: Mapping[str, str] = {
    "training": "the device does not train",
    "dilated_gradient": "the device does not train through dilated convolutions",
    "dynamic_shapes": "the device compiles for one shape of batch",
    "deterministic": "the device does not promise to repeat itself to the last bit",
    "distributed": "the device does not distribute",
    "float32": "the device does not compute in float32",
    "bfloat16": "the device does not compute in bfloat16",
    "float16": "the device does not compute in float16",
}
"""What to say of rows that need what a device lacks, by the property of `Capabilities`."""


class NotApplicable(Exception):  # noqa: N818  -- no error: the device is not asked this
    """End a check that means nothing for this device on this machine; the message tells why."""


class Subject:
    """A device under check, and the oracle that it is compared with.

    Args:
        spec: Its description.
        device: Open, or None if it did not open.
        failure: Why it did not.
        options: What it was opened with.
    """

    def __init__(
        self,
        spec: DeviceSpec,
        device: Device | None,
        failure: MsinetError | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.spec = spec
        self.opened = device
        self.failure = failure
        self.options = dict(options or {})
        self.oracle = ORACLE

    @property
    def device(self) -> Device:
        """The open device.

        Raises:
            MsinetError: It did not open.
        """
        if self.opened is None:
            raise self.failure or MsinetError(f"Device '{self.spec.name}' is not open.")
        return self.opened

    @property
    def tolerances(self) -> Tolerances:
        """What passes in the precision of the device."""
        return TOLERANCES[self.device.precision]

    @cached_property
    def probe(self) -> Probe:
        """What the device's probe answers on this machine."""
        return run_probe(self.spec)


@dataclass(frozen=True)
class Outcome:
    """How far the device was from what was expected.

    Args:
        difference: In a measure where 0 is agreement.
        tolerance: The largest difference that passes.
        reason: What is wrong beyond the size of the difference, or where it is largest.
    """

    difference: float
    tolerance: float
    reason: str = ""

    @property
    def passed(self) -> bool:
        """Whether the difference is a number within the tolerance."""
        return self.difference <= self.tolerance


Check = Callable[[Subject], Outcome]


@dataclass(frozen=True)
class Scenario:
    """One thing that a device must do as the reference does.

    Args:
        id: Stable; reports, documents and lists of expected failures name it.
        description: What must hold; a sentence.
        check: Finds out; may raise, which counts as a failure.
        measure: The field of `Tolerances` that it is held to.
        needs: Properties of `Capabilities` without which it does not apply.
        slow: Whether a quick check leaves it out.
    """

    id: str
    description: str
    check: Check
    measure: str
    needs: tuple[str, ...] = ()
    slow: bool = False

    @property
    def group(self) -> str:
        """The part of the id before the slash."""
        return self.id.split("/")[0]

    def missing(self, spec: DeviceSpec) -> str:
        """Tell why the scenario does not apply to a device; empty when it does.

        Args:
            spec: The device.
        """
        lacks = [name for name in self.needs if not getattr(spec.capabilities, name)]
        return MISSING_CAPABILITY[lacks[0]] if lacks else ""


def compare(actual: ArrayLike, expected: Array, tolerance: float) -> Outcome:
    """Compare two arrays relative to the largest expected value.

    Args:
        actual: The device's; read here, so it may be lazy.
        expected: The oracle's.
        tolerance: The largest difference that passes.
    """
    return compare_all({"": (actual, expected)}, tolerance)


def compare_all(pairs: Mapping[str, tuple[ArrayLike, Array]], tolerance: float) -> Outcome:
    """Compare named arrays, each relative to its own largest expected value; the worst counts.

    Args:
        pairs: The device's and the oracle's array by name.
        tolerance: The largest difference that passes.
    """
    worst = Outcome(0.0, tolerance)
    for name, (given, expected) in pairs.items():
        actual = np.asarray(given)
        unusable = _unusable(actual, expected, IMAGE_AXES)
        if unusable:
            return Outcome(np.inf, tolerance, f"{name or 'The result'} {unusable}")
        apart = np.abs(actual - expected)
        place = np.unravel_index(int(apart.argmax()), apart.shape)
        difference = float(apart[place]) / (float(np.abs(expected).max()) or 1.0)
        if difference > worst.difference:
            axes = IMAGE_AXES.get(actual.ndim)
            at = f"{tuple(map(int, place))}{f' of {axes}' if axes else ''}"
            reason = (
                f"{name or 'The result'} is {actual[place]:.6g} at {at}, "
                f"should be {expected[place]:.6g}."
            )
            worst = Outcome(difference, tolerance, reason)
    return worst


def compare_norms(
    pairs: Mapping[str, tuple[ArrayLike, Array]], tolerance: float, share: float = 0.1
) -> Outcome:
    """Compare the norm of each array's difference with its expected norm; the worst counts.

    Args:
        pairs: The device's and the oracle's array by name.
        tolerance: The largest difference that passes.
        share: An array whose expected norm is below this share of the largest is compared relative
            to that share: what sums of opposite signs leave over has no precision of its own. With
            1 all arrays are measured by the largest.
    """
    norms = {name: float(np.linalg.norm(expected)) for name, (_, expected) in pairs.items()}
    floor = share * max(norms.values())
    worst = Outcome(0.0, tolerance)
    for name, (given, expected) in pairs.items():
        actual = np.asarray(given)
        unusable = _unusable(actual, expected, WEIGHT_AXES)
        if unusable:
            return Outcome(np.inf, tolerance, f"{name} {unusable}")
        apart = float(np.linalg.norm(actual - np.asarray(expected, np.float64)))
        difference = apart / (max(norms[name], floor) or 1.0)
        if difference > worst.difference:
            reason = f"{name} has norm {np.linalg.norm(actual):.6g}, should have {norms[name]:.6g};"
            worst = Outcome(difference, tolerance, f"{reason} the difference has {apart:.3g}.")
    return worst


def _unusable(actual: Array, expected: Array, axes: Mapping[int, str]) -> str:
    if actual.shape != expected.shape:
        order = axes.get(expected.ndim)
        wanted = f"{expected.shape}{f', that is {order}' if order else ''}"
        return f"has shape {actual.shape}, should have {wanted}."
    if actual.dtype != np.float32:
        return f"is {actual.dtype}, should be float32."
    if not np.isfinite(actual).all():
        return f"has {np.count_nonzero(~np.isfinite(actual))} values that are no numbers."
    return ""


def compare_bits(pairs: Mapping[str, tuple[ArrayLike, Array]]) -> Outcome:
    """Count the values that are not the same to the last bit; none may differ.

    Args:
        pairs: The device's and the expected array by name.
    """
    differing, reason = 0, ""
    for name, (given, expected) in pairs.items():
        actual = np.ascontiguousarray(given)
        wanted = np.ascontiguousarray(expected)
        if (actual.shape, actual.dtype) != (wanted.shape, wanted.dtype):
            reason = (
                f"{name} is {actual.dtype} of shape {actual.shape}, should be {wanted.dtype} of "
                f"shape {wanted.shape}."
            )
            return Outcome(np.inf, 0.0, reason)
        count = int(np.count_nonzero(actual.view(np.uint32) != wanted.view(np.uint32)))
        if count and not differing:
            reason = f"{name}: {count} of {wanted.size} values are not the same bits."
        differing += count
    return Outcome(float(differing), 0.0, reason)
