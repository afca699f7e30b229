"""The probes of PyTorch's devices, on this machine and on machines made up for the test."""

from __future__ import annotations

import importlib
import platform
import subprocess
import sys

import pytest

import msinet_torch
from msinet_core.device import Availability, DeviceSpec, Hardware, Probe
from msinet_core.hardware import apple, host, nvidia

torch_probe = importlib.import_module("msinet_torch.probe")

H200 = (Hardware("NVIDIA H200", 16896, 2**37),)
SPECS = (msinet_torch.MPS, msinet_torch.CUDA, msinet_torch.CPU)


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The distributions of a made-up environment, by name."""
    installed: dict[str, str] = {}
    for module in (host, torch_probe):
        monkeypatch.setattr(module, "distribution_version", installed.get)
    return installed


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A Linux machine with an H200; the test may make another of it."""
    be(monkeypatch, "linux", "x86_64")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch_probe, "nvidia_gpus", lambda: H200)
    return monkeypatch


def be(monkeypatch: pytest.MonkeyPatch, system: str, processor: str) -> None:
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
        assert probe.hardware == (host.cpu_hardware(),)


def test_torch_cpu_without_or_with_an_old_torch(packages: dict[str, str]) -> None:
    probe = torch_probe.cpu_probe()
    assert not probe.ready
    assert probe.reason == "torch is not installed (needs >=2.6)."
    assert probe.fix == torch_probe.CPU_BUILD
    packages["torch"] = "2.5.1+cpu"
    assert torch_probe.cpu_probe().reason == (
        "torch 2.5.1+cpu is installed, which does not fit (needs >=2.6)."
    )


def test_cuda_with_a_build_for_it(packages: dict[str, str], machine: pytest.MonkeyPatch) -> None:
    for version in ("2.13.0", "2.13.0+cu126"):
        packages["torch"] = version
        assert torch_probe.cuda_probe() == Probe(
            Availability.INSTALLED, framework_version=version, hardware=H200
        )


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        ("2.13.0+cpu", "the processor only"),
        ("2.13.0+xpu", "Intel GPUs"),
        ("2.13.0+rocm6.4", "other GPUs"),
    ],
)
def test_cuda_says_when_the_build_has_no_cuda(
    packages: dict[str, str], machine: pytest.MonkeyPatch, version: str, kind: str
) -> None:
    packages["torch"] = version
    probe = torch_probe.cuda_probe()
    assert not probe.ready
    assert probe.reason == f"torch {version} is built for {kind}, without CUDA."
    assert probe.fix == 'pip uninstall --yes torch && pip install "msinet[torch]"'
    assert probe.hardware == H200


def test_cuda_on_windows_needs_another_build(
    packages: dict[str, str], machine: pytest.MonkeyPatch
) -> None:
    be(machine, "win32", "AMD64")
    packages["torch"] = "2.13.0"
    probe = torch_probe.cuda_probe()
    assert probe.reason == "torch 2.13.0 is PyPI's build for Windows, without CUDA."
    assert "https://pytorch.org/get-started/locally/" in probe.fix
    packages["torch"] = "2.13.0+cu126"
    assert torch_probe.cuda_probe().ready


def test_cuda_with_hidden_gpus(packages: dict[str, str], machine: pytest.MonkeyPatch) -> None:
    packages["torch"] = "2.13.0"
    machine.setenv("CUDA_VISIBLE_DEVICES", "")
    probe = torch_probe.cuda_probe()
    assert probe.reason == "CUDA_VISIBLE_DEVICES is set to '', which hides every GPU."
    assert probe.fix == "Run: unset CUDA_VISIBLE_DEVICES"


def test_cuda_without_a_gpu_or_its_driver(
    packages: dict[str, str], machine: pytest.MonkeyPatch
) -> None:
    machine.setattr(torch_probe, "nvidia_gpus", lambda: ())
    machine.setattr(nvidia, "pci_devices", lambda vendor: [])
    assert torch_probe.cuda_probe().fix == (
        'On a machine with an NVIDIA GPU: pip install "msinet[torch]"'
    )
    card = host.PciDevice("0x2330", "0x030200")
    machine.setattr(nvidia, "pci_devices", lambda vendor: [card])
    probe = torch_probe.cuda_probe()
    assert probe.reason == "There is an NVIDIA GPU in this machine, but its driver is not loaded."
    assert probe.fix.startswith("Install NVIDIA's driver")


def test_cuda_elsewhere(packages: dict[str, str], machine: pytest.MonkeyPatch) -> None:
    be(machine, "darwin", "arm64")
    assert torch_probe.cuda_probe().reason == (
        "PyTorch computes on NVIDIA GPUs under Linux and Windows only, and this is Darwin."
    )


def test_mps_on_a_mac(packages: dict[str, str], machine: pytest.MonkeyPatch) -> None:
    be(machine, "darwin", "arm64")
    machine.setattr(torch_probe, "apple_gpu", lambda: Hardware("Apple M3 Ultra GPU", 80))
    assert torch_probe.mps_probe().reason == "torch is not installed (needs >=2.6)."
    packages["torch"] = "2.13.0"
    assert torch_probe.mps_probe() == Probe(
        Availability.INSTALLED,
        framework_version="2.13.0",
        hardware=(Hardware("Apple M3 Ultra GPU", 80),),
    )


def test_mps_elsewhere(packages: dict[str, str], machine: pytest.MonkeyPatch) -> None:
    packages["torch"] = "2.13.0+cpu"
    probe = torch_probe.mps_probe()
    assert not probe.ready
    assert probe.reason == "MPS, Metal Performance Shaders, is Apple's, and this is Linux."
    assert probe.fix == 'On a Mac with Apple silicon: pip install "msinet[torch]"'
    be(machine, "darwin", "x86_64")
    assert "a processor of type x86_64" in torch_probe.mps_probe().reason
    machine.setattr(apple, "command_output", lambda *command: "1")
    assert "Rosetta" in torch_probe.mps_probe().reason
    be(machine, "darwin", "arm64")
    machine.setattr(platform, "mac_ver", lambda: ("13.6", ("", "", ""), "arm64"))
    assert torch_probe.mps_probe().reason == (
        "PyTorch's mps needs macOS 14 or later, and this is macOS 13.6."
    )


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_probing_imports_no_framework(spec: DeviceSpec) -> None:
    code = (
        "import sys; from msinet_torch import CPU, CUDA, MPS\n"
        f"[s for s in (CPU, CUDA, MPS) if s.name == {spec.name!r}][0].probe()\n"
        "print([n for n in ('torch', 'tensorflow', 'numpy') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
