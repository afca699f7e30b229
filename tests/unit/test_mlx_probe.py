"""Where the device mlx says it is, on this machine and on machines made up for the test."""

from __future__ import annotations

import importlib
import platform
import subprocess
import sys

import pytest
from packaging.markers import Marker

import msinet_mlx
from msinet_core.device import Availability
from msinet_core.hardware import host
from msinet_core.registry.registry import load_registry

mlx_probe = importlib.import_module("msinet_mlx.probe")

ON_LINUX = {"mlx": "0.32.4", "mlx-cpu": "0.32.4"}
ON_A_MAC = {"mlx": "0.32.4", "mlx-metal": "0.32.4"}


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The distributions of a made-up environment, by name."""
    installed: dict[str, str] = {}
    for module in (host, mlx_probe):
        monkeypatch.setattr(module, "distribution_version", installed.get)
    return installed


def pretend(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str, release: str = "", **prints: str
) -> None:
    """Be another kind of machine, for the probe and for the markers of requirements."""
    names = {"darwin": "Darwin", "linux": "Linux", "win32": "Windows"}
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "system", lambda: names[system])
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "mac_ver", lambda: (release, ("", "", ""), machine))
    for module in ("msinet_core.hardware.host", "msinet_core.hardware.apple"):
        monkeypatch.setattr(
            f"{module}.command_output",
            lambda *command: prints.get(command[-1].rpartition(".")[2], ""),
        )
    evaluate = Marker.evaluate
    environment = {"sys_platform": system, "platform_machine": machine}
    monkeypatch.setattr(Marker, "evaluate", lambda marker: evaluate(marker, environment))


def test_a_mac_with_its_gpu(packages: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    packages |= ON_A_MAC
    answers = {"brand_string": "Apple M3 Ultra", "memsize": str(512 * 2**30)}
    pretend(monkeypatch, "darwin", "arm64", "15.3", **answers)
    probe = mlx_probe.probe()
    assert probe.availability is Availability.INSTALLED
    assert (probe.reason, probe.framework_version) == ("", "0.32.4")
    assert (probe.hardware[0].name, probe.hardware[0].memory) == ("Apple M3 Ultra GPU", 512 * 2**30)


def test_linux_says_that_it_is_slow(
    packages: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    packages |= ON_LINUX
    pretend(monkeypatch, "linux", "x86_64")
    probe = mlx_probe.probe()
    assert probe.availability is Availability.INSTALLED
    assert probe.reason.startswith("Installed: CPU backend, slow.")
    assert probe.hardware == (host.cpu_hardware(),)


@pytest.mark.parametrize("backend", ["mlx-cuda-12", "mlx-cuda-13"])
def test_the_cuda_backend_is_named(
    packages: dict[str, str], monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    packages |= {**ON_LINUX, backend: "0.32.4"}
    pretend(monkeypatch, "linux", "x86_64")
    assert mlx_probe.backend() == backend
    assert "CUDA backend, on which msinet was never run" in mlx_probe.probe().reason


@pytest.mark.parametrize(
    ("installed", "reason"),
    [
        ({}, "mlx is not installed (needs >=0.32.4)."),
        ({"mlx": "0.31.0", "mlx-cpu": "0.31.0"}, "does not fit (needs >=0.32.4)."),
        ({"mlx": "0.32.4"}, "mlx is installed without a backend"),
    ],
)
def test_what_is_missing_is_said_with_the_cure(
    packages: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    installed: dict[str, str],
    reason: str,
) -> None:
    packages |= installed
    pretend(monkeypatch, "linux", "x86_64")
    probe = mlx_probe.probe()
    assert not probe.ready
    assert reason in probe.reason
    assert probe.fix == 'pip install "msinet[mlx]"'


@pytest.mark.parametrize(
    ("system", "machine", "release", "reason"),
    [
        ("win32", "AMD64", "", "MLX is for macOS and Linux, and this is Windows."),
        ("darwin", "x86_64", "13.6", "type x86_64, not Apple silicon"),
        ("darwin", "arm64", "13.6", "needs macOS 14 or later, and this is macOS 13.6"),
    ],
)
def test_machines_that_mlx_is_not_for(
    packages: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    system: str,
    machine: str,
    release: str,
    reason: str,
) -> None:
    pretend(monkeypatch, system, machine, release)
    probe = mlx_probe.probe()
    assert not probe.ready
    assert reason in probe.reason
    assert "msinet[mlx]" in probe.fix


def test_only_a_mac_gets_it_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    for system, machine, priority in (
        ("darwin", "arm64", msinet_mlx.ON_A_MAC),
        ("linux", "aarch64", msinet_mlx.ELSEWHERE),
        ("darwin", "x86_64", msinet_mlx.ELSEWHERE),
    ):
        monkeypatch.setattr(sys, "platform", system)
        monkeypatch.setattr(platform, "machine", lambda machine=machine: machine)
        assert importlib.reload(msinet_mlx).SPEC.priority == priority
    monkeypatch.undo()
    importlib.reload(msinet_mlx)
    assert msinet_mlx.ELSEWHERE < 0  # which the registry never chooses


def test_on_a_mac_it_comes_before_metal() -> None:
    specs = {item.spec.name: item.spec for item in load_registry().registrations}
    assert msinet_mlx.ON_A_MAC > specs["metal"].priority > specs["cpu"].priority
    assert specs["mlx"].kernel_layout == "OHWI"


def test_light_modules_import_no_framework() -> None:
    code = (
        "import sys, msinet_mlx, msinet_mlx.probe, msinet_mlx.doctor\n"
        "msinet_mlx.SPEC.probe()\n"
        "print([name for name in ('mlx', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
