"""The probes of PyTorch's devices, on this machine and on simulated ones."""

from __future__ import annotations

import importlib
import platform
import subprocess
import sys

import pytest

import msinet_torch
from msinet_core import Availability, DeviceSpec, Hardware, Probe, apple, hardware, nvidia
from msinet_core.hardware import host

torch_probe = importlib.import_module("msinet_torch.probe")

H200 = (Hardware("NVIDIA H200", 16896, 2**37),)
SPECS = (msinet_torch.MPS, msinet_torch.CUDA, msinet_torch.CPU)


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The versions of installed distributions, by name; tests add to them."""
    installed: dict[str, str] = {}
    for module in (host, hardware):
        monkeypatch.setattr(module, "distribution_version", installed.get)
    return installed


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A Linux machine with an H200; tests may change it."""
    simulate(monkeypatch, "linux", "x86_64")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(nvidia, "nvidia_gpus", lambda: H200)
    return monkeypatch


def simulate(monkeypatch: pytest.MonkeyPatch, system: str, processor: str) -> None:
    names = {"darwin": "Darwin", "linux": "Linux", "win32": "Windows", "freebsd14": "FreeBSD"}
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "system", lambda: names[system])
    monkeypatch.setattr(platform, "machine", lambda: processor)
    monkeypatch.setattr(platform, "mac_ver", lambda: ("15.4", ("", "", ""), processor))
    monkeypatch.setattr(apple, "command_output", lambda *command: "")


def test_torch_cpu_takes_any_build(packages: dict[str, str]) -> None:
    for version in ("2.6.0", "2.13.0+cpu", "2.13.0+cu126", "2.14.0.dev20260601"):
        packages["torch"] = version
        probe = torch_probe.cpu_probe()
        assert (probe.availability, probe.framework_version) == (Availability.INSTALLED, version)
        assert probe.hardware == (hardware.cpu_hardware(),)


@pytest.mark.parametrize("version", [None, "2.5.1+cpu"])
def test_torch_cpu_needs_a_recent_torch(packages: dict[str, str], version: str | None) -> None:
    if version:
        packages["torch"] = version
    probe = torch_probe.cpu_probe()
    assert not probe.ready
    assert (version or "torch") in probe.reason and ">=2.6" in probe.reason
    assert probe.fix == torch_probe.CPU_BUILD


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("version", ["2.13.0", "2.13.0+cu126"])
def test_cuda_with_a_build_for_it(packages: dict[str, str], version: str) -> None:
    packages["torch"] = version
    assert torch_probe.cuda_probe() == Probe(
        Availability.INSTALLED, framework_version=version, hardware=H200
    )


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("version", ["2.13.0+cpu", "2.13.0+xpu", "2.13.0+rocm6.4"])
def test_cuda_refuses_a_build_without_cuda(packages: dict[str, str], version: str) -> None:
    packages["torch"] = version
    probe = torch_probe.cuda_probe()
    assert not probe.ready
    assert version in probe.reason
    assert probe.fix == 'pip uninstall --yes torch && pip install "msinet[torch]"'
    assert (probe.framework_version, probe.hardware) == (version, H200)


def test_cuda_on_windows_needs_another_build(
    packages: dict[str, str], machine: pytest.MonkeyPatch
) -> None:
    simulate(machine, "win32", "AMD64")
    packages["torch"] = "2.13.0"
    probe = torch_probe.cuda_probe()
    assert not probe.ready
    assert "2.13.0" in probe.reason and "https://pytorch.org/get-started/locally/" in probe.fix
    packages["torch"] = "2.13.0+cu126"
    assert torch_probe.cuda_probe().ready


def test_cuda_with_hidden_gpus(packages: dict[str, str], machine: pytest.MonkeyPatch) -> None:
    packages["torch"] = "2.13.0"
    machine.setenv("CUDA_VISIBLE_DEVICES", "")
    probe = torch_probe.cuda_probe()
    assert not probe.ready
    assert probe.fix == "Run: unset CUDA_VISIBLE_DEVICES"
    simulate(machine, "win32", "AMD64")  # where the shell has no `unset`
    assert torch_probe.cuda_probe().fix == "Remove the environment variable CUDA_VISIBLE_DEVICES"


@pytest.mark.usefixtures("packages")
def test_cuda_without_a_gpu_or_its_driver(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(nvidia, "nvidia_gpus", lambda: ())
    machine.setattr(nvidia, "pci_devices", lambda vendor: [])
    assert torch_probe.cuda_probe().fix == (
        'On a machine with an NVIDIA GPU: pip install "msinet[torch]"'
    )
    card = hardware.PciDevice("0x2330", "0x030200")
    machine.setattr(nvidia, "pci_devices", lambda vendor: [card])
    assert torch_probe.cuda_probe().fix.startswith("Install NVIDIA's driver")


@pytest.mark.usefixtures("packages")
def test_cuda_on_another_system(machine: pytest.MonkeyPatch) -> None:
    simulate(machine, "darwin", "arm64")
    probe = torch_probe.cuda_probe()
    assert not probe.ready
    assert "Darwin" in probe.reason


def test_mps_on_a_mac(packages: dict[str, str], machine: pytest.MonkeyPatch) -> None:
    gpu = Hardware("Apple M3 Ultra GPU", 80)
    simulate(machine, "darwin", "arm64")
    machine.setattr(apple, "apple_gpu", lambda: gpu)
    assert not torch_probe.mps_probe().ready
    packages["torch"] = "2.13.0"
    assert torch_probe.mps_probe() == Probe(
        Availability.INSTALLED, framework_version="2.13.0", hardware=(gpu,)
    )


@pytest.mark.parametrize(
    ("system", "processor", "macos", "translated", "named"),
    [
        ("linux", "x86_64", "", "", "Linux"),
        ("darwin", "x86_64", "15.4", "", "x86_64"),
        ("darwin", "x86_64", "15.4", "1", "Rosetta"),
        ("darwin", "arm64", "13.6", "", "13.6"),
    ],
)
def test_mps_elsewhere(
    packages: dict[str, str],
    machine: pytest.MonkeyPatch,
    system: str,
    processor: str,
    macos: str,
    translated: str,
    named: str,
) -> None:
    packages["torch"] = "2.13.0+cpu"
    simulate(machine, system, processor)
    machine.setattr(platform, "mac_ver", lambda: (macos, ("", "", ""), processor))
    machine.setattr(apple, "command_output", lambda *command: translated)
    probe = torch_probe.mps_probe()
    assert not probe.ready
    assert named in probe.reason
    assert "msinet[torch]" in probe.fix


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_probing_imports_no_framework(spec: DeviceSpec) -> None:
    code = (
        "import sys; from msinet_torch import CPU, CUDA, MPS\n"
        f"[s for s in (CPU, CUDA, MPS) if s.name == {spec.name!r}][0].probe()\n"
        "print([n for n in ('torch', 'tensorflow', 'numpy') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
