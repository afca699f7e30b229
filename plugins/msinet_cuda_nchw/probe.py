"""The probe of `cuda`: an NVIDIA GPU, its driver, and a TensorFlow with CUDA kernels."""

from __future__ import annotations

import platform
import sys

from msinet_core import Probe, nvidia
from msinet_tensorflow.probe import tensorflow_probe, unavailable
from msinet_tensorflow.versions import installed_wheels

REQUIRES = ("tensorflow[and-cuda]>=2.16; sys_platform == 'linux'",)
"""The requirements that ``pip install "msinet[cuda]"`` installs."""

INSTALL = 'pip install "msinet[cuda]"'


def probe() -> Probe:
    """Look for the GPU, the driver and the packages, without importing TensorFlow."""
    if sys.platform != "linux":
        return unavailable(
            "TensorFlow supports NVIDIA GPUs on Linux only, and this is "
            f"{platform.system() or sys.platform}.",
            f"On Linux, or in WSL2 on Windows, with an NVIDIA GPU: {INSTALL}",
        )
    gpus, wheels = nvidia.nvidia_gpus(), installed_wheels()
    if not gpus:
        if nvidia.has_nvidia_card():
            fix = "Install NVIDIA's driver for Linux; nvidia-smi must list the GPU. Then: "
        else:
            fix = "On a Linux machine with an NVIDIA GPU: "
        return unavailable(nvidia.no_gpu_reason(), fix + INSTALL)
    if hidden := nvidia.hidden_reason():
        return unavailable(hidden, f"Run: unset {nvidia.VISIBLE_VARIABLE}", gpus)
    if list(wheels) == ["tensorflow-cpu"]:
        reason = f"tensorflow-cpu {wheels['tensorflow-cpu']} has no kernels for NVIDIA GPUs."
        return unavailable(reason, f"pip uninstall --yes tensorflow-cpu && {INSTALL}", gpus)
    return tensorflow_probe(REQUIRES, INSTALL, gpus)
