"""The device openvino without importing OpenVINO: probe, doctor, and selection."""

from __future__ import annotations

import importlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from msinet_core import (
    Availability,
    DeviceSpec,
    DeviceUnavailableError,
    Finding,
    Probe,
    UsageError,
    hardware,
)
from msinet_core.hardware import host
from msinet_core.reference import SPEC as REFERENCE
from msinet_core.registry.plugin import LoadedPlugin, Plugin
from msinet_core.registry.registry import Registry
from msinet_openvino import SPEC
from msinet_openvino.doctor import examine

openvino_probe = importlib.import_module("msinet_openvino.probe")

HERE = replace(SPEC, probe=lambda: Probe(Availability.INSTALLED))
ABSENT = Probe(Availability.NOT_HERE, reason="It is absent.", fix="pip install it")


def registry(*specs: DeviceSpec) -> Registry:
    plugin = Plugin("toy", "toy", "toy-dist", "1.0")
    return Registry([LoadedPlugin(plugin, list(specs))])


def install(monkeypatch: pytest.MonkeyPatch, version: str | None) -> None:
    """Pretend that OpenVINO is installed in a version, or not at all."""
    for module in (host, hardware):
        monkeypatch.setattr(module, "distribution_version", lambda name: version)


def test_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "2026.4.1")
    probe = openvino_probe.probe()
    assert probe.ready
    assert probe.framework_version == "2026.4.1"
    assert not probe.reason
    assert probe.hardware


@pytest.mark.parametrize("version", [None, "2024.6.0"])
def test_missing_or_too_old(monkeypatch: pytest.MonkeyPatch, version: str | None) -> None:
    install(monkeypatch, version)
    probe = openvino_probe.probe()
    assert not probe.ready
    assert (version or "openvino") in probe.reason and ">=2025.0" in probe.reason
    assert probe.fix == 'pip install "msinet[openvino]"'


def test_the_extra_installs_what_the_spec_requires() -> None:
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    text = Path(__file__).parents[2].joinpath("pyproject.toml").read_text(encoding="utf-8")
    assert list(SPEC.requires) == toml.loads(text)["project"]["optional-dependencies"]["openvino"]


def test_light_modules_import_neither_openvino_nor_numpy() -> None:
    code = (
        "import sys, msinet_openvino.doctor; from msinet_openvino import SPEC; SPEC.probe()\n"
        "print(sorted({'openvino', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_training_on_it_is_refused_and_names_the_devices_that_train() -> None:
    gone = replace(REFERENCE, name="gone", probe=lambda: ABSENT)
    with pytest.raises(UsageError, match=r"openvino.*--device reference") as caught:
        registry(HERE, REFERENCE, gone).select("openvino", training=True)
    assert "gone" not in str(caught.value)


def test_training_on_it_is_refused_if_no_device_trains() -> None:
    with pytest.raises(UsageError, match="openvino"):
        registry(HERE).select("openvino", training=True)


def test_automatic_selection_skips_it_for_training_only() -> None:
    trains = replace(REFERENCE, name="trains", priority=0)
    devices = registry(HERE, trains)
    assert devices.select().name == "openvino"
    assert devices.select(training=True).name == "trains"
    with pytest.raises(DeviceUnavailableError, match="openvino"):
        registry(HERE).select(training=True)


def test_devices_that_train_have_a_higher_priority() -> None:
    from msinet_core.registry.registry import load_registry

    specs = [entry.spec for entry in load_registry().registrations]
    trains = [spec.priority for spec in specs if spec.capabilities.training and spec.priority >= 0]
    assert max(spec.priority for spec in specs if not spec.capabilities.training) < min(trains)


def test_options_are_checked_before_openvino_is_imported() -> None:
    with pytest.raises(UsageError, match=r"target.*tpu"):
        SPEC.open("float32", {"target": "tpu"})
    with pytest.raises(UsageError, match="mirrored"):
        SPEC.open("float32", distribute="mirrored")


def test_doctor_finds_nothing_without_openvino() -> None:
    findings: list[Finding] = list(examine(replace(SPEC, probe=lambda: ABSENT), {}))
    assert findings == []


def test_the_train_command_refuses_it_before_looking_for_data(run: Any) -> None:
    if not SPEC.probe().ready:
        pytest.skip("openvino is not installed")
    result = run("--device", "openvino", "train", "--data", "nowhere")
    assert result.exit_code == 2
    assert "openvino" in result.output and "--device" in result.output
