"""The kit as a class to subclass: one pytest test for each row. Only this module needs pytest."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from msinet_core.conformance.expected import ExpectedFailure, read_expected
from msinet_core.conformance.report import FAILURES
from msinet_core.conformance.runner import ALL_SCENARIOS, DOOR, Checker, open_subject
from msinet_core.conformance.scenario import Scenario
from msinet_core.device import DeviceSpec
from msinet_core.errors import UsageError
from msinet_core.registry.registry import load_registry


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
    """A file of rows that may fail, each with a reason and a link; a relative path is looked for in
    the folder of the module that says it, then in the current folder.
    """
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
        subject = open_subject(cls._spec(), cls.precision, cls.options)
        return Checker(subject, cls._expected(), cls.quick)

    @classmethod
    def _spec(cls) -> DeviceSpec:
        named: str | DeviceSpec | None = getattr(cls, "device", None)
        if named is None:
            raise UsageError(f'{cls.__name__} names no device. Write in it: device = "NAME"')
        if isinstance(named, str):
            return load_registry(in_process=True).spec(named)
        return named

    @classmethod
    def _expected(cls) -> Mapping[str, ExpectedFailure] | None:
        if cls.expected_failures is None:
            return None
        sayer = next(one for one in cls.__mro__ if "expected_failures" in vars(one))
        beside = Path(inspect.getfile(sayer)).parent / cls.expected_failures
        path = beside if beside.exists() else Path(cls.expected_failures)
        return read_expected(path, [scenario.id for scenario in ALL_SCENARIOS])

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Refuse what no row could be checked with, once, while pytest collects.

        Args:
            metafunc: The test that pytest is about to repeat for each row.

        Raises:
            pytest.Collector.CollectError: The device is not known, or lacks the precision or an
                option, or the file of expected failures cannot be used.
        """
        try:
            spec = self._spec()
            spec.check_precision(self.precision or "auto")
            spec.check_options(self.options)
            self._expected()
        except UsageError as error:
            raise pytest.Collector.CollectError(f"{type(self).__name__}: {error}") from error

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
            raise _failure(told + (numbers if result.tolerance else ""), result.error)
        if result.status == "expected failure":
            pytest.xfail(result.reason)
        if result.status != "passed":
            pytest.skip(f"{result.status}: {result.reason}")


def _failure(message: str, error: BaseException | None) -> BaseException:
    """Make what a failed row raises: a message, and under it where the device raised."""
    trace = "".join(traceback.format_exception(error)) if error else ""
    failure = pytest.fail.Exception(f"{message}\n{trace}".rstrip(), pytrace=False)
    failure.__cause__ = error
    return failure
