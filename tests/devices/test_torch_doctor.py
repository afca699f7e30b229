"""What doctor finds about PyTorch's devices, on this machine and on simulated ones."""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import pytest

import msinet_torch
from msinet_core import DeviceSpec, Finding, hardware, nvidia

torch = pytest.importorskip("torch")
doctor = importlib.import_module("msinet_torch.doctor")


def findings(spec: DeviceSpec) -> dict[str, Finding]:
    return {found.title: found for found in doctor.examine(spec, {})}


def test_the_cpu_is_described() -> None:
    found = findings(msinet_torch.CPU)
    assert f"torch {torch.__version__}" in found["PyTorch"].detail
    assert f"{torch.get_num_threads()} threads" in found["processor"].detail


def test_a_cpu_without_fast_bfloat16_gets_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    found = findings(msinet_torch.CPU)
    assert found["processor"].status == "note"
    assert found["bfloat16"].fix == "Use --precision float32"


def test_gpus_are_described(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = SimpleNamespace(name="NVIDIA H200", major=9, minor=0, multi_processor_count=132)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: facts)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (2**37, 2**37))
    monkeypatch.setattr(nvidia, "query_driver", lambda: nvidia.Driver("570.86.15", ()))
    found = findings(msinet_torch.CUDA)
    assert "570.86.15" in found["driver"].detail
    for fact in ("NVIDIA H200", "9.0", "128.0 GiB", "132"):
        assert fact in found["GPU 0"].detail


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this is a Mac")
def test_a_missing_mps_gets_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_kernel_audits", lambda *_: ())  # test_mps_audit tests them
    found = findings(msinet_torch.MPS)
    assert found["GPU"].status == "note"


def test_without_pytorch_there_is_one_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "distribution_version", lambda name: None)
    assert list(findings(msinet_torch.CPU)) == ["PyTorch"]
