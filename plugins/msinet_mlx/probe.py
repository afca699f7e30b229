"""Whether MLX is installed, with which backend, and on what it would compute."""

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

OLDEST = "0.32.4"
"""Earlier ones could give zeros for convolutions of large batches on a Mac, and say nothing.

Source: https://github.com/ml-explore/mlx/issues/3979, mended in pull request 4102.
"""

_ON_A_MAC = "sys_platform == 'darwin' and platform_machine == 'arm64'"
REQUIRES = (f"mlx>={OLDEST}; {_ON_A_MAC}", f"mlx>={OLDEST}; sys_platform == 'linux'")
"""What ``pip install "msinet[mlx]"`` brings, and on Linux a backend besides."""

INSTALL = 'pip install "msinet[mlx]"'
OLDEST_MACOS = 14
METAL_BACKEND, CPU_BACKEND = "mlx-metal", "mlx-cpu"
CUDA_BACKENDS = ("mlx-cuda-13", "mlx-cuda-12")


def is_apple_silicon() -> bool:
    """Tell whether this is a Mac with Apple silicon, running a Python made for it."""
    return sys.platform == "darwin" and platform.machine() == "arm64"


def backend() -> str | None:
    """Return the distribution that computes for MLX; None if there is none.

    ``mlx`` itself is only Python; what computes is a distribution of its own, of which several can
    be installed over one another. One for a GPU is then taken to have been wanted.
    """
    choices = (METAL_BACKEND,) if sys.platform == "darwin" else (*CUDA_BACKENDS, CPU_BACKEND)
    return next((name for name in choices if distribution_version(name)), None)


def probe() -> Probe:
    """Look for Apple silicon or Linux, for MLX and for its backend."""
    if sys.platform == "linux":
        return _on_linux()
    elsewhere = why_no_apple_gpu(
        "MLX is for macOS and Linux", f"mlx {OLDEST}", OLDEST_MACOS, INSTALL
    )
    if elsewhere:
        return _not_here(*elsewhere)
    return _installed((apple_gpu(),), "")


def _on_linux() -> Probe:
    if backend() in CUDA_BACKENDS:
        remark = "Installed with MLX's CUDA backend, on which msinet was never run."
        return _installed((), remark)
    remark = "Installed: CPU backend, slow. On Apple silicon it computes on the GPU."
    return _installed((cpu_hardware(),), remark)


def _installed(hardware: tuple[Hardware, ...], remark: str) -> Probe:
    missing = missing_requirements(REQUIRES)
    if not missing and backend() is None:
        missing = ["mlx is installed without a backend, the part of it that computes."]
    if missing:
        return _not_here(" ".join(missing), INSTALL, hardware)
    return Probe(Availability.INSTALLED, remark, "", distribution_version("mlx"), hardware)


def _not_here(reason: str, fix: str, hardware: tuple[Hardware, ...] = ()) -> Probe:
    return Probe(Availability.NOT_HERE, reason, fix, distribution_version("mlx"), hardware)
