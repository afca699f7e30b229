"""The kit that proves a device against the reference, through the public contract only.

``msinet-run plugins check DEVICE`` runs it, ``run(spec)`` from Python; a class that subclasses
`DeviceConformance` makes a pytest test of each row. docs/reference/conformance.md lists the rows.
"""

from __future__ import annotations

import typing

from msinet_core.conformance.expected import ExpectedFailure, read_expected
from msinet_core.conformance.report import Report, Result
from msinet_core.conformance.runner import ALL_SCENARIOS, DOOR, SCENARIOS, prove, run
from msinet_core.conformance.scenario import Outcome, Scenario, Subject
from msinet_core.conformance.tolerances import TOLERANCES, Tolerances

if typing.TYPE_CHECKING:
    from msinet_core.conformance.suite import DeviceConformance

__all__ = [
    "ALL_SCENARIOS",
    "DOOR",
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
    "prove",
    "read_expected",
    "run",
]


def __getattr__(name: str) -> type[DeviceConformance]:
    """Import the pytest form, and with it pytest, only for who asks for it."""
    if name == "DeviceConformance":
        from msinet_core.conformance.suite import DeviceConformance

        return DeviceConformance
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List what is public, what is not imported yet included."""
    return __all__
