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

_SLOW = ("-large", "-512", "-1280", "gradient/network")
"""Endings of rows in these groups that take longer."""

_ENOUGH = 0.8
"""The share of failed rows that a fault and the device must have in common to be alike."""

_PARTLY = 0.6
"""The share that is worth a mention."""

_MOST = 24
"""How many faults are tried; each takes a tenth of a second."""


def likeness(rows: Sequence[Result]) -> str:
    """Name the known fault that a device seems to have; empty if none fits.

    A fault is tried if at least half of its rows failed: it runs through the quick rows that were
    checked, and the rows that it fails are compared with the rows that the device failed.

    Args:
        rows: The results, in any order.
    """
    checked = {row.id for row in rows if row.passed is not None}
    failed = {row.id for row in rows if row.passed is False}
    raised = {row.id for row in rows if row.passed is False and row.error is not None}
    if 2 * len(raised) >= len(failed):  # then the exceptions explain more
        return ""
    quick = {row.id for row in SCENARIOS if row.id in checked and _is_quick(row)}
    candidates = [fault for fault in FAULTS if _fits(fault, quick, failed)]
    candidates.sort(key=lambda fault: _overlap(fault.ids & quick, failed & quick), reverse=True)
    scores = {
        fault.name: _overlap(_failures(fault, quick), failed & quick)
        for fault in candidates[:_MOST]
    }
    best = max(scores.values(), default=0.0)
    if best < _PARTLY:
        return ""
    names = " or ".join(f"'{name}'" for name, score in scores.items() if score == best)
    much = "This looks like" if best >= _ENOUGH else "In part this looks like"
    return f"{much}: {names}. The page 'Conformance' of the documentation lists wrong devices."


def _fits(fault: Fault, quick: Set[str], failed: Set[str]) -> bool:
    rows = fault.ids & quick
    enough = bool(rows) and 2 * len(rows & failed) >= len(rows)
    return enough and not isinstance(fault.make(), DeviceSpec)


def _is_quick(scenario: Scenario) -> bool:
    return scenario.group in _GROUPS and not scenario.id.endswith(_SLOW)


def _failures(fault: Fault, quick: Set[str]) -> Set[str]:
    """Return the quick rows that a fault fails; its own rows are known to fail."""
    checker = Checker(fault.subject())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # some faults divide by zero
        return fault.ids & quick | {
            row.id
            for row in SCENARIOS
            if row.id in quick - fault.ids and checker.result(row).passed is False
        }


def _overlap(one: Set[str], other: Set[str]) -> float:
    return len(one & other) / (len(one | other) or 1)
