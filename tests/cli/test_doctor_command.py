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
from msinet_core import (
    Availability, DeviceOption, DeviceSpec, Finding, Hardware, Probe, hookimpl
)

@hookimpl
def msinet_register_devices(register):
    register(DeviceSpec(
        name="npu", summary="x", framework="x", factory="x.y:Z",
        probe=lambda: PROBE, api_version=1,
        requires=("no-such-package>=2",),
        options=(DeviceOption("fuse", "Fuse layers.", "on", ("on", "off")),),
        doctor="doctored_plugin:look", doctor_arguments=("topology",), untested_on="an NPU",
    ))

def look(spec, arguments):
    yield Finding("kernels", "ok", f"{spec.name} for {arguments.get('topology')}", data={"n": 3})
    raise RuntimeError("the chip is asleep")
"""


def test_the_reference_has_no_problem(run: Run) -> None:
    result = run("doctor", "--device", "reference")
    assert result.exit_code == 0, result.output
    assert "Python" in result.stdout
    assert "float32" in result.stdout


def test_an_unavailable_device_is_examined_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin(run, monkeypatch, "Probe(Availability.NOT_HERE, 'No chip.', 'pip install chip')")
    result = run("--device", "npu", "doctor", "--json")
    findings = {item["title"]: item for item in json.loads(result.stdout)["findings"]}
    assert result.exit_code == 1
    assert findings["availability"]["status"] == "problem"
    assert findings["availability"]["fix"] == "pip install chip"
    assert "an NPU" in findings["evidence"]["detail"]
    assert "devices --check" in findings["evidence"]["fix"]


def test_the_hardware_is_described(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    chip = "hardware=(Hardware('Chip', cores=80, memory=2**34),)"
    plugin(run, monkeypatch, f"Probe(Availability.INSTALLED, {chip})")
    result = run("--device", "npu", "doctor", "--json")
    findings = {item["title"]: item for item in json.loads(result.stdout)["findings"]}
    assert findings["availability"]["detail"] == "Chip, 80 cores, 16 GiB."


def test_without_a_device_the_variable_names_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSINET_DEVICE", "reference")
    result = run("doctor", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["device"] == "reference"


def test_the_variable_is_named_if_it_is_wrong(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSINET_DEVICE", "no-such-device")
    done = run("doctor")
    assert done.exit_code == 2
    assert "MSINET_DEVICE" in done.stderr
    assert "MSINET_DEVICE" not in run("--device", "no-such-device", "doctor").stderr
    assert run("--device", "", "doctor").exit_code == 2


def test_auto_is_the_device_of_an_automatic_choice(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = json.loads(run("doctor", "--json").stdout)["device"]
    monkeypatch.setenv("MSINET_DEVICE", "auto")
    for arguments in (["doctor"], ["--device", "auto", "doctor"]):
        result = run(*arguments, "--json")
        assert json.loads(result.stdout)["device"] == chosen
        assert f"'{chosen}'" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--topology", "v5e:1x1"], ["'reference'", "--topology", "tpu"]),
        (["--batch-size", "8"], ["--batch-size", "--topology"]),
        (["--image-size", "24x32"], ["--image-size", "--topology"]),
        (["--precision", "float16"], ["float16", "float32"]),
    ],
)
def test_arguments_that_the_device_would_ignore_are_refused(
    run: Run, arguments: list[str], words: list[str]
) -> None:
    result = run("--device", "reference", "doctor", *arguments)
    assert result.exit_code == 2
    assert all(word in result.stderr for word in words)


def test_a_plugins_findings_and_its_failure_are_shown(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin(run, monkeypatch, "Probe(Availability.INSTALLED)")
    result = run("doctor", "--device", "npu", "--topology", "small", "--json")
    assert result.exit_code == 1
    findings = {item["title"]: item for item in json.loads(result.stdout)["findings"]}
    assert findings["kernels"]["detail"] == "npu for small"
    assert findings["kernels"]["data"] == {"n": 3}
    assert "no-such-package" in findings["packages"]["detail"]
    assert "the chip is asleep" in findings["examination of npu"]["detail"]
    assert "fuse=on|off (default on): Fuse layers." in findings["choices"]["detail"]


def test_a_description_with_mistakes_is_a_finding(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "PLUGIN", PLUGIN.replace("package>=2", "package>="))
    plugin(run, monkeypatch, "Probe(Availability.NOT_HERE)")
    result = run("doctor", "--device", "npu", "--json")
    assert result.exit_code == 1
    findings = {item["title"]: item for item in json.loads(result.stdout)["findings"]}
    assert "no-such-package>=" in findings["packages"]["detail"]
    assert "x.y" in findings["factory"]["detail"]
    assert "Available" not in findings["availability"]["detail"]
    assert {findings[name]["status"] for name in ("packages", "factory")} == {"problem"}


def plugin(run: Run, monkeypatch: pytest.MonkeyPatch, probe: str) -> None:
    """Install the plugin in the current, temporary folder."""
    Path("doctored_plugin.py").write_text(PLUGIN.replace("PROBE", probe))
    monkeypatch.syspath_prepend(str(Path.cwd()))
    monkeypatch.delitem(sys.modules, "doctored_plugin", raising=False)
    monkeypatch.setenv("MSINET_PLUGINS", "doctored_plugin")
