"""The probe of `cuda`: an NVIDIA GPU, its driver, and a TensorFlow with CUDA kernels."""

from __future__ import annotations

import platform
import sys

from msinet_core import Availability, Hardware, Probe, nvidia
from msinet_tensorflow.probe import framework_version, hardware_missing, tensorflow_probe
from msinet_tensorflow.versions import installed_wheels

REQUIRES = ("tensorflow[and-cuda]>=2.16; sys_platform == 'linux'",)
"""The requirements that ``pip install "msinet[cuda]"`` installs."""

INSTALL = 'pip install "msinet[cuda]"'


def probe() -> Probe:
    """Look for the GPU, the driver and the packages, without TensorFlow and without CUDA."""
    if sys.platform != "linux":
        return hardware_missing(
            "TensorFlow supports NVIDIA GPUs on Linux only, and this is "
            f"{platform.system() or sys.platform}.",
            f"On Linux, or in WSL2 on Windows, with an NVIDIA GPU: {INSTALL}",
        )
    gpus = nvidia.nvidia_gpus()
    if not gpus:
        return _no_gpu()
    hidden = nvidia.hidden_gpus()
    if hidden:
        return Probe(
            Availability.NOT_HERE,
            hidden,
            f"Run: unset {nvidia.VISIBLE_VARIABLE}",
            framework_version(),
            gpus,
        )
    return _packages(gpus)


def _no_gpu() -> Probe:
    reason = nvidia.why_no_gpu()
    if nvidia.nvidia_cards():
        fix = "Install NVIDIA's driver for Linux; nvidia-smi must list the GPU. Then: "
    else:
        fix = "On a Linux machine with an NVIDIA GPU: "
    return hardware_missing(reason, fix + INSTALL)


def _packages(gpus: tuple[Hardware, ...]) -> Probe:
    wheels = installed_wheels()
    if list(wheels) == ["tensorflow-cpu"]:
        return Probe(
            Availability.NOT_HERE,
            f"tensorflow-cpu {wheels['tensorflow-cpu']} has no kernels for NVIDIA GPUs.",
            f"pip uninstall --yes tensorflow-cpu && {INSTALL}",
            framework_version(),
            gpus,
        )
    return tensorflow_probe(REQUIRES, INSTALL, gpus)
