"""Import TensorFlow quietly, after a check of its version."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from types import ModuleType

from msinet_core import suppress_native_stderr
from msinet_tensorflow.versions import check_versions

LOG_VARIABLE = "TF_CPP_MIN_LOG_LEVEL"
"""TensorFlow's log setting, which is respected if the user has set it."""

ONEDNN_VARIABLE = "TF_ENABLE_ONEDNN_OPTS"
"""Lets TensorFlow use oneDNN, which it does by itself only on processors with AVX-512. A narrow
training step in float32 takes 2.6 times the processor time without it on one with AVX2.

Source: https://github.com/tensorflow/tensorflow/blob/v2.21.0/tensorflow/core/util/port.cc
"""

REMAPPER_VARIABLE = "TURN_OFF_REMAPPER"
"""Keeps tensorflow-metal from replacing ops by fused ones, some of which compute wrong results.

Source: strings and symbols of libmetal_plugin.dylib 1.2.0, and
https://github.com/tensorflow/tensorflow/issues/92686
"""


def load_tensorflow() -> ModuleType:
    """Import TensorFlow and return it; all other modules get it from here.

    Raises:
        DeviceUnavailableError: Package metadata shows that it cannot be imported.
    """
    if "tensorflow" in sys.modules:
        return sys.modules["tensorflow"]
    check_versions()
    os.environ.setdefault(ONEDNN_VARIABLE, "1")
    os.environ.setdefault(REMAPPER_VARIABLE, "1")
    if LOG_VARIABLE in os.environ:
        return importlib.import_module("tensorflow")
    os.environ[LOG_VARIABLE] = "2"  # errors only
    with suppress_native_stderr():
        tensorflow = importlib.import_module("tensorflow")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    logging.getLogger("absl").setLevel(logging.ERROR)
    return tensorflow
