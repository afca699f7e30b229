"""Whether this is a Mac with Apple silicon, and its TensorFlow fits its tensorflow-metal."""

from __future__ import annotations

import platform
import sys

from msinet_core.device import Availability, Probe
from msinet_core.hardware.apple import apple_gpu, why_no_apple_gpu
from msinet_tensorflow.probe import framework_version, hardware_missing, tensorflow_probe
from msinet_tensorflow.versions import METAL, METAL_TENSORFLOW, import_trouble

_ON_A_MAC = "sys_platform == 'darwin' and platform_machine == 'arm64' and python_version < '3.13'"
REQUIRES = (f"{METAL_TENSORFLOW}; {_ON_A_MAC}", f"{METAL}==1.2.*; {_ON_A_MAC}")
"""What ``pip install "msinet[metal]"`` brings."""

INSTALL = 'pip install "msinet[metal]"'
OLDEST_MACOS = 12
FIRST_PYTHON_WITHOUT_WHEELS = (3, 13)


def probe() -> Probe:
    """Look for Apple silicon, macOS, Python and the pair of packages."""
    elsewhere = why_no_apple_gpu("Metal is Apple's", METAL, OLDEST_MACOS, INSTALL)
    if elsewhere:
        return hardware_missing(*elsewhere)
    trouble = import_trouble()
    if trouble:  # breaks every TensorFlow device: said first, its fix helps in any case
        return Probe(
            Availability.NOT_HERE,
            trouble.reason,
            trouble.fix,
            framework_version(),
            (apple_gpu(),),
        )
    return _packages()


def _packages() -> Probe:
    hardware = (apple_gpu(),)
    if sys.version_info[:2] >= FIRST_PYTHON_WITHOUT_WHEELS:
        return Probe(
            Availability.NOT_HERE,
            f"{METAL} has no wheel for Python {platform.python_version()} (needs 3.12 or older).",
            f"Make an environment with Python 3.12, and there: {INSTALL}",
            framework_version(),
            hardware,
        )
    return tensorflow_probe(REQUIRES, INSTALL, hardware)
