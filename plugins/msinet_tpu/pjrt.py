"""How TensorFlow reaches a TPU: through libtpu's PJRT interface, found by environment variables.

TensorFlow's older interface does not support v5e and later chips, and a TensorFlow that is imported
without these variables uses it.

Source: https://docs.cloud.google.com/tpu/docs/run-calculation-tensorflow
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from msinet_tpu.probe import tpu_chips

PJRT_VARIABLE = "NEXT_PLUGGABLE_DEVICE_USE_C_API"
LIBRARY_VARIABLE = "TF_PLUGGABLE_DEVICE_LIBRARY_PATH"


def select_pjrt() -> None:
    """Set both variables, unless they are set, if this machine has a chip and libtpu.

    TensorFlow reads them while it is imported.
    """
    package = importlib.util.find_spec("libtpu")
    if package is None or package.origin is None or not any(tpu_chips()):
        return
    os.environ.setdefault(PJRT_VARIABLE, "true")
    os.environ.setdefault(LIBRARY_VARIABLE, str(Path(package.origin).with_name("libtpu.so")))


def uses_pjrt() -> bool:
    """Return whether the environment selects PJRT."""
    return os.environ.get(PJRT_VARIABLE, "").lower() in ("1", "true")
