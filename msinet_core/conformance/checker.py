"""Run one row on one device."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from msinet_core.conformance.expected import ExpectedFailure
from msinet_core.conformance.report import Result
from msinet_core.conformance.scenario import NotApplicable, Scenario, Subject
from msinet_core.conformance.scenarios import OPENING
from msinet_core.registry import diagnosis

NOT_OPEN = "the device did not open"


class Checker:
    """Run rows on one device.

    Args:
        subject: The device, open or not.
        expected: The rows that may fail.
        quick: Whether to skip slow rows.
        soak: Whether to run the rows that watch memory for minutes.
    """

    def __init__(
        self,
        subject: Subject,
        expected: Mapping[str, ExpectedFailure] | None = None,
        quick: bool = False,
        soak: bool = False,
    ) -> None:
        self.subject = subject
        self._expected = expected or {}
        self._quick = quick
        self._soak = soak

    def result(self, scenario: Scenario) -> Result:
        """Run one row; an exception from the device is a failure.

        Args:
            scenario: The row.
        """
        started = time.perf_counter()
        result = self._run(scenario)
        expected = self._expected.get(scenario.id)
        if expected and result.status == "failed":
            reason = f"{expected} Found: {result.reason}"
            result = replace(result, status="expected failure", reason=reason)
        elif expected and result.status == "passed":
            reason = f"Expected to fail: {expected} Remove it from the list."
            result = replace(result, status="passed unexpectedly", reason=reason)
        return replace(result, seconds=time.perf_counter() - started)

    def runs(self, scenario: Scenario) -> bool:
        """Say whether a row runs.

        Args:
            scenario: The row.
        """
        return not (self._skipped(scenario) or self._missing(scenario))

    def _missing(self, scenario: Scenario) -> str:
        missing = scenario.missing(self.subject.spec)
        if self.subject.opened is None and scenario not in OPENING:
            missing = missing or NOT_OPEN
        return missing

    def _run(self, scenario: Scenario) -> Result:
        row = (scenario.id, scenario.description)
        skipped, missing = self._skipped(scenario), self._missing(scenario)
        if skipped:
            return Result(*row, "skipped", reason=skipped)
        if missing:
            return Result(*row, "not applicable", reason=missing)
        try:
            outcome = scenario.check(self.subject)
        except NotApplicable as error:
            return Result(*row, "not applicable", reason=str(error))
        except Exception as error:  # any failure of a third-party device is a finding
            reason = diagnosis.describe_failure(error, self.subject.spec)
            diagnosis.clear_locals(error)
            return Result(*row, "failed", reason=reason, error=error)
        numbers = (outcome.difference, outcome.tolerance)
        if outcome.passed:
            return Result(*row, "passed", *numbers)
        return Result(*row, "failed", *numbers, outcome.reason)

    def _skipped(self, scenario: Scenario) -> str:
        if scenario.soak and not self._soak:
            return "runs with --soak only"
        return "slow; runs without --quick" if self._quick and scenario.slow else ""
