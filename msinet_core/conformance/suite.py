"""The kit as a base class for pytest: one test for each row. Its methods need pytest."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from msinet_core.conformance.checker import Checker
from msinet_core.conformance.expected import ExpectedFailure, read_expected
from msinet_core.conformance.report import FAILURES
from msinet_core.conformance.scenario import Scenario, open_subject
from msinet_core.conformance.scenarios import ALL_SCENARIOS, OPENING
from msinet_core.conformance.scenarios.opening import OPENS
from msinet_core.device import DeviceSpec
from msinet_core.errors import UsageError
from msinet_core.registry.registry import load_registry

if TYPE_CHECKING:
    import pytest


class DeviceConformance:
    """Check a device with pytest; subclass it as ``class TestMyDevice(DeviceConformance)``.

    The device is opened once for the class. Rows that do not apply are skipped, and expected
    failures are xfailed (strictly). If the probe says that the device is not available, the rows
    that need it open are skipped.
    """

    device: ClassVar[str | DeviceSpec]
    """The device's name or description."""
    precision: ClassVar[str | None] = None
    """The precision to compute in; None for float32 if the device supports it."""
    options: ClassVar[Mapping[str, str]] = {}
    """The device options."""
    expected_failures: ClassVar[str | Path | None] = None
    """A file of expected failures; a relative path starts at the folder of the module that sets
    it, or at the current folder.
    """
    quick: ClassVar[bool] = False
    """Whether to skip slow rows."""

    @classmethod
    @cache
    def checker(cls) -> Checker:
        """Open the device, once for each class."""
        subject = open_subject(cls._spec(), cls.precision, cls.options)
        return Checker(subject, cls._expected(), cls.quick)

    @classmethod
    def _spec(cls) -> DeviceSpec:
        device: str | DeviceSpec | None = getattr(cls, "device", None)
        if device is None:
            raise UsageError(f'{cls.__name__} needs a device; add: device = "NAME"')
        if isinstance(device, str):
            return load_registry(in_process=True).spec(device)
        return device

    @classmethod
    def _expected(cls) -> Mapping[str, ExpectedFailure] | None:
        if cls.expected_failures is None:
            return None
        owner = next(one for one in cls.__mro__ if "expected_failures" in vars(one))
        beside = Path(inspect.getfile(owner)).parent / cls.expected_failures
        path = beside if beside.exists() else Path(cls.expected_failures)
        return read_expected(path, [scenario.id for scenario in ALL_SCENARIOS])

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Make a test of each row, and report settings that no row could run with once.

        Args:
            metafunc: The test that pytest is about to parametrize.

        Raises:
            pytest.Collector.CollectError: The device, precision or an option is unknown, or the
                file of expected failures is invalid.
        """
        import pytest

        if "scenario" in metafunc.fixturenames:
            metafunc.parametrize("scenario", ALL_SCENARIOS, ids=lambda scenario: scenario.id)
        try:
            spec = self._spec()
            spec.check_precision(self.precision or "auto")
            spec.check_options(self.options)
            self._expected()
        except UsageError as error:
            raise pytest.Collector.CollectError(f"{type(self).__name__}: {error}") from error

    def test_row(self, scenario: Scenario) -> None:
        """Check one row."""
        import pytest

        checker = self.checker()
        subject = checker.subject
        needs_open = scenario.id == OPENS or scenario not in OPENING
        if needs_open and subject.opened is None and not subject.probe.ready:
            pytest.skip(f"the device is not available: {subject.probe.reason}")
        result = checker.result(scenario)
        if result.status in FAILURES:
            numbers = f" ({result.difference} of {result.tolerance})" if result.tolerance else ""
            message = f"{result.description} {result.reason}".strip() + numbers
            raise _failure(message, result.error)
        if result.status == "expected failure":
            pytest.xfail(result.reason)
        if result.status != "passed":
            pytest.skip(f"{result.status}: {result.reason}")


def _failure(message: str, error: BaseException | None) -> BaseException:
    """Make the failure of a row: a message, followed by the device's traceback."""
    import pytest

    trace = "".join(traceback.format_exception(error)) if error else ""
    failure = pytest.fail.Exception(f"{message}\n{trace}".rstrip(), pytrace=False)
    failure.__cause__ = error
    return failure
