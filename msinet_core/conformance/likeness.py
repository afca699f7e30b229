"""Find the known fault that fails the same rows as a device."""

from __future__ import annotations

import warnings
from collections.abc import Sequence, Set

from msinet_core.conformance.checker import Checker
from msinet_core.conformance.faults import FAULTS, Fault
from msinet_core.conformance.report import Result
from msinet_core.conformance.scenario import Scenario
from msinet_core.conformance.scenarios import SCENARIOS
from msinet_core.device import DeviceSpec

_GROUPS = ("forward", "gradient", "loss", "adam", "state")
"""Groups whose rows run in a moment; whole networks take longer."""

_ENOUGH = 0.8
"""The share of failed rows that the fault and the device must have in common."""

_MOST = 4
"""How many faults are tried; each takes about a second."""

PAGE = "docs/reference/conformance.md"


def likeness(rows: Sequence[Result]) -> str:
    """Name the known fault that a device seems to have; empty if none fits well.

    A fault is tried if all its rows failed: it runs through the quick rows that were checked, and
    the rows that it fails are compared with the rows that the device failed.

    Args:
        rows: The results, in any order.
    """
    checked = {row.id for row in rows if row.passed is not None}
    failed = {row.id for row in rows if row.passed is False}
    raised = {row.id for row in rows if row.passed is False and row.error is not None}
    if 2 * len(raised) >= len(failed):  # then the exceptions explain more
        return ""
    candidates = [fault for fault in FAULTS if _fits(fault, checked, failed)]
    candidates.sort(key=lambda fault: len(fault.ids & failed), reverse=True)
    quick = {row.id for row in SCENARIOS if row.id in checked and _is_quick(row)}
    scores = {
        fault.name: _overlap(_failures(fault, checked, quick), failed & (quick | fault.ids))
        for fault in candidates[:_MOST]
    }
    best = max(scores.values(), default=0.0)
    if best < _ENOUGH:
        return ""
    names = [f"'{name}'" for name, score in scores.items() if score == best]
    return f"This looks like: {' or '.join(names)}. See 'Wrong devices' in {PAGE}."


def _fits(fault: Fault, checked: Set[str], failed: Set[str]) -> bool:
    rows = fault.ids & checked
    return bool(rows) and rows <= failed and not isinstance(fault.make(), DeviceSpec)


def _is_quick(scenario: Scenario) -> bool:
    return scenario.group in _GROUPS and scenario.id != "gradient/network"


def _failures(fault: Fault, checked: Set[str], quick: Set[str]) -> Set[str]:
    """Return the rows that a fault fails; its own rows are known to fail."""
    checker = Checker(fault.subject())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # some faults divide by zero
        return fault.ids & checked | {
            row.id
            for row in SCENARIOS
            if row.id in quick - fault.ids and checker.result(row).passed is False
        }


def _overlap(one: Set[str], other: Set[str]) -> float:
    return len(one & other) / (len(one | other) or 1)
