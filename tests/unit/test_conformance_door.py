"""What is asked of a description, a probe and an opening, and what cannot be asked."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from msinet_core.conformance import DOOR, run
from msinet_core.conformance.contract import _required_packages
from msinet_core.conformance.faults.contract import heavy_light_module, heavy_probe, one_precision
from msinet_core.conformance.look import Missing
from msinet_core.conformance.runner import Checker, open_subject
from msinet_core.device import Availability, DeviceSpec, Probe
from msinet_core.errors import UsageError
from msinet_core.reference import SPEC


def absent(reason: str, fix: str) -> Probe:
    return Probe(Availability.NOT_HERE, reason=reason, fix=fix)


def silent_probe() -> Probe:
    return absent("", "")


def wrong_probe() -> None:
    return None


def rows(spec: DeviceSpec, group: str):
    checker = Checker(open_subject(spec))
    return {row.id: checker.result(row) for row in DOOR if row.group == group}


def test_a_probe_that_is_no_function_of_a_module_is_not_asked_elsewhere() -> None:
    found = rows(dataclasses.replace(SPEC, probe=lambda: absent("R.", "C.")), "light")
    assert found["light/imports"].status == "passed"
    for row in ("light/probe-imports", "light/probe-answers", "light/probe-quick"):
        assert found[row].status == "not applicable"
        assert "make its probe a function of a module" in found[row].reason


@pytest.mark.parametrize(
    ("probe", "told"),
    [
        (silent_probe, "it says 'not here' with the reason '' and the fix ''"),
        (wrong_probe, "it returned None and no Probe"),
    ],
)
def test_an_answer_that_helps_nobody_is_a_failure(probe, told: str) -> None:
    row = rows(dataclasses.replace(SPEC, probe=probe), "light")["light/probe-answers"]
    assert row.status == "failed"
    assert told in row.reason
    assert "where no command is found" in row.reason


def test_a_light_module_that_does_not_import_fails_with_its_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "conformance_sulking.py"
    module.write_text("def probe():\n    return None\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import conformance_sulking  # type: ignore[import-not-found]

    module.write_text("raise RuntimeError('not twice')\n")
    found = rows(dataclasses.replace(SPEC, probe=conformance_sulking.probe), "light")
    assert found["light/imports"].status == "failed"
    assert "cannot be imported in a fresh process: RuntimeError" in found["light/imports"].reason
    sys.modules.pop("conformance_sulking")


def test_what_the_core_has_too_is_no_framework() -> None:
    spec = dataclasses.replace(SPEC, requires=("numpy>=1", "Pillow>=10", "no-such-thing"))
    assert {"PIL", "no_such_thing"} <= _required_packages(spec)
    assert "numpy" not in _required_packages(spec)
    elsewhere = dataclasses.replace(SPEC, requires=("pillow; sys_platform == 'nowhere'",))
    assert _required_packages(elsewhere) == set()


def test_hidden_packages_are_missing_and_others_are_not() -> None:
    hidden = Missing(["somewhere"])
    assert hidden.find_spec("elsewhere.somewhere") is None
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'somewhere\.deep'"):
        hidden.find_spec("somewhere.deep")


def test_a_precision_that_this_machine_refuses_is_not_applicable() -> None:
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


def test_options_reach_the_device_and_the_report() -> None:
    report = run(SPEC, options={"no": "such"})
    assert not report.available
    assert report.options == {"no": "such"}
    assert "has no option 'no'" in report.failed[0].reason


def raising_probe() -> None:
    raise OSError("no such bus")


def test_a_probe_that_raises_is_one_failure_with_its_place() -> None:
    spec = dataclasses.replace(SPEC, probe=raising_probe)
    answers = rows(spec, "light")["light/probe-answers"]
    assert answers.status == "failed"
    assert "test_conformance_door.py, line " in answers.reason
    assert "raising_probe: OSError: no such bus" in answers.reason
    here = rows(spec, "device")["device/not-here"]
    told = (here.status, here.reason)
    assert told == ("not applicable", "the probe does not answer; see light/probe-answers")


def test_who_imports_a_framework_is_named_and_its_consequences_are_told_as_such() -> None:
    spec = dataclasses.replace(heavy_light_module(), requires=("h5py>=3",))
    light, device = rows(spec, "light"), rows(spec, "device")
    reason = light["light/imports"].reason
    assert "msinet_core.conformance.faults.heavy, line 5, imports h5py" in reason
    assert "Import it in the function that needs it" in reason
    for row in (light["light/probe-imports"], device["device/no-fallback"]):
        assert row.status == "not applicable"
        assert "see light/imports" in row.reason


def test_a_probe_that_imports_a_framework_is_told_what_to_do() -> None:
    reason = rows(heavy_probe(), "light")["light/probe-imports"].reason
    assert "faults.heavy, line 5, imports h5py" in reason
    assert "importlib.util.find_spec" in reason


def test_a_device_that_only_says_that_it_computes_in_16_bits_is_found_out() -> None:
    found = rows(one_precision(), "device")
    assert found["device/float32"].status == "passed"
    for precision in ("bfloat16", "float16"):
        row = found[f"device/{precision}"]
        assert row.status == "failed"
        assert "The device computes in float32 whatever is asked for." in row.reason
