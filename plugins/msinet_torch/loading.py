"""Import PyTorch so that an op without an MPS kernel raises an error."""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType

from msinet_core import DeviceUnavailableError

FALLBACK_VARIABLE = "PYTORCH_ENABLE_MPS_FALLBACK"
"""If "1", PyTorch runs ops without an MPS kernel on the CPU. Read while PyTorch is imported.

Source: https://docs.pytorch.org/docs/stable/mps_environment_variables.html
"""


def load_torch() -> ModuleType:
    """Import and return PyTorch; every module of this plugin imports it here."""
    if "torch" not in sys.modules:
        os.environ[FALLBACK_VARIABLE] = "0"
    return importlib.import_module("torch")


def check_fallback() -> None:
    """Refuse MPS if PyTorch was imported earlier with the CPU fallback enabled.

    Raises:
        DeviceUnavailableError: The variable is set.
    """
    if os.environ.get(FALLBACK_VARIABLE, "0") not in ("", "0"):
        raise DeviceUnavailableError(
            f"Device 'mps' is not available: PyTorch was imported with {FALLBACK_VARIABLE}="
            f"{os.environ[FALLBACK_VARIABLE]} and would silently run some ops on the CPU. "
            f"Run: unset {FALLBACK_VARIABLE}"
        )
