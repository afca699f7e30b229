"""The kit as a class to subclass: one pytest test for each row. Only this module needs pytest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from msinet_core.conformance.expected import read_expected
from msinet_core.conformance.report import FAILURES
from msinet_core.conformance.runner import ALL_SCENARIOS, DOOR, Checker, open_subject
from msinet_core.conformance.scenario import Scenario
from msinet_core.device import DeviceSpec
from msinet_core.registry import load_registry


class DeviceConformance:
    """Prove a device with pytest; subclass it as ``class TestMyDevice(DeviceConformance)``.

    The device is opened once for the class. Rows that do not apply are skipped, expected failures
    are xfailed, and one that passes is a failure. Where the probe says that the device is not here,
    the rows that need it open are skipped with the probe's reason.
    """

    device: ClassVar[str | DeviceSpec]
    """The device's name, or its description."""
    precision: ClassVar[str | None] = None
    """What to compute in; None for float32 where the device offers it."""
    options: ClassVar[Mapping[str, str]] = {}
    """Values for some of the device's options."""
    expected_failures: ClassVar[str | Path | None] = None
    """A file of rows that may fail, each with a reason and a link."""
    quick: ClassVar[bool] = False
    """Whether to leave out slow rows."""
    _checker: ClassVar[Checker]

    @classmethod
    def checker(cls) -> Checker:
        """Open the device, once for each class."""
        if "_checker" not in vars(cls):
            cls._checker = cls._open()
        return cls._checker

    @classmethod
    def _open(cls) -> Checker:
        spec = load_registry().spec(cls.device) if isinstance(cls.device, str) else cls.device
        expected = None
        if cls.expected_failures is not None:
            rows = [scenario.id for scenario in ALL_SCENARIOS]
            expected = read_expected(Path(cls.expected_failures), rows)
        subject = open_subject(spec, cls.precision, cls.options)
        return Checker(subject, expected, cls.quick)

    @pytest.mark.parametrize("scenario", ALL_SCENARIOS, ids=lambda scenario: scenario.id)
    def test_row(self, scenario: Scenario) -> None:
        """Check one row."""
        checker = self.checker()
        subject = checker.subject
        closed = scenario.id == "device/opens" or scenario not in DOOR
        if closed and subject.opened is None and not subject.probe.ready:
            pytest.skip(f"the device is not here: {subject.probe.reason}")
        result = checker.result(scenario)
        told = f"{result.description} {result.reason}".strip()
        if result.status in FAILURES:
            numbers = f" ({result.difference} of {result.tolerance})"
            pytest.fail(told + (numbers if result.tolerance else ""), pytrace=False)
        if result.status == "expected failure":
            pytest.xfail(result.reason)
        if result.status != "passed":
            pytest.skip(f"{result.status}: {result.reason}")
