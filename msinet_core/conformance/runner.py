"""Runs the scenarios on a device."""

from __future__ import annotations

import time
from collections.abc import Sequence

from msinet_core.conformance import forward, gradients, training, weights
from msinet_core.conformance.report import Report, Result
from msinet_core.conformance.scenario import Scenario, Subject
from msinet_core.device import Device, DeviceSpec
from msinet_core.errors import MsinetError
from msinet_core.progress import Progress

SCENARIOS: tuple[Scenario, ...] = (
    *forward.SCENARIOS,
    *gradients.SCENARIOS,
    *training.SCENARIOS,
    *weights.SCENARIOS,
)
"""Every scenario, in the order in which reports list them."""

OPENS = ("device/opens", "The device opens with its framework and its hardware.")


def run(spec: DeviceSpec, progress: Progress | None = None, precision: str | None = None) -> Report:
    """Open a device and prove it against the reference.

    Args:
        spec: The device.
        progress: Told of each scenario.
        precision: What to compute in; None for float32 where the device offers it, since that is
            where tolerances are tightest, else for the device's own choice.

    Returns:
        A report; a device that does not open has one row, which failed.
    """
    if precision is None:
        precision = "float32" if "float32" in spec.capabilities.precisions else "auto"
    started = time.monotonic()
    try:
        device = spec.open(precision)
    except MsinetError as error:
        row = Result(*OPENS, passed=False, reason=str(error))
        return Report(spec.name, precision, time.monotonic() - started, (row,))
    opening = Report(
        spec.name, device.precision, time.monotonic() - started, (Result(*OPENS, passed=True),)
    )
    return _joined(opening, prove(device, progress))


def prove(
    device: Device,
    progress: Progress | None = None,
    scenarios: Sequence[Scenario] = SCENARIOS,
) -> Report:
    """Prove an open device against the reference.

    Args:
        device: The device.
        progress: Told of each scenario.
        scenarios: Which ones.
    """
    started = time.monotonic()
    subject = Subject(device)
    rows = []
    name = device.spec.name
    with (progress or Progress()).task(f"checking {name}", len(scenarios), "scenarios") as task:
        for scenario in scenarios:
            rows.append(_result(scenario, subject))
            task.advance()
    seconds = time.monotonic() - started
    return Report(name, device.precision, seconds, tuple(rows), device.versions())


def _result(scenario: Scenario, subject: Subject) -> Result:
    told = (scenario.id, scenario.description)
    if scenario.training and not subject.device.spec.capabilities.training:
        return Result(*told, passed=None, reason="not applicable: the device does not train")
    try:
        outcome = scenario.check(subject)
    except Exception as error:  # whatever a foreign device raises is a finding, not our end
        return Result(*told, passed=False, reason=f"{type(error).__name__}: {error}")
    reason = "" if outcome.passed else outcome.reason
    return Result(*told, outcome.passed, outcome.difference, outcome.tolerance, reason)


def _joined(first: Report, second: Report) -> Report:
    return Report(
        second.device,
        second.precision,
        first.seconds + second.seconds,
        first.rows + second.rows,
        second.versions,
    )
