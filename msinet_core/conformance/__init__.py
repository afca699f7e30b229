"""The kit that proves a device against the reference, through the public contract only.

``run(spec)`` opens a device and returns a report with a row for each scenario;
``python -m msinet_core.conformance DEVICE`` does so in a process of its own.
"""

from __future__ import annotations

from msinet_core.conformance.report import Report, Result
from msinet_core.conformance.runner import SCENARIOS, prove, run
from msinet_core.conformance.scenario import Outcome, Scenario, Subject
from msinet_core.conformance.tolerances import TOLERANCES, Tolerances

__all__ = [
    "SCENARIOS",
    "TOLERANCES",
    "Outcome",
    "Report",
    "Result",
    "Scenario",
    "Subject",
    "Tolerances",
    "prove",
    "run",
]
