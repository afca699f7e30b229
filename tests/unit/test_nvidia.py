"""Queries to NVIDIA's management library, with a fake one in its place."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import pytest

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
        return 0

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
