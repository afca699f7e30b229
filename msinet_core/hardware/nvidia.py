"""NVIDIA's driver and GPUs, queried through NVIDIA's management library."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from msinet_core.errors import UsageError
from msinet_core.hardware.hardware import Hardware
from msinet_core.hardware.host import command_output, distribution_version, pci_devices
from msinet_core.system.resources import file_text

_LIBRARY = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"
"""The NVIDIA Management Library, which is installed with the driver.

Source: NVIDIA, NVML API Reference Guide, "Device Queries" and "System Queries".
"""

_SUCCESS = 0
_NAME_SIZE = 96
"""``NVML_DEVICE_NAME_V2_BUFFER_SIZE``; a driver's version is shorter."""

AMPERE = (8, 0)
"""The first compute capability with tensor cores for bfloat16 and TF32.

Source: NVIDIA CUDA C++ Programming Guide, table of features by compute capability.
"""

_NVIDIA = "0x10de"
_DISPLAY_CONTROLLER = "0x03"
_DRIVER = Path("/proc/driver/nvidia")
_WSL = Path("/dev/dxg")
_MEBIBYTE = 2**20
VISIBLE_VARIABLE = "CUDA_VISIBLE_DEVICES"
CACHE_VARIABLE = "CUDA_CACHE_PATH"
"""The folder in which the driver stores kernels that it has compiled."""

Support = Literal["compiled", "on first use", "none"]
_TARGET = re.compile(r"(?P<kind>sm|compute)_(?P<major>\d+)(?P<minor>\d)(?P<suffix>[a-z]?)")


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Args:
        name: The product name.
        memory: The memory in bytes; None if it is shared with the CPU.
        cores: The number of CUDA cores; None if unknown.
        capability: The compute capability, for example ``(9, 0)``; None if unknown.
    """

    name: str
    memory: int | None = None
    cores: int | None = None
    capability: tuple[int, int] | None = None


@dataclass(frozen=True)
class Driver:
    """The driver and its GPUs.

    Args:
        version: For example ``"570.86.15"``.
        gpus: In the driver's order.
    """

    version: str
    gpus: tuple[Gpu, ...]


@dataclass(frozen=True)
class GpuReading:
    """What a GPU is doing, over all processes.

    Args:
        busy: The part of the last sample period (at most a second) in which a kernel ran, 0 to 1;
            None if the GPU does not report it.
        memory_used: The used bytes of its memory; None if it shares the CPU's.
        joules: The energy used since the driver was loaded; None before Volta.
    """

    busy: float | None
    memory_used: int | None
    joules: float | None


class _Utilization(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint) for name in ("gpu", "memory")]


class _Memory(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]


class _NvmlError(Exception):
    """A call of the library failed."""


_UNAVAILABLE = (OSError, AttributeError, _NvmlError)
"""What is raised without the library, with an old one, and without a driver."""


def query_driver() -> Driver | None:
    """Query the driver's library; None if there is no driver or it does not respond."""
    with suppress(*_UNAVAILABLE), _library() as (nvml, handles):
        version = _text(nvml.nvmlSystemGetDriverVersion)
        return Driver(version, tuple(_gpu(nvml, handle) for handle in handles))
    return None


def read_gpus() -> tuple[GpuReading, ...]:
    """Read what each GPU is doing, in the driver's order; empty without a driver."""
    with suppress(*_UNAVAILABLE), _library() as (nvml, handles):
        return tuple(_reading(nvml, handle) for handle in handles)
    return ()


def nvidia_gpus() -> tuple[Hardware, ...]:
    """Describe the GPUs that NVIDIA's driver lists; empty without a driver."""
    driver = query_driver()
    if driver is not None and driver.gpus:
        return tuple(
            Hardware(gpu.name, gpu.cores, gpu.memory, (gpu.capability or (0, 0)) >= AMPERE)
            for gpu in driver.gpus
        )
    # After the query: some sandboxes, such as gVisor, have the library and the GPU but no /proc.
    if sys.platform != "win32" and not _DRIVER.exists() and not _WSL.exists():
        return ()
    listed = command_output("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader")
    gpus = tuple(_from_csv(line) for line in listed.splitlines() if line.strip())
    return gpus or _from_driver()


