"""The probe of `cuda`: an NVIDIA GPU, its driver, and a TensorFlow with CUDA kernels."""

from __future__ import annotations

from dataclasses import replace

from msinet_core import Probe, hardware, nvidia
from msinet_tensorflow.probe import tensorflow_probe, unavailable
from msinet_tensorflow.versions import installed_wheels

REQUIRES = ("tensorflow[and-cuda]>=2.16; sys_platform == 'linux'",)
"""The requirements that ``pip install "msinet[cuda]"`` installs."""

INSTALL = 'pip install "msinet[cuda]"'

TARGETS = ("sm_60", "sm_70", "sm_80", "sm_89", "compute_90")
"""What TensorFlow's wheels contain kernels for.

Source: ``tf.sysconfig.get_build_info()`` of the ``tensorflow`` 2.21 wheel for Linux.
"""

BLACKWELL, WITHOUT_BLACKWELL = (10, 0), "<2.22"
"""A compute capability, and releases of TensorFlow whose CUDA 12.5 does not support it.

Source: https://github.com/tensorflow/tensorflow/issues/99592 and 101746
"""

FIRST_USE = (
    "TensorFlow has no machine code for this GPU: the driver compiles each kernel on its first "
    "use, which can take minutes in every new container."
)
KEEP_KERNELS = (
    f"Set {nvidia.CACHE_VARIABLE} to a folder that is kept, CUDA_CACHE_MAXSIZE=4294967296"
)
USE_TORCH = 'Use torch-cuda in a separate environment: pip install "msinet[torch]"'


def probe() -> Probe:
    """Look for the GPU, the driver and the packages, without importing TensorFlow."""
    gpus, wheels = nvidia.nvidia_gpus(), installed_wheels()
    if missing := nvidia.no_gpu_reason(gpus, "TensorFlow", INSTALL):
        return unavailable(*missing, gpus)
    if list(wheels) == ["tensorflow-cpu"]:
        reason = f"tensorflow-cpu {wheels['tensorflow-cpu']} has no kernels for NVIDIA GPUs."
        return unavailable(reason, f"pip uninstall --yes tensorflow-cpu && {INSTALL}", gpus)
    return _check_gpus(tensorflow_probe(REQUIRES, INSTALL, gpus))


def is_too_new(capability: tuple[int, int], version: str) -> bool:
    """Return whether a GPU is newer than the CUDA that a release of TensorFlow is built with.

    Args:
        capability: The GPU's compute capability.
        version: TensorFlow's version.
    """
    return capability >= BLACKWELL and hardware.fits(version, WITHOUT_BLACKWELL)


def _check_gpus(found: Probe) -> Probe:
    """Add what the GPUs' compute capability means, if the probe found no other problem."""
    driver = nvidia.query_driver()
    if not found.ready or found.reason or driver is None:
        return found
    if overlap := nvidia.overlapping_libraries():
        return replace(found, reason=overlap, fix=INSTALL)
    capabilities = [gpu.capability for gpu in driver.gpus if gpu.capability]
    version = found.framework_version or ""
    if capabilities and all(is_too_new(item, version) for item in capabilities):
        return unavailable(
            f"TensorFlow {version} has no kernels for this GPU (compute capability "
            f"{'.'.join(map(str, capabilities[0]))}; it supports up to 9.0).",
            USE_TORCH,
            found.hardware,
        )
    if any(nvidia.kernel_support(item, TARGETS) == "on first use" for item in capabilities):
        return replace(found, reason=FIRST_USE, fix=KEEP_KERNELS)
    return found
