"""Whether MLX is installed, with which backend, and what it would compute on."""

from __future__ import annotations

import platform
import sys
from dataclasses import replace

from msinet_core import Availability, Hardware, Probe, apple, hardware

OLDEST = "0.32.4"
"""Earlier versions can silently return zeros for convolutions of large batches on a Mac.

Source: https://github.com/ml-explore/mlx/issues/3979, fixed in pull request 4102.
"""

_ON_A_MAC = "sys_platform == 'darwin' and platform_machine == 'arm64'"
REQUIRES = (f"mlx>={OLDEST}; {_ON_A_MAC}", f"mlx>={OLDEST}; sys_platform == 'linux'")
"""What ``pip install "msinet[mlx]"`` installs; on Linux with a backend."""

INSTALL = 'pip install "msinet[mlx]"'
OLDEST_MACOS = 14
METAL_BACKEND, CPU_BACKEND = "mlx-metal", "mlx-cpu"
CUDA_BACKENDS = ("mlx-cuda-13", "mlx-cuda-12")


def is_apple_silicon() -> bool:
    """Return whether this is a Mac with Apple silicon and a native Python."""
    return sys.platform == "darwin" and platform.machine() == "arm64"


def backend() -> str | None:
    """Return the distribution with MLX's backend; None if there is none.

    ``mlx`` itself is Python only. Several backends can be installed; those for GPUs come first.
    """
    choices = (METAL_BACKEND,) if sys.platform == "darwin" else (*CUDA_BACKENDS, CPU_BACKEND)
    return next((name for name in choices if hardware.distribution_version(name)), None)


def probe() -> Probe:
    """Look for Apple silicon or Linux, for MLX and for its backend."""
    if sys.platform == "linux":
        if backend() in CUDA_BACKENDS:
            return _check_packages((), "MLX's CUDA backend, which msinet was never tested on.")
        remark = "CPU backend: slow. On Apple silicon, MLX uses the GPU."
        # Its kernels do not use the processor's instructions for bfloat16.
        processor = replace(hardware.cpu_hardware(), bfloat16=False)
        return _check_packages((processor,), remark)
    missing = apple.no_gpu_reason(
        "MLX is for macOS and Linux", f"mlx {OLDEST}", OLDEST_MACOS, INSTALL
    )
    return _unavailable(*missing) if missing else _check_packages((apple.apple_gpu(),))


def _check_packages(devices: tuple[Hardware, ...], remark: str = "") -> Probe:
    found = Probe.of_packages("mlx", REQUIRES, INSTALL, devices, remark)
    if found.ready and backend() is None:
        return _unavailable("mlx is installed without a backend.", INSTALL, devices)
    return found


def _unavailable(reason: str, fix: str, devices: tuple[Hardware, ...] = ()) -> Probe:
    version = hardware.distribution_version("mlx")
    return Probe(Availability.NOT_HERE, reason, fix, version, devices)