def has_nvidia_card() -> bool:
    """Return whether Linux lists an NVIDIA display controller, with or without a driver."""
    return any(card.kind.startswith(_DISPLAY_CONTROLLER) for card in pci_devices(_NVIDIA))


def no_gpu_reason(
    gpus: Sequence[Hardware], framework: str, install: str, windows: bool = False
) -> tuple[str, str] | None:
    """Return why this machine has no usable NVIDIA GPU, and the fix; None if it has one.

    Args:
        gpus: What `nvidia_gpus` found.
        framework: The framework that needs it.
        install: The command that installs the packages.
        windows: Whether the framework supports GPUs on Windows, besides Linux.
    """
    on_windows = windows and sys.platform == "win32"
    if sys.platform != "linux" and not on_windows:
        return (
            f"{framework} supports NVIDIA GPUs on Linux {'and Windows ' if windows else ''}only, "
            f"and this is {platform.system() or sys.platform}.",
            f"On Linux, or in WSL2 on Windows, with an NVIDIA GPU: {install}",
        )
    if not gpus:
        if has_nvidia_card():
            return (
                "This machine has an NVIDIA GPU, but its driver is not loaded.",
                f"Install NVIDIA's driver; nvidia-smi must list the GPU. Then: {install}",
            )
        where = "" if on_windows else " (no /proc/driver/nvidia)"
        return (
            f"No NVIDIA GPU with a driver found{where}.",
            f"On a machine with an NVIDIA GPU: {install}",
        )
    visible = os.environ.get(VISIBLE_VARIABLE)
    if visible is None or visible.strip() not in ("", "-1"):
        return None
    unset = "Remove the environment variable" if on_windows else "Run: unset"
    return (
        f"{VISIBLE_VARIABLE} is set to '{visible}', which hides every GPU.",
        f"{unset} {VISIBLE_VARIABLE}",
    )


def kernel_support(capability: tuple[int, int], targets: Sequence[str]) -> Support:
    """Return how the kernels of a framework's build run on a GPU.

    Args:
        capability: The GPU's compute capability.
        targets: What the build lists, for example ``["sm_80", "compute_90"]``: machine code runs on
            later GPUs of the same major version, PTX is compiled by the driver for all later ones.

    Returns:
        ``"compiled"``, ``"on first use"`` (the driver compiles each kernel), or ``"none"``.

    Source: NVIDIA CUDA C++ Programming Guide, "Binary Compatibility" and "PTX Compatibility".
    """
    support: Support = "none"
    for target in targets:
        found = _TARGET.fullmatch(target)
        if found is None:
            continue
        version = int(found["major"]), int(found["minor"])
        exact = bool(found["suffix"])  # sm_90a runs on 9.0 alone
        if version > capability or (exact and version != capability):
            continue
        if found["kind"] == "sm" and version[0] == capability[0]:
            return "compiled"
        if found["kind"] == "compute":
            support = "on first use"
    return support


def check_features(
    device: str, gpu: str, capability: tuple[int, int], precision: str, tf32: bool
) -> None:
    """Refuse what a GPU does not compute in hardware.

    Args:
        device: The device's name.
        gpu: The GPU's name.
        capability: Its compute capability.
        precision: The precision to compute in.
        tf32: Whether float32 convolutions are computed in TF32.

    Raises:
        UsageError: The GPU supports neither bfloat16 nor TF32, and one is requested.
    """
    feature = "bfloat16" if precision == "bfloat16" else "TF32" if tf32 else None
    if feature is None or capability >= AMPERE:
        return
    fix = "Remove --device-option tf32=on"
    if feature == "bfloat16":
        fix = "Use --precision float16 or float32"
    raise UsageError(
        f"Device '{device}' cannot compute in {feature}: {gpu} has compute capability "
        f"{capability[0]}.{capability[1]}, and {feature} needs 8.0. {fix}"
    )


