"""The probe of `tpu`: a TPU, a TensorFlow built for it, and the variables that join the two."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from msinet_core import Hardware, Probe, hardware
from msinet_tensorflow.probe import tensorflow_probe, unavailable

REQUIRES = (
    "tensorflow-tpu>=2.18; sys_platform == 'linux' and platform_machine == 'x86_64'",
    "libtpu>=0.0.17,<0.0.31; sys_platform == 'linux' and platform_machine == 'x86_64'",
)
"""The requirements that ``pip install "msinet[tpu]"`` installs.

tensorflow-tpu 2.20 allows every later libtpu, but with 0.0.40 and 0.0.51 its import ends the
process ("not available in this library"); 0.0.17 to 0.0.30 work. Measured without a TPU.
"""

INSTALL = 'pip install "msinet[tpu]"'
ENVIRONMENT = ("TPU_ACCELERATOR_TYPE", "TPU_NAME", "COLAB_TPU_ADDR")
"""Variables that name a TPU: on TPU VMs, in their containers, and for a TPU in the network."""

PJRT_VARIABLE = "NEXT_PLUGGABLE_DEVICE_USE_C_API"
LIBRARY_VARIABLE = "TF_PLUGGABLE_DEVICE_LIBRARY_PATH"


def probe() -> Probe:
    """Look for TPU chips, the name of a TPU in the environment, and the packages."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return unavailable(
            "TPUs are supported on Linux x86-64 only, and this is "
            f"{platform.system() or sys.platform} on {platform.machine()}.",
            f"On a Google Cloud TPU VM: {INSTALL}",
        )
    chips = hardware.tpu_chips() or tuple(_named_in_environment())
    if not chips:
        return unavailable(
            f"No TPU found (no TPU chip, and none of {', '.join(ENVIRONMENT)} is set).",
            f"On a Google Cloud TPU VM: {INSTALL}",
        )
    return tensorflow_probe(REQUIRES, INSTALL, chips)


def select_pjrt() -> None:
    """Let TensorFlow use libtpu's PJRT interface, if this machine has a chip and libtpu.

    TensorFlow's older interface does not support v5e and later chips, and a TensorFlow that is
    imported without the two variables uses it. Variables that are set are kept.

    Source: https://docs.cloud.google.com/tpu/docs/run-calculation-tensorflow
    """
    package = importlib.util.find_spec("libtpu")
    if package is None or package.origin is None or not hardware.tpu_chips():
        return
    os.environ.setdefault(PJRT_VARIABLE, "true")
    os.environ.setdefault(LIBRARY_VARIABLE, str(Path(package.origin).with_name("libtpu.so")))


def uses_pjrt() -> bool:
    """Return whether the environment selects PJRT."""
    return os.environ.get(PJRT_VARIABLE, "").lower() in ("1", "true")


def _named_in_environment() -> Iterator[Hardware]:
    name = next((os.environ[key] for key in ENVIRONMENT if os.environ.get(key)), "")
    if name:
        yield Hardware(f"TPU {name}", bfloat16=True)
