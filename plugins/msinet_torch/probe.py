"""Whether PyTorch is installed, and what its build and this machine can compute on."""

from __future__ import annotations

import platform
import sys

from msinet_core.device import Availability, Hardware, Probe
from msinet_core.hardware.apple import apple_gpu, why_no_apple_gpu
from msinet_core.hardware.host import (
    cpu_hardware,
    distribution_version,
    missing_requirements,
)
from msinet_core.hardware.nvidia import (
    VISIBLE_VARIABLE,
    hidden_gpus,
    nvidia_cards,
    nvidia_gpus,
    why_no_gpu,
)

REQUIRES = ("torch>=2.6",)
"""What ``pip install "msinet[torch]"`` brings."""

INSTALL = 'pip install "msinet[torch]"'
CPU_BUILD = "pip install torch --index-url https://download.pytorch.org/whl/cpu"
"""PyPI's build for Linux brings CUDA, gigabytes."""

REINSTALL = f"pip uninstall --yes torch && {INSTALL}"
CHOOSE_BUILD = "https://pytorch.org/get-started/locally/ names the pip line of the build for CUDA."
OLDEST_MACOS = 14


def cpu_probe() -> Probe:
    """Look for PyTorch; every build of it computes on the processor."""
    return _packages((cpu_hardware(),), CPU_BUILD if sys.platform == "linux" else INSTALL)


def mps_probe() -> Probe:
    """Look for Apple silicon, macOS and PyTorch."""
    elsewhere = why_no_apple_gpu(
        "MPS, Metal Performance Shaders, is Apple's", "PyTorch's mps", OLDEST_MACOS, INSTALL
    )
    if elsewhere:
        return _not_here(*elsewhere)
    return _packages((apple_gpu(),))


def cuda_probe() -> Probe:
    """Look for the GPU, the driver and PyTorch's build, without PyTorch and without CUDA."""
    if sys.platform not in ("linux", "win32"):
        return _not_here(
            "PyTorch computes on NVIDIA GPUs under Linux and Windows only, and this is "
            f"{platform.system() or sys.platform}.",
            f"On Linux with an NVIDIA GPU: {INSTALL}",
        )
    gpus = nvidia_gpus()
    if not gpus:
        before = (
            "Install NVIDIA's driver; nvidia-smi must list the GPU. Then: "
            if nvidia_cards()
            else "On a machine with an NVIDIA GPU: "
        )
        return _not_here(why_no_gpu(), before + INSTALL)
    hidden = hidden_gpus()
    if hidden:
        return _not_here(hidden, f"Run: unset {VISIBLE_VARIABLE}", gpus)
    return _build(gpus)


def local_tag(version: str) -> str:
    """Return what PyTorch's version says of the build, for example ``"cpu"`` or ``"cu126"``.

    Args:
        version: For example ``"2.13.0+cpu"``; without a tag, as on PyPI, the answer is empty.
    """
    return version.partition("+")[2]


def _build(gpus: tuple[Hardware, ...]) -> Probe:
    version = distribution_version("torch")
    tag = local_tag(version or "")
    if version and tag and not tag.startswith("cu"):
        kind = {"cpu": "the processor only", "xpu": "Intel GPUs"}.get(tag, "other GPUs")
        fix = REINSTALL if sys.platform == "linux" else CHOOSE_BUILD
        return _not_here(f"torch {version} is built for {kind}, without CUDA.", fix, gpus)
    if version and not tag and sys.platform == "win32":
        return _not_here(
            f"torch {version} is PyPI's build for Windows, without CUDA.", CHOOSE_BUILD, gpus
        )
    return _packages(gpus)


def _packages(hardware: tuple[Hardware, ...], install: str = INSTALL) -> Probe:
    missing = missing_requirements(REQUIRES)
    if missing:
        return _not_here(" ".join(missing), install, hardware)
    return Probe(
        Availability.INSTALLED,
        framework_version=distribution_version("torch"),
        hardware=hardware,
    )


def _not_here(reason: str, fix: str, hardware: tuple[Hardware, ...] = ()) -> Probe:
    return Probe(Availability.NOT_HERE, reason, fix, distribution_version("torch"), hardware)
