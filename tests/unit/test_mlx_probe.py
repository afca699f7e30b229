"""The probe of the device mlx, on this machine and on simulated ones."""

from __future__ import annotations

import importlib
import platform
import subprocess
import sys

import pytest
from packaging.markers import Marker

import msinet_mlx
from msinet_core import Availability, apple, hardware
from msinet_core.hardware import host
from msinet_core.registry.registry import load_registry

mlx_probe = importlib.import_module("msinet_mlx.probe")

ON_LINUX = {"mlx": "0.32.4", "mlx-cpu": "0.32.4"}
ON_A_MAC = {"mlx": "0.32.4", "mlx-metal": "0.32.4"}


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The versions of installed distributions, by name; tests add to them."""
    installed: dict[str, str] = {}
    for module in (host, hardware):
        monkeypatch.setattr(module, "distribution_version", installed.get)
    return installed


def simulate(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str, release: str = "", **prints: str
) -> None:
    """Simulate another machine, for the probe and for the markers of requirements."""
    names = {"darwin": "Darwin", "linux": "Linux", "win32": "Windows"}
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "system", lambda: names[system])
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "mac_ver", lambda: (release, ("", "", ""), machine))
    for module in (host, apple):
        monkeypatch.setattr(
            module,
            "command_output",
            lambda *command: prints.get(command[-1].rpartition(".")[2], ""),
        )
    evaluate = Marker.evaluate
    environment = {"sys_platform": system, "platform_machine": machine}
    monkeypatch.setattr(Marker, "evaluate", lambda marker: evaluate(marker, environment))


def test_a_mac_with_its_gpu(packages: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    packages |= ON_A_MAC
    answers = {"brand_string": "Apple M3 Ultra", "memsize": str(512 * 2**30)}
    simulate(monkeypatch, "darwin", "arm64", "15.3", **answers)
    probe = mlx_probe.probe()
    assert probe.availability is Availability.INSTALLED
    assert (probe.reason, probe.framework_version) == ("", "0.32.4")
    assert (probe.hardware[0].name, probe.hardware[0].memory) == ("Apple M3 Ultra GPU", 512 * 2**30)


def test_linux_is_available_but_slow(
    packages: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    packages |= ON_LINUX
    simulate(monkeypatch, "linux", "x86_64")
    probe = mlx_probe.probe()
    assert probe.availability is Availability.INSTALLED
    assert "slow" in probe.reason
    assert probe.hardware == (hardware.cpu_hardware(),)


@pytest.mark.parametrize("backend", ["mlx-cuda-12", "mlx-cuda-13"])
def test_the_cuda_backend_is_named(
    packages: dict[str, str], monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    packages |= {**ON_LINUX, backend: "0.32.4"}
    simulate(monkeypatch, "linux", "x86_64")
    assert mlx_probe.backend() == backend
    assert "CUDA" in mlx_probe.probe().reason


@pytest.mark.parametrize(
    ("installed", "named"),
    [
        ({}, ">=0.32.4"),
        ({"mlx": "0.31.0", "mlx-cpu": "0.31.0"}, "0.31.0"),
        ({"mlx": "0.32.4"}, "backend"),
    ],
)
def test_missing_packages_are_named_with_the_fix(
    packages: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    installed: dict[str, str],
    named: str,
) -> None:
    packages |= installed
    simulate(monkeypatch, "linux", "x86_64")
    probe = mlx_probe.probe()
    assert not probe.ready
    assert named in probe.reason
    assert probe.fix == 'pip install "msinet[mlx]"'


@pytest.mark.parametrize(
    ("system", "machine", "release", "named"),
    [
        ("win32", "AMD64", "", "Windows"),
        ("darwin", "x86_64", "13.6", "x86_64"),
        ("darwin", "arm64", "13.6", "13.6"),
    ],
)
def test_unsupported_machines_are_named(
    packages: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    system: str,
    machine: str,
    release: str,
    named: str,
) -> None:
    simulate(monkeypatch, system, machine, release)
    probe = mlx_probe.probe()
    assert not probe.ready
    assert named in probe.reason
    assert "msinet[mlx]" in probe.fix


def test_it_is_selected_automatically_on_a_mac_only(monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert msinet_mlx.ELSEWHERE < 0  # never selected automatically


def test_on_a_mac_it_has_a_higher_priority_than_metal() -> None:
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
