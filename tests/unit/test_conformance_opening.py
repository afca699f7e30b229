"""The rows about the description, the probe and opening."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

import pytest

from msinet_core.conformance.checker import Checker
from msinet_core.conformance.scenario import Subject, open_subject
from msinet_core.conformance.scenarios import OPENING
from msinet_core.conformance.scenarios.description import required_packages
from msinet_core.device import Availability, DeviceSpec, Probe
from msinet_core.errors import UsageError
from msinet_core.reference import SPEC
from tests.faults.descriptions import (
    heavy_light_module,
    heavy_probe,
    one_precision,
)


def absent(reason: str, fix: str) -> Probe:
    return Probe(Availability.NOT_HERE, reason=reason, fix=fix)


def silent_probe() -> Probe:
    return absent("", "")


def wrong_probe() -> None:
    return None


def rows(spec: DeviceSpec, group: str, opened: bool = True):
    checker = Checker(open_subject(spec) if opened else Subject(spec, None))
    return {row.id: checker.result(row) for row in OPENING if row.group == group}


def test_a_probe_that_cannot_be_pickled_fails_the_rows_about_it() -> None:
    found = rows(dataclasses.replace(SPEC, probe=lambda: absent("R.", "F.")), "description")
    assert found["description/imports"].status == "passed"
    for row in ("description/probe-imports", "description/probe-result", "description/probe-time"):
        assert found[row].status == "failed"
        assert "pickled" in found[row].reason


@pytest.mark.parametrize(
    ("probe", "named"),
    [(silent_probe, "reason ''"), (wrong_probe, "None")],
)
def test_a_result_without_reason_and_fix_is_a_failure(probe, named: str) -> None:
    row = rows(dataclasses.replace(SPEC, probe=probe), "description")["description/probe-result"]
    assert row.status == "failed"
    assert row.reason.count(named) == 2  # with and without PATH


def test_a_light_module_that_does_not_import_fails_with_its_exception(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "conformance_sulking.py"
    module.write_text("def probe():\n    return None\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import conformance_sulking  # type: ignore[import-not-found]

    module.write_text("raise RuntimeError('not twice')\n")
    found = rows(dataclasses.replace(SPEC, probe=conformance_sulking.probe), "description")
    assert found["description/imports"].status == "failed"
    assert "RuntimeError: not twice" in found["description/imports"].reason
    sys.modules.pop("conformance_sulking")


def test_packages_of_the_core_are_not_frameworks() -> None:
    spec = dataclasses.replace(SPEC, requires=("numpy>=1", "Pillow>=10", "no-such-thing"))
    assert {"PIL", "no_such_thing"} <= required_packages(spec)
    assert "numpy" not in required_packages(spec)
    elsewhere = dataclasses.replace(SPEC, requires=("pillow; sys_platform == 'nowhere'",))
    assert required_packages(elsewhere) == set()


def test_a_precision_that_this_machine_does_not_support_is_not_applicable() -> None:
    capabilities = dataclasses.replace(SPEC.capabilities, precisions=("float32", "bfloat16"))
    open_it = DeviceSpec.open

    class Refusing(DeviceSpec):
        def open(self, precision="auto", options=None, distribute="none"):
            if precision == "bfloat16":
                raise UsageError("This processor has no bfloat16.")
            return open_it(self, precision, options, distribute)

    refusing = Refusing(**{**vars(SPEC), "capabilities": capabilities})
    row = rows(refusing, "device")["device/bfloat16"]
    assert (row.status, row.reason) == ("not applicable", "This processor has no bfloat16.")


def ending_probe() -> None:
    os._exit(3)


def test_a_probe_that_ends_its_process_fails_the_rows_about_the_probe() -> None:
    found = rows(dataclasses.replace(SPEC, probe=ending_probe), "description", opened=False)
    assert found["description/imports"].status == "passed"
    for row in ("description/probe-imports", "description/probe-result", "description/probe-time"):
        assert found[row].status == "failed"
        assert "the probe ended the process with exit code 3" in found[row].reason


def test_opening_that_ends_the_process_fails_the_row_about_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conformance_ending.py").write_text("import os\nos._exit(5)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = dataclasses.replace(SPEC, requires=("h5py>=3",), factory="conformance_ending:Device")
    checker = Checker(Subject(spec, None))
    results = {row.id: checker.result(row) for row in OPENING}
    assert results["description/probe-result"].status == "passed"
    fallback = results["device/no-fallback"]
    assert fallback.status == "failed"
    assert "opening" in fallback.reason
    assert "exit code 5" in fallback.reason


def raising_probe() -> None:
    raise OSError("no such bus")


def test_a_probe_that_raises_is_one_failure_with_the_line() -> None:
    spec = dataclasses.replace(SPEC, probe=raising_probe)
    answers = rows(spec, "description")["description/probe-result"]
    assert answers.status == "failed"
    assert "test_conformance_opening.py, line " in answers.reason
    assert "raising_probe: OSError: no such bus" in answers.reason
    unavailable = rows(spec, "device")["device/unavailable"]
    assert unavailable.status == "not applicable"
    assert "description/probe-result" in unavailable.reason


def test_the_module_that_imports_a_framework_is_named_once() -> None:
    spec = dataclasses.replace(heavy_light_module(), requires=("h5py>=3",))
    light, device = rows(spec, "description"), rows(spec, "device")
    reason = light["description/imports"].reason
    assert "tests.faults.heavy, line 5, imports h5py" in reason
    for row in (light["description/probe-imports"], device["device/no-fallback"]):
        assert row.status == "not applicable"
        assert "description/imports" in row.reason


def test_a_probe_that_imports_a_framework_gets_a_hint() -> None:
    reason = rows(heavy_probe(), "description")["description/probe-imports"].reason
    assert "faults.heavy, line 5, imports h5py" in reason
    assert "importlib.util.find_spec" in reason


def test_a_device_that_computes_in_float32_in_every_precision_fails() -> None:
    found = rows(one_precision(), "device")
    assert found["device/float32"].status == "passed"
    for precision in ("bfloat16", "float16"):
        row = found[f"device/{precision}"]
        assert row.status == "failed"
        assert row.difference == float("inf")
