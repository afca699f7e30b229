"""Compare what a device returned with what it should have returned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
Pairs = Mapping[str, tuple[ArrayLike, Array]]
"""Actual and expected array by name; an actual one may still be computing, and is read here."""

IMAGE_AXES: Mapping[int, str] = {4: "(N, H, W, C)", 1: "(N,)"}
"""The axes of maps and losses on the host, by number of axes."""

WEIGHT_AXES: Mapping[int, str] = {4: "(H, W, in, out)", 1: "(out,)"}
"""The axes of kernels and biases on the host, by number of axes."""


@dataclass(frozen=True)
class Outcome:
    """How far a result is from the expected one.

    Args:
        difference: 0 means equal.
        tolerance: The largest difference that passes.
        reason: Where the difference is largest, or what else is wrong.
    """

    difference: float
    tolerance: float
    reason: str = ""

    @property
    def passed(self) -> bool:
        """Whether the difference is a number within the tolerance."""
        return self.difference <= self.tolerance


def worst(*outcomes: Outcome) -> Outcome:
    """Return the first outcome that failed, or the one closest to its tolerance.

    Args:
        outcomes: At least one.
    """
    for outcome in outcomes:
        if not outcome.passed:
            return outcome
    return max(outcomes, key=lambda outcome: outcome.difference / (outcome.tolerance or 1.0))


def compare(actual: ArrayLike, expected: Array, tolerance: float) -> Outcome:
    """Compare two arrays relative to the largest expected value.

    Args:
        actual: The device's; read here.
        expected: The reference's.
        tolerance: The largest difference that passes.
    """
    return compare_all({"": (actual, expected)}, tolerance)


def compare_all(pairs: Pairs, tolerance: float) -> Outcome:
    """Compare arrays, each relative to its largest expected value; the worst counts.

    Args:
        pairs: Actual and expected array by name.
        tolerance: The largest difference that passes.
    """
    largest = Outcome(0.0, tolerance)
    for name, (lazy, expected) in pairs.items():
        actual = np.asarray(lazy)
        unusable = _unusable(actual, expected, IMAGE_AXES)
        if unusable:
            return Outcome(np.inf, tolerance, f"{name or 'The result'} {unusable}")
        apart = np.abs(actual - expected)
        index = np.unravel_index(int(apart.argmax()), apart.shape)
        difference = float(apart[index]) / (float(np.abs(expected).max()) or 1.0)
        if difference > largest.difference:
            axes = IMAGE_AXES.get(actual.ndim)
            at = f" at {tuple(map(int, index))}{f' of {axes}' if axes else ''}" if index else ""
            reason = (
                f"{name or 'The result'} is {actual[index]:.6g}{at}, "
                f"should be {expected[index]:.6g}."
            )
            largest = Outcome(difference, tolerance, reason)
    return largest


def compare_norms(pairs: Pairs, tolerance: float, share: float = 0.1) -> Outcome:
    """Compare the norm of each array's difference with its expected norm; the worst counts.

    Args:
        pairs: Actual and expected array by name.
        tolerance: The largest difference that passes.
        share: An expected norm below this share of the largest one is raised to it, since what is
            left of a sum of opposite signs has no precision of its own. With 1, every difference
            is relative to the largest norm.
    """
    norms = {name: float(np.linalg.norm(expected)) for name, (_, expected) in pairs.items()}
    floor = share * max(norms.values())
    largest = Outcome(0.0, tolerance)
    for name, (lazy, expected) in pairs.items():
        actual = np.asarray(lazy)
        unusable = _unusable(actual, expected, WEIGHT_AXES)
        if unusable:
            return Outcome(np.inf, tolerance, f"{name} {unusable}")
        apart = float(np.linalg.norm(actual - np.asarray(expected, np.float64)))
        difference = apart / (max(norms[name], floor) or 1.0)
        if difference > largest.difference:
            reason = (
                f"{name} has norm {np.linalg.norm(actual):.6g}, should have {norms[name]:.6g}; "
                f"the difference has norm {apart:.3g}."
            )
            largest = Outcome(difference, tolerance, reason)
    return largest


def compare_bits(pairs: Pairs) -> Outcome:
    """Count the values that differ in any bit; none may.

    Args:
        pairs: Actual and expected array by name.
    """
    differing, reason = 0, ""
    for name, (lazy, wanted) in pairs.items():
        actual, expected = np.ascontiguousarray(lazy), np.ascontiguousarray(wanted)
        if (actual.shape, actual.dtype) != (expected.shape, expected.dtype):
            reason = (
                f"{name} is {actual.dtype} of shape {actual.shape}, should be {expected.dtype} of "
                f"shape {expected.shape}."
            )
            return Outcome(np.inf, 0.0, reason)
        count = int(np.count_nonzero(actual.view(np.uint32) != expected.view(np.uint32)))
        if count and not differing:
            reason = f"{name}: {count} of {expected.size} values differ."
        differing += count
    return Outcome(float(differing), 0.0, reason)


def _unusable(actual: Array, expected: Array, axes: Mapping[int, str]) -> str:
    if actual.shape != expected.shape:
        order = axes.get(expected.ndim)
        return (
            f"has shape {actual.shape}, should have {expected.shape}"
            f"{f', in the order {order}' if order else ''}."
        )
    if actual.dtype != np.float32:
        return f"has dtype {actual.dtype}, should be float32."
    if not np.isfinite(actual).all():
        return f"has {np.count_nonzero(~np.isfinite(actual))} values that are not finite."
    return ""
