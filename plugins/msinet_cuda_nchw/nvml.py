"""What NVIDIA's driver tells of itself and its GPUs, through its own library; light."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

LIBRARY = "libnvidia-ml.so.1"
"""The NVIDIA Management Library, which is installed with the driver.

Source: NVIDIA, NVML API Reference Guide, "Device Queries" and "System Queries".
"""

SUCCESS = 0
NAME_SIZE = 96
"""``NVML_DEVICE_NAME_V2_BUFFER_SIZE``; a driver's version is shorter."""


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Args:
        name: As NVIDIA calls it.
        memory: Bytes; None where it shares the host's.
        cores: CUDA cores; None if the driver does not tell.
        capability: Its compute capability, for example ``(9, 0)``; None if not told.
    """

    name: str
    memory: int | None = None
    cores: int | None = None
    capability: tuple[int, int] | None = None


@dataclass(frozen=True)
class Driver:
    """The driver and what it offers.

    Args:
        version: For example ``"570.86.15"``.
        gpus: In the driver's order.
    """

    version: str
    gpus: tuple[Gpu, ...]


class _Memory(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]


def ask_driver() -> Driver | None:
    """Ask the driver's library; None without driver, or when it does not answer."""
    try:
        with _library() as nvml:
            version = _text(nvml.nvmlSystemGetDriverVersion)
            count = ctypes.c_uint()
            _check(nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)))
            return Driver(version, tuple(_gpu(nvml, index) for index in range(count.value)))
    except (OSError, AttributeError, _RefusedError):  # no library, an old one, or no driver to it
        return None


class _RefusedError(Exception):
    """A call of the library that failed."""


@contextmanager
def _library() -> Iterator[Any]:
    nvml = ctypes.CDLL(LIBRARY)
    _check(nvml.nvmlInit_v2())
    try:
        yield nvml
    finally:
        nvml.nvmlShutdown()


def _gpu(nvml: Any, index: int) -> Gpu:
    handle = ctypes.c_void_p()
    _check(nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle)))
    memory, cores, major, minor = _Memory(), ctypes.c_uint(), ctypes.c_int(), ctypes.c_int()
    told = nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) == SUCCESS
    counted = nvml.nvmlDeviceGetNumGpuCores(handle, ctypes.byref(cores)) == SUCCESS
    capable = nvml.nvmlDeviceGetCudaComputeCapability(
        handle, ctypes.byref(major), ctypes.byref(minor)
    )
    return Gpu(
        _text(nvml.nvmlDeviceGetName, handle),
        memory.total if told else None,
        cores.value if counted else None,
        (major.value, minor.value) if capable == SUCCESS else None,
    )


def _text(function: Any, *arguments: Any) -> str:
    buffer = ctypes.create_string_buffer(NAME_SIZE)
    _check(function(*arguments, buffer, ctypes.c_uint(NAME_SIZE)))
    return buffer.value.decode("utf-8", "replace")


def _check(answer: int) -> None:
    if answer != SUCCESS:
        raise _RefusedError(answer)
