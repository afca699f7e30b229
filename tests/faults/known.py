"""The rows that each wrong device fails, for the hint that `plugins check` gives.

Write the table with ``python -m tests.faults.known``, after changes in the kit.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping

from msinet_core.conformance.checker import Checker
from msinet_core.conformance.likeness import KNOWN_FAULTS
from msinet_core.conformance.scenario import Scenario
from msinet_core.conformance.scenarios import SCENARIOS
from msinet_core.device import DeviceSpec
from msinet_core.system.files import write_text
from tests.faults import FAULTS, Fault

_GROUPS = ("forward", "gradient", "loss", "adam", "state")
"""Groups whose rows run in a moment; whole networks take longer."""

_SLOW = (
    *("-large", "-512", "-1280", "-from-512", "-five-images", "-each-op", "/many-values"),
    "gradient/network",
)
"""Endings of rows in these groups that take longer."""


def is_quick(scenario: Scenario) -> bool:
    """Return whether a row is in the table."""
    return scenario.group in _GROUPS and not scenario.id.endswith(_SLOW)


def has_quick_rows(fault: Fault) -> bool:
    """Return whether a fault is in the table: it is in what an open device computes."""
    return any(map(is_quick, fault.scenarios)) and not isinstance(fault.make(), DeviceSpec)


def failures(fault: Fault) -> list[str]:
    """Return the quick rows that a fault fails; its own rows are known to fail."""
    checker = Checker(fault.subject())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # some faults divide by zero
        return [
            row.id
            for row in SCENARIOS
            if is_quick(row) and (row.id in fault.ids or checker.result(row).passed is False)
        ]


def write_table() -> None:
    """Write the table of all faults."""
    rows = [row.id for row in SCENARIOS if is_quick(row)]
    number = {row: index for index, row in enumerate(rows)}
    faults: Mapping[str, list[int]] = {
        fault.name: [number[row] for row in failures(fault)]
        for fault in FAULTS
        if has_quick_rows(fault)
    }
    lines = [f"{json.dumps(name)}: {json.dumps(found)}" for name, found in faults.items()]
    inside = ",\n".join(lines)
    write_text(KNOWN_FAULTS, f'{{"rows": {json.dumps(rows)},\n"faults": {{\n{inside}\n}}}}\n')


if __name__ == "__main__":
    write_table()
