"""Runs the scenarios on a device."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from msinet_core.conformance import contract, forward, gradients, training, weights
from msinet_core.conformance.expected import ExpectedFailure
from msinet_core.conformance.facts import facts
from msinet_core.conformance.report import FAILURES, Report, Result
from msinet_core.conformance.scenario import NotApplicable, Scenario, Subject
from msinet_core.device import Device, DeviceSpec
from msinet_core.errors import MsinetError
from msinet_core.registry import diagnosis
from msinet_core.system.progress import Progress

DOOR: tuple[Scenario, ...] = contract.SCENARIOS
"""What is asked of a device's description, its probe and its opening."""

SCENARIOS: tuple[Scenario, ...] = (
    *forward.SCENARIOS,
    *gradients.SCENARIOS,
    *training.SCENARIOS,
    *weights.SCENARIOS,
)
"""What is asked of an open device, in the order in which reports list it."""

ALL_SCENARIOS: tuple[Scenario, ...] = (*DOOR, *SCENARIOS)
"""Every scenario, in the order in which reports list them."""

CLOSED = "the device did not open"


class Checker:
    """Finds out what becomes of each row on one device.

    Args:
        subject: The device, open or not.
        expected: The rows that may fail.
        quick: Whether to leave out the slow ones.
    """

    def __init__(
        self,
        subject: Subject,
        expected: Mapping[str, ExpectedFailure] | None = None,
        quick: bool = False,
    ) -> None:
        self.subject = subject
        self._expected = expected or {}
        self._quick = quick

    def result(self, scenario: Scenario) -> Result:
        """Check one scenario; whatever the device raises is a finding.

        Args:
            scenario: Any.
        """
        started = time.perf_counter()
        result = self._found(scenario)
        expected = self._expected.get(scenario.id)
        if expected and result.status == "failed":
            reason = f"{expected} Found: {result.reason}"
            result = replace(result, status="expected failure", reason=reason)
        elif expected and result.status == "passed":
            reason = f"Expected to fail: {expected} Take it out of the list."
            result = replace(result, status="passed unexpectedly", reason=reason)
        return replace(result, seconds=time.perf_counter() - started)

    def _found(self, scenario: Scenario) -> Result:
        told = (scenario.id, scenario.description)
        if scenario.slow and self._quick:
            return Result(*told, "left out", reason="slow; a check that is not quick runs it")
        missing = scenario.missing(self.subject.spec)
        if missing:
            return Result(*told, "not applicable", reason=missing)
        if self.subject.opened is None and scenario not in DOOR:
            return Result(*told, "not applicable", reason=CLOSED)
        try:
            outcome = scenario.check(self.subject)
        except NotApplicable as error:
            return Result(*told, "not applicable", reason=str(error))
        except Exception as error:  # whatever a foreign device raises is a finding, not our end
            reason = diagnosis.describe_failure(error, self.subject.spec)
            diagnosis.clear_locals(error)
            return Result(*told, "failed", reason=reason, error=error)
        numbers = (outcome.difference, outcome.tolerance)
        if outcome.passed:
            return Result(*told, "passed", *numbers)
        return Result(*told, "failed", *numbers, outcome.reason)


def open_subject(
    spec: DeviceSpec, precision: str | None = None, options: Mapping[str, str] | None = None
) -> Subject:
    """Open a device to check it; one that does not open is a subject too.

    Args:
        spec: The device.
        precision: What to compute in; None for float32 where the device offers it, since that is
            where tolerances are tightest, else for the device's own choice.
        options: Values for some of the device's options.
    """
    if precision is None:
        precision = "float32" if spec.capabilities.float32 else "auto"
    try:
        return Subject(spec, spec.open(precision, options), options=options)
    except MsinetError as error:
        return Subject(spec, None, error, options)


def run(
    spec: DeviceSpec,
    progress: Progress | None = None,
    precision: str | None = None,
    *,
    options: Mapping[str, str] | None = None,
    expected: Mapping[str, ExpectedFailure] | None = None,
    quick: bool = False,
) -> Report:
    """Open a device and prove it against the reference.

    Args:
        spec: The device.
        progress: Told of each scenario.
        precision: As `open_subject` takes it.
        options: Values for some of the device's options.
        expected: The rows that may fail, as `read_expected` reads them.
        quick: Whether to leave out the slow rows.

    Returns:
        A report; of a device that does not open it has the rows of the door only. After Ctrl-C it
        has the rows so far and is not `complete`.
    """
    started = time.monotonic()
    subject = open_subject(spec, precision, options)
    scenarios = DOOR if subject.opened is None else ALL_SCENARIOS
    report = _report(Checker(subject, expected, quick), progress, scenarios, precision or "auto")
    report = replace(report, seconds=time.monotonic() - started)
    if report.complete and report.failed:
        from msinet_core.conformance.likeness import likeness  # its faults are made of our rows

        with suppress(KeyboardInterrupt):  # then the report is whole all the same
            report = replace(report, likeness=likeness(report.rows))
    return report


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

    Returns:
        A report; after Ctrl-C it has the rows so far and is not `complete`.
    """
    subject = Subject(device.spec, device, options=device.options)
    return _report(Checker(subject), progress, scenarios, device.precision)


def _report(
    checker: Checker,
    progress: Progress | None,
    scenarios: Sequence[Scenario],
    asked: str,
) -> Report:
    started = time.monotonic()
    subject, rows, complete = checker.subject, list[Result](), False
    name, shown = subject.spec.name, progress or Progress()
    try:
        with shown.task(f"checking {name}", len(scenarios), "rows") as task:
            for scenario in scenarios:
                row = checker.result(scenario)
                rows.append(row)
                _tell(shown, rows)
                task.advance(row=row.id)
        complete = True
    except KeyboardInterrupt:  # what was found so far took minutes, and may be what was sought
        shown.message(f"Interrupted after {len(rows)} of {len(scenarios)} rows.")
    opened = subject.opened
    return Report(
        name,
        opened.precision if opened else asked,
        time.monotonic() - started,
        tuple(rows),
        opened.versions() if opened else {},
        subject.options,
        available=opened is not None,
        complete=complete,
        facts=facts(subject),
    )


def _tell(shown: Progress, rows: Sequence[Result]) -> None:
    """Tell that the last row failed, unless one failed before it for the same reason."""
    *before, row = rows
    if row.status in FAILURES and all(row.reason != other.reason for other in before):
        shown.message(f"{row.id} {row.status}")
