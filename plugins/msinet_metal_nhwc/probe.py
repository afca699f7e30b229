"""The probe of `metal`: Apple silicon, and a TensorFlow that matches tensorflow-metal."""

from __future__ import annotations

import platform
import sys

from msinet_core import Availability, Probe, apple
from msinet_tensorflow.probe import framework_version, hardware_missing, tensorflow_probe
from msinet_tensorflow.versions import METAL, METAL_TENSORFLOW, import_trouble

_ON_A_MAC = "sys_platform == 'darwin' and platform_machine == 'arm64' and python_version < '3.13'"
REQUIRES = (f"{METAL_TENSORFLOW}; {_ON_A_MAC}", f"{METAL}==1.2.*; {_ON_A_MAC}")
"""The requirements that ``pip install "msinet[metal]"`` installs."""

INSTALL = 'pip install "msinet[metal]"'
OLDEST_MACOS = 12
FIRST_PYTHON_WITHOUT_WHEELS = (3, 13)


def probe() -> Probe:
    """Look for Apple silicon, macOS, Python and the pair of packages."""
    elsewhere = apple.why_no_apple_gpu("Metal is Apple's", METAL, OLDEST_MACOS, INSTALL)
    if elsewhere:
        return hardware_missing(*elsewhere)
    trouble = import_trouble()
    if trouble:  # breaks every TensorFlow device: said first, its fix helps in any case
        return Probe(
            Availability.NOT_HERE,
            trouble.reason,
            trouble.fix,
            framework_version(),
            (apple.apple_gpu(),),
        )
    return _packages()


def _packages() -> Probe:
    gpus = (apple.apple_gpu(),)
    if sys.version_info[:2] >= FIRST_PYTHON_WITHOUT_WHEELS:
        return Probe(
            Availability.NOT_HERE,
            f"{METAL} has no wheel for Python {platform.python_version()} (needs 3.12 or older).",
            f"Create an environment with Python 3.12, and in it: {INSTALL}",
            framework_version(),
            gpus,
        )
    return tensorflow_probe(REQUIRES, INSTALL, gpus)
