"""Check a device that is open, also one that is not registered."""

from __future__ import annotations

from collections.abc import Sequence

from msinet_core.conformance.checker import Checker
from msinet_core.conformance.report import Report
from msinet_core.conformance.runner import check_rows
from msinet_core.conformance.scenario import Scenario, Subject
from msinet_core.conformance.scenarios import SCENARIOS
from msinet_core.device import Device
from msinet_core.system.progress import Progress


def check_device(
    device: Device, progress: Progress | None = None, scenarios: Sequence[Scenario] = SCENARIOS
) -> Report:
    """Check an open device against the reference.

    Args:
        device: The device.
        progress: Shows each row.
        scenarios: The rows.
    """
    subject = Subject(device.spec, device, options=device.options)
    return check_rows(Checker(subject), progress, scenarios, device.precision)
