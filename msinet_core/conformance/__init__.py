"""The conformance kit: check a device against the reference through the public contract only.

``msinet-run plugins check DEVICE`` runs it, ``run(spec)`` from Python, and a subclass of
`DeviceConformance` makes each row a pytest test. docs/reference/conformance.md lists the rows.

* `promises`: what a device promises, and the rows that check it.
* `scenarios`: the rows, one module for each group or two.
* `walk`: calls in any order, compared with the oracle; the rows of the group ``calls`` use it.
* `faults`: wrong devices that the rows must catch.
* `checker` and `runner`: run one row, and all of them.
* `report` and `report_page`: the result as data and JSON, and as an HTML page.
* `suite`: the rows as pytest tests.
"""

from __future__ import annotations

import typing

from msinet_core.conformance.comparison import Outcome
from msinet_core.conformance.expected import ExpectedFailure, read_expected
from msinet_core.conformance.report import Report, Result, failed_rows
from msinet_core.conformance.runner import prove, run
from msinet_core.conformance.scenario import Scenario, Subject
from msinet_core.conformance.scenarios import ALL_SCENARIOS, OPENING, SCENARIOS, select
from msinet_core.conformance.tolerances import TOLERANCES, Tolerances

if typing.TYPE_CHECKING:
    from msinet_core.conformance.suite import DeviceConformance

__all__ = [
    "ALL_SCENARIOS",
    "OPENING",
    "SCENARIOS",
    "TOLERANCES",
    "DeviceConformance",
    "ExpectedFailure",
    "Outcome",
    "Report",
    "Result",
    "Scenario",
    "Subject",
    "Tolerances",
    "failed_rows",
    "prove",
    "read_expected",
    "run",
    "select",
]


def __getattr__(name: str) -> type[DeviceConformance]:
    """Import `DeviceConformance`, and with it pytest, on first use."""
    if name == "DeviceConformance":
        from msinet_core.conformance.suite import DeviceConformance

        return DeviceConformance
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
