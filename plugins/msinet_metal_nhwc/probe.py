"""The probe of `metal`: Apple silicon, and a TensorFlow that matches tensorflow-metal."""

from __future__ import annotations

import platform
import sys

from msinet_core import Probe, apple
from msinet_tensorflow.probe import tensorflow_probe, unavailable
from msinet_tensorflow.versions import METAL, METAL_TENSORFLOW, import_trouble

_ON_A_MAC = "sys_platform == 'darwin' and platform_machine == 'arm64' and python_version < '3.13'"
REQUIRES = (f"{METAL_TENSORFLOW}; {_ON_A_MAC}", f"{METAL}==1.2.*; {_ON_A_MAC}")
"""The requirements that ``pip install "msinet[metal]"`` installs."""

INSTALL = 'pip install "msinet[metal]"'
OLDEST_MACOS = 12
FIRST_PYTHON_WITHOUT_WHEELS = (3, 13)


def probe() -> Probe:
    """Look for Apple silicon, the versions of macOS and Python, and the packages."""
    unsupported = apple.no_gpu_reason("Metal is Apple's", METAL, OLDEST_MACOS, INSTALL)
    if unsupported:
        return unavailable(*unsupported)
    gpus = (apple.apple_gpu(),)
    # An incompatible pair is reported by `tensorflow_probe`, because it breaks all devices.
    if sys.version_info[:2] >= FIRST_PYTHON_WITHOUT_WHEELS and not import_trouble():
        return unavailable(
            f"{METAL} has no wheel for Python {platform.python_version()} (needs 3.12 or older).",
            f"In an environment with Python 3.12, run: {INSTALL}",
            gpus,
        )
    return tensorflow_probe(REQUIRES, INSTALL, gpus)
