"""Queries to NVIDIA's management library, with a fake one in its place."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from msinet_core.device import Hardware
from msinet_core.hardware import nvidia

UNSUPPORTED = 3


def fake_library(gpus: list[dict[str, Any]]) -> SimpleNamespace:
    """Answer like libnvidia-ml for some GPUs; a missing key is an unsupported query."""
    calls: list[str] = []

    def put(target: Any, value: Any) -> int:
        target._obj.value = value
        return 0

    def text(buffer: Any, value: str) -> int:
        buffer.value = value.encode()
        return 0

    def handle(index: Any, target: Any) -> int:
        return put(target, index.value + 1)

    def gpu(handle: Any) -> dict[str, Any]:
        return gpus[handle.value - 1]

    def memory(handle: Any, target: Any) -> int:
        if "memory" not in gpu(handle):
            return UNSUPPORTED
        target._obj.total = gpu(handle)["memory"]
        target._obj.used = gpu(handle)["memory"] // 4
        return 0

    def rates(handle: Any, target: Any) -> int:
        target._obj.gpu = gpu(handle).get("busy", 0)
        return 0 if "busy" in gpu(handle) else UNSUPPORTED

    def energy(handle: Any, target: Any) -> int:
        return put(target, gpu(handle)["mJ"]) if "mJ" in gpu(handle) else UNSUPPORTED

    def cores(handle: Any, target: Any) -> int:
        return put(target, gpu(handle)["cores"]) if "cores" in gpu(handle) else UNSUPPORTED

    def capability(handle: Any, major: Any, minor: Any) -> int:
        if "capability" not in gpu(handle):
            return UNSUPPORTED
        return sum(map(put, (major, minor), gpu(handle)["capability"]))

    def init() -> int:
        calls.append("init")
        return 0

    def shutdown() -> int:
        calls.append("shutdown")
        return 0

    return SimpleNamespace(
        calls=calls,
        nvmlInit_v2=init,
        nvmlShutdown=shutdown,
        nvmlSystemGetDriverVersion=lambda buffer, size: text(buffer, "570.86.15"),
        nvmlDeviceGetCount_v2=lambda target: put(target, len(gpus)),
        nvmlDeviceGetHandleByIndex_v2=handle,
        nvmlDeviceGetName=lambda handle, buffer, size: text(buffer, gpu(handle)["name"]),
        nvmlDeviceGetMemoryInfo=memory,
        nvmlDeviceGetNumGpuCores=cores,
        nvmlDeviceGetCudaComputeCapability=capability,
        nvmlDeviceGetUtilizationRates=rates,
        nvmlDeviceGetTotalEnergyConsumption=energy,
    )


def test_every_gpu_is_described_and_the_library_is_shut_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library = fake_library(
        [
            {"name": "NVIDIA H200", "memory": 2**37, "cores": 16896, "capability": (9, 0)},
            {"name": "NVIDIA GB10"},
        ]
    )
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    assert nvidia.query_driver() == nvidia.Driver(
        "570.86.15",
        (nvidia.Gpu("NVIDIA H200", 2**37, 16896, (9, 0)), nvidia.Gpu("NVIDIA GB10")),
    )
    assert library.calls == ["init", "shutdown"]


def test_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "_LIBRARY", "libnvidia-ml-missing.so.1")
    assert nvidia.query_driver() is None


def test_a_library_whose_driver_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    library = fake_library([{"name": "NVIDIA H200"}])
    library.nvmlInit_v2 = lambda: 9  # NVML_ERROR_DRIVER_NOT_LOADED
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    assert nvidia.query_driver() is None
    assert library.calls == []


def test_a_library_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    library = fake_library([{"name": "NVIDIA K80"}])
    del library.nvmlDeviceGetNumGpuCores
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    assert nvidia.query_driver() is None
    assert library.calls == ["init", "shutdown"]


def test_a_sandbox_without_proc_has_the_gpus_of_the_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    library = fake_library([{"name": "NVIDIA H100", "memory": 2**36}])
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    monkeypatch.setattr(nvidia, "_DRIVER", tmp_path / "absent")
    monkeypatch.setattr(nvidia, "_WSL", tmp_path / "absent")
    assert nvidia.nvidia_gpus() == (Hardware("NVIDIA H100", None, 2**36),)


TENSORFLOW = ("sm_60", "sm_70", "sm_80", "sm_89", "compute_90")
PYTORCH = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120")


@pytest.mark.parametrize(
    ("capability", "targets", "support"),
    [
        ((8, 0), TENSORFLOW, "compiled"),
        ((8, 6), TENSORFLOW, "compiled"),
        ((7, 5), TENSORFLOW, "compiled"),
        ((9, 0), TENSORFLOW, "on first use"),
        ((10, 0), TENSORFLOW, "on first use"),
        ((5, 2), TENSORFLOW, "none"),
        ((7, 0), PYTORCH, "none"),
        ((8, 9), PYTORCH, "compiled"),
        ((12, 1), PYTORCH, "compiled"),
        ((13, 0), PYTORCH, "on first use"),
        ((9, 0), ("sm_90a",), "compiled"),
        ((10, 0), ("sm_90a", "compute_90a"), "none"),
        ((10, 3), ("sm_100a",), "none"),
        ((9, 0), ("unknown",), "none"),
    ],
)
def test_machine_code_and_ptx_run_on_later_gpus(
    capability: tuple[int, int], targets: tuple[str, ...], support: str
) -> None:
    assert nvidia.kernel_support(capability, targets) == support


@pytest.mark.parametrize(
    ("installed", "named"),
    [
        ({"nvidia-cudnn-cu12": "9.3", "nvidia-cudnn-cu13": "9.24"}, "nvidia-cudnn-cu13"),
        ({"nvidia-nccl-cu12": "2.27", "nvidia-nccl-cu13": "2.30"}, "nvidia-nccl-cu13"),
        ({"nvidia-cudnn-cu12": "9.3", "nvidia-nccl-cu13": "2.30"}, ""),
    ],
)
def test_libraries_of_two_versions_of_cuda_are_noticed(
    installed: dict[str, str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvidia, "distribution_version", installed.get)
    sentence = nvidia.overlapping_libraries()
    assert named in sentence and bool(sentence) == bool(named)


def test_what_each_gpu_is_doing(monkeypatch: pytest.MonkeyPatch) -> None:
    library = fake_library([{"busy": 75, "memory": 2**30, "mJ": 12_345}, {}])
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    assert nvidia.read_gpus() == (
        nvidia.GpuReading(0.75, 2**28, 12.345),
        nvidia.GpuReading(None, None, None),
    )