def overlapping_libraries() -> str:
    """Say if CUDA libraries of two versions overwrite each other's files; empty if they do not.

    The packages for CUDA 12 and 13 install cuDNN and NCCL under the same paths. TensorFlow's
    wheels need those for 12; PyTorch's since 2.14 those for 13.
    """
    for library in ("cudnn", "nccl"):
        names = [f"nvidia-{library}-cu{major}" for major in (12, 13)]
        if all(distribution_version(name) for name in names):
            return (
                f"{names[0]} and {names[1]} overwrite each other's files; install TensorFlow and "
                "PyTorch for GPUs in separate environments."
            )
    return ""


@contextmanager
def _library() -> Iterator[tuple[Any, list[ctypes.c_void_p]]]:
    """Open the library; yield it with a handle for each GPU."""
    nvml = ctypes.CDLL(_LIBRARY)
    _check(nvml.nvmlInit_v2())
    try:
        count = ctypes.c_uint()
        _check(nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)))
        handles = [ctypes.c_void_p() for _ in range(count.value)]
        for index, handle in enumerate(handles):
            _check(nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle)))
        yield nvml, handles
    finally:
        nvml.nvmlShutdown()


def _reading(nvml: Any, handle: ctypes.c_void_p) -> GpuReading:
    rates, memory, energy = _Utilization(), _Memory(), ctypes.c_ulonglong()
    has_rates = nvml.nvmlDeviceGetUtilizationRates(handle, ctypes.byref(rates)) == _SUCCESS
    has_memory = nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) == _SUCCESS
    status = nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(energy))  # in mJ
    return GpuReading(
        rates.gpu / 100 if has_rates else None,
        memory.used if has_memory else None,
        energy.value / 1000 if status == _SUCCESS else None,
    )


def _gpu(nvml: Any, handle: ctypes.c_void_p) -> Gpu:
    memory, cores, major, minor = _Memory(), ctypes.c_uint(), ctypes.c_int(), ctypes.c_int()
    has_memory = nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) == _SUCCESS
    has_cores = nvml.nvmlDeviceGetNumGpuCores(handle, ctypes.byref(cores)) == _SUCCESS
    status = nvml.nvmlDeviceGetCudaComputeCapability(
        handle, ctypes.byref(major), ctypes.byref(minor)
    )
    return Gpu(
        _text(nvml.nvmlDeviceGetName, handle),
        memory.total if has_memory else None,
        cores.value if has_cores else None,
        (major.value, minor.value) if status == _SUCCESS else None,
    )


def _text(function: Any, *arguments: Any) -> str:
    buffer = ctypes.create_string_buffer(_NAME_SIZE)
    _check(function(*arguments, buffer, ctypes.c_uint(_NAME_SIZE)))
    return buffer.value.decode("utf-8", "replace")


def _check(status: int) -> None:
    if status != _SUCCESS:
        raise _NvmlError(status)


def _from_csv(line: str) -> Hardware:
    name, _, size = (part.strip() for part in line.rpartition(","))
    amount = size.partition(" ")[0]  # "81559 MiB", or "[N/A]" for memory shared with the CPU
    return Hardware(name, memory=int(amount) * _MEBIBYTE if amount.isdigit() else None)


def _from_driver() -> tuple[Hardware, ...]:
    found = []
    with suppress(OSError):
        for folder in sorted(_DRIVER.joinpath("gpus").iterdir()):
            for line in file_text(folder / "information").splitlines():
                key, _, value = line.partition(":")
                if key.strip() == "Model":
                    found.append(Hardware(value.strip()))
    return tuple(found)
