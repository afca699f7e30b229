"""`doctor` examines a device on any machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Run

PLUGIN = """
from msinet_core.device import Availability, DeviceOption, DeviceSpec, Probe
from msinet_core.registry.doctor import Finding
from msinet_core.registry.hookspecs import hookimpl

@hookimpl
def msinet_register_devices(register):
    register(DeviceSpec(
        name="npu", summary="x", framework="x", factory="x.y:Z",
        probe=lambda: Probe(Availability.INSTALLED), api_version=1,
        requires=("no-such-package>=2",),
        options=(DeviceOption("fuse", "Fuse layers.", "on", ("on", "off")),),
        doctor="doctored_plugin:look", doctor_arguments=("topology",),
    ))

def look(spec, arguments):
    yield Finding("kernels", "ok", f"{spec.name} for {arguments.get('topology')}", data={"n": 3})
    raise RuntimeError("the chip is asleep")
"""


def test_the_reference_is_well(run: Run) -> None:
    result = run("doctor", "--device", "reference")
    assert result.exit_code == 0, result.output
    assert "Python" in result.stdout
    assert "float32" in result.stdout


def test_a_device_that_is_not_here_is_examined_too(run: Run) -> None:
    if sys.platform == "darwin":
        pytest.skip("metal may be here")
    result = run("--device", "metal", "doctor", "--json")
    findings = {item["title"]: item for item in json.loads(result.stdout)["findings"]}
    assert result.exit_code == 1
    assert findings["availability"]["status"] == "problem"
    assert "pip install" in findings["availability"]["fix"]


def test_without_a_device_the_variable_names_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSINET_DEVICE", "reference")
    result = run("doctor", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["device"] == "reference"


def test_what_a_device_does_not_know_is_refused_and_who_knows_it_is_named(run: Run) -> None:
    result = run("--device", "reference", "doctor", "--topology", "v5e:1x1")
    assert result.exit_code == 2
    assert "Device 'reference' knows no --topology" in result.stderr
    assert "Known to: tpu." in result.stderr
    result = run("--device", "reference", "doctor", "--batch-size", "8")
    assert result.exit_code == 2
    assert "say what --topology compiles" in result.stderr


def test_a_plugins_findings_and_its_failure_are_shown(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "doctored_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("MSINET_PLUGINS", "doctored_plugin")
    result = run("doctor", "--device", "npu", "--topology", "small", "--json")
    assert result.exit_code == 1
    findings = {item["title"]: item for item in json.loads(result.stdout)["findings"]}
    assert findings["kernels"]["detail"] == "npu for small"
    assert findings["kernels"]["data"] == {"n": 3}
    assert "no-such-package" in findings["packages"]["detail"]
    assert "the chip is asleep" in findings["examination of npu"]["detail"]
    assert "fuse=on|off (default on): Fuse layers." in findings["choices"]["detail"]
    sys.modules.pop("doctored_plugin", None)
