"""What the failures of a device look like: which known fault fails the same rows."""

from __future__ import annotations

import warnings
from collections.abc import Sequence, Set
from functools import cache

from msinet_core.conformance.faults import FAULTS, Fault
from msinet_core.conformance.report import Result
from msinet_core.conformance.runner import SCENARIOS, Checker
from msinet_core.conformance.scenario import Scenario
from msinet_core.device import DeviceSpec

_GROUPS = ("forward", "gradient", "loss", "adam", "weights")
"""Rows that a fault can be run against in a moment; whole networks take longer."""

_ENOUGH = 0.8
"""The share of failed rows that a fault and a device must have in common."""

_MOST = 4
"""How many faults are tried; each takes about a second."""

PAGE = "docs/reference/conformance.md"


def likeness(rows: Sequence[Result]) -> str:
    """Say which fault of the table a device seems to have; empty when none fits well.

    Each fault whose rows all failed is run against the quick rows that the device was checked by,
    and what fails then is compared with what failed.

    Args:
        rows: What was found, in any order.
    """
    checked = {row.id for row in rows if row.passed is not None}
    failed = {row.id for row in rows if row.passed is False}
    raised = {row.id for row in rows if row.passed is False and row.error is not None}
    if 2 * len(raised) >= len(failed):  # nothing is wrong with numbers; what was raised says more
        return ""
    candidates = [fault for fault in FAULTS if _may_be(fault, checked, failed)]
    candidates.sort(key=lambda fault: len(_rows(fault) & failed), reverse=True)
    scores = {
        fault.name: _share(_fails(fault, checked), failed & _quick(checked) | _rows(fault) & failed)
        for fault in candidates[:_MOST]
    }
    best = max(scores.values(), default=0.0)
    if best < _ENOUGH:
        return ""
    names = [f"'{name}'" for name, score in scores.items() if score == best]
    return f"This looks like: {' or '.join(names)}. See 'Wrong devices' in {PAGE}."


def _may_be(fault: Fault, checked: Set[str], failed: Set[str]) -> bool:
    asked = _rows(fault) & checked
    return bool(asked) and asked <= failed and not isinstance(fault.make(), DeviceSpec)


@cache
def _rows(fault: Fault) -> frozenset[str]:
    return frozenset(scenario.id for scenario in fault.scenarios)


def _quick(checked: Set[str]) -> Set[str]:
    return {row.id for row in SCENARIOS if row.id in checked and _is_quick(row)}


def _is_quick(scenario: Scenario) -> bool:
    return scenario.group in _GROUPS and scenario.id != "gradient/network"


def _fails(fault: Fault, checked: Set[str]) -> Set[str]:
    """Run a fault against the rows that are quick; its own rows it is known to fail."""
    checker = Checker(fault.subject())
    asked = [row for row in SCENARIOS if row.id in _quick(checked) - _rows(fault)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # some divide by zero
        found = {row.id for row in asked if checker.result(row).passed is False}
    return found | (_rows(fault) & checked)


def _share(one: Set[str], other: Set[str]) -> float:
    return len(one & other) / (len(one | other) or 1)
