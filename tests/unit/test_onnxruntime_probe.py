"""The device onnxruntime without importing ONNX Runtime: which build is installed, and doctor."""

from __future__ import annotations

import importlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from msinet_core import Availability, Probe, UsageError, hardware
from msinet_core.hardware import host
from msinet_onnxruntime import SPEC
from msinet_onnxruntime.doctor import examine
from msinet_onnxruntime.providers import check_provider

onnxruntime_probe = importlib.import_module("msinet_onnxruntime.probe")


def install(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    """Pretend that only these distributions are installed; ``_`` stands for ``-``."""
    installed = {name.replace("_", "-"): version for name, version in versions.items()}
    for module in (host, hardware):
        monkeypatch.setattr(module, "distribution_version", installed.get)


@pytest.mark.parametrize("build", ["onnxruntime", "onnxruntime_gpu", "onnxruntime_qnn"])
def test_any_build_will_do(monkeypatch: pytest.MonkeyPatch, build: str) -> None:
    install(monkeypatch, onnx="1.23.2", **{build: "1.32.0"})
    probe = onnxruntime_probe.probe()
    assert probe.ready and probe.framework_version == "1.32.0"
    assert onnxruntime_probe.distribution() == build.replace("_", "-")


@pytest.mark.parametrize(
    ("versions", "reason"),
    [
        ({"onnx": "1.23.2"}, "onnxruntime"),
        ({"onnx": "1.23.2", "onnxruntime_gpu": "1.19.2"}, "onnxruntime-gpu"),
        ({"onnxruntime": "1.32.0"}, "onnx"),
    ],
)
def test_missing_or_too_old(
    monkeypatch: pytest.MonkeyPatch, versions: dict[str, str], reason: str
) -> None:
    install(monkeypatch, **versions)
    probe = onnxruntime_probe.probe()
    assert not probe.ready and reason in probe.reason
    assert probe.fix == 'pip install "msinet[onnxruntime]"'


def test_the_extras_install_what_is_required() -> None:
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    text = Path(__file__).parents[2].joinpath("pyproject.toml").read_text(encoding="utf-8")
    extras = toml.loads(text)["project"]["optional-dependencies"]
    assert list(onnxruntime_probe.REQUIRES) == extras["onnxruntime"]
    assert set(extras["onnx"]) < set(extras["onnxruntime"])


def test_light_modules_import_no_framework() -> None:
    code = (
        "import sys, msinet_onnxruntime.doctor; from msinet_onnxruntime import SPEC; SPEC.probe()\n"
        "print(sorted({'onnx', 'onnxruntime', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_options_are_checked_before_onnxruntime_is_imported() -> None:
    with pytest.raises(UsageError, match=r"provider.*rocm"):
        SPEC.open("float32", {"provider": "rocm"})


def test_doctor_finds_nothing_without_onnxruntime() -> None:
    absent = Probe(Availability.NOT_HERE, reason="It is absent.", fix="pip install it")
    assert list(examine(replace(SPEC, probe=lambda: absent), {})) == []


@pytest.mark.parametrize(
    ("provider", "system", "fix"),
    [
        ("coreml", "Linux", "on macOS only"),
        ("directml", "Linux", "on Windows only"),
        ("directml", "Windows", "--yes onnxruntime && pip install onnxruntime-directml"),
        ("cuda", "Linux", "--yes onnxruntime && pip install onnxruntime-gpu"),
    ],
)
def test_the_fix_for_a_missing_provider_can_work_on_this_system(
    monkeypatch: pytest.MonkeyPatch, provider: str, system: str, fix: str
) -> None:
    install(monkeypatch, onnx="1.23.2", onnxruntime="1.32.0")
    monkeypatch.setattr("platform.system", lambda: system)
    missing = check_provider(provider, ["CPUExecutionProvider"])
    assert missing is not None and missing.fix.endswith((fix, f"{fix}."))
    assert check_provider("cpu", ["CPUExecutionProvider"]) is None
