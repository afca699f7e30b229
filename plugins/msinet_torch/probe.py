"""Whether PyTorch is installed, and what its build and this machine can compute on."""

from __future__ import annotations

import sys
from dataclasses import replace

from msinet_core import Availability, Hardware, Probe, apple, hardware, nvidia

REQUIRES = ("torch>=2.6",)
"""What ``pip install "msinet[torch]"`` installs."""

INSTALL = 'pip install "msinet[torch]"'
CPU_BUILD = "pip install torch --index-url https://download.pytorch.org/whl/cpu"
"""On Linux, PyPI's build comes with gigabytes of CUDA."""

REINSTALL = f"pip uninstall --yes torch && {INSTALL}"
CHOOSE_BUILD = "See https://pytorch.org/get-started/locally/ for the pip command of a CUDA build."
OLDEST_MACOS = 14


def cpu_probe() -> Probe:
    """Look for PyTorch; every build runs on the CPU."""
    install = CPU_BUILD if sys.platform == "linux" else INSTALL
    return _check_packages((hardware.cpu_hardware(),), install)


def mps_probe() -> Probe:
    """Look for Apple silicon, macOS and PyTorch."""
    missing = apple.no_gpu_reason(
        "MPS, Metal Performance Shaders, is Apple's", "PyTorch's mps", OLDEST_MACOS, INSTALL
    )
    return _unavailable(*missing) if missing else _check_packages((apple.apple_gpu(),))


def cuda_probe() -> Probe:
    """Look for the GPU, the driver and PyTorch's build without loading PyTorch or CUDA."""
    gpus = nvidia.nvidia_gpus()
    if missing := nvidia.no_gpu_reason(gpus, "PyTorch", INSTALL, windows=True):
        return _unavailable(*missing, gpus)
    wrong_build = _build_without_cuda(hardware.distribution_version("torch") or "")
    if wrong_build:
        return _unavailable(*wrong_build, gpus)
    found = _check_packages(gpus)
    overlap = nvidia.overlapping_libraries()
    return replace(found, reason=overlap, fix=INSTALL) if found.ready and overlap else found


def _build_without_cuda(version: str) -> tuple[str, str] | None:
    """Return why a build cannot use CUDA, and the fix, from its version, e.g. "2.13.0+cpu"."""
    build = version.partition("+")[2]
    if build and not build.startswith("cu"):
        target = {"cpu": "CPUs only", "xpu": "Intel GPUs"}.get(build, "other GPUs")
        fix = REINSTALL if sys.platform == "linux" else CHOOSE_BUILD
        return f"torch {version} is built for {target}, without CUDA.", fix
    if version and not build and sys.platform == "win32":
        return f"torch {version} is PyPI's build for Windows, without CUDA.", CHOOSE_BUILD
    return None


def _check_packages(devices: tuple[Hardware, ...], install: str = INSTALL) -> Probe:
    return Probe.of_packages("torch", REQUIRES, install, devices)


def _unavailable(reason: str, fix: str, devices: tuple[Hardware, ...] = ()) -> Probe:
    version = hardware.distribution_version("torch")
    return Probe(Availability.NOT_HERE, reason, fix, version, devices)
