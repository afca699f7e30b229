"""Import TensorFlow: only if its versions fit, and without its chatter on the terminal."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from types import ModuleType

from msinet_core.system.native_output import suppress_native_stderr as suppress_native_stderr
from msinet_tensorflow.versions import check_versions

LOG_VARIABLE = "TF_CPP_MIN_LOG_LEVEL"
"""TensorFlow's own switch; whoever sets it decides alone what is shown."""


def load_tensorflow() -> ModuleType:
    """Import TensorFlow and return it; the only place that does.

    Raises:
        DeviceUnavailableError: It cannot be imported, told from metadata before trying.
    """
    if "tensorflow" in sys.modules:
        return sys.modules["tensorflow"]
    check_versions()
    if LOG_VARIABLE in os.environ:
        return importlib.import_module("tensorflow")
    os.environ[LOG_VARIABLE] = "2"  # errors only
    with suppress_native_stderr():
        tensorflow = importlib.import_module("tensorflow")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    logging.getLogger("absl").setLevel(logging.ERROR)
    return tensorflow
