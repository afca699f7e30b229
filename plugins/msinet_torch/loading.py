"""Import PyTorch so that an op that a Mac's GPU lacks is an error."""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType

from msinet_core.errors import DeviceUnavailableError

FALLBACK_VARIABLE = "PYTORCH_ENABLE_MPS_FALLBACK"
"""With "1" PyTorch computes on the processor what MPS lacks; it is read while PyTorch is imported.

Source: https://docs.pytorch.org/docs/stable/mps_environment_variables.html
"""


def load_torch() -> ModuleType:
    """Import PyTorch and return it; the only place that does."""
    if "torch" not in sys.modules:
        os.environ[FALLBACK_VARIABLE] = "0"
    return importlib.import_module("torch")


def check_fallback() -> None:
    """Refuse to compute on MPS when PyTorch was imported with leave to compute elsewhere.

    Raises:
        DeviceUnavailableError: Somebody imported it before, with the variable set.
    """
    if os.environ.get(FALLBACK_VARIABLE, "0") not in ("", "0"):
        raise DeviceUnavailableError(
            f"Device 'mps' is not available: PyTorch was imported with {FALLBACK_VARIABLE}="
            f"{os.environ[FALLBACK_VARIABLE]}, so that it would silently compute on the processor. "
            f"Run: unset {FALLBACK_VARIABLE}"
        )
