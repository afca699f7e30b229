"""PyTorch, imported so that an op without an MPS kernel fails and waiting threads soon sleep."""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType
from typing import Any

from msinet_core import DeviceUnavailableError

FALLBACK_VARIABLE = "PYTORCH_ENABLE_MPS_FALLBACK"
"""If "1", PyTorch runs ops without an MPS kernel on the CPU. Read while PyTorch is imported.

Source: https://docs.pytorch.org/docs/stable/mps_environment_variables.html
"""

SPIN_VARIABLE, SPINS = "GOMP_SPINCOUNT", "10000"
"""How often a thread of PyTorch's OpenMP checks for work before it sleeps: about 0.2 ms.

libgomp's default of 300,000, some 6 ms, is as long as a time slice of the system: a thread that
spins takes the core from the one that it waits for when another program runs too.

Source: https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html
"""

POLICY_VARIABLE = "OMP_WAIT_POLICY"


def _load_torch() -> ModuleType:
    """Import PyTorch with both settings, which other programs and libraries do not see later."""
    if "torch" in sys.modules:
        return importlib.import_module("torch")
    os.environ[FALLBACK_VARIABLE] = "0"
    if {SPIN_VARIABLE, POLICY_VARIABLE} & os.environ.keys():  # the user decides
        return importlib.import_module("torch")
    os.environ[SPIN_VARIABLE] = SPINS
    try:
        return importlib.import_module("torch")
    finally:
        del os.environ[SPIN_VARIABLE]


torch: Any = _load_torch()
"""PyTorch; every module of this plugin imports it from here."""

Tensor = Any


def check_fallback(name: str) -> None:
    """Refuse MPS if PyTorch was imported earlier with the CPU fallback enabled.

    Args:
        name: The device's name.

    Raises:
        DeviceUnavailableError: The variable is set.
    """
    if os.environ.get(FALLBACK_VARIABLE, "0") not in ("", "0"):
        raise DeviceUnavailableError(
            f"Device '{name}' is not available: PyTorch was imported with {FALLBACK_VARIABLE}="
            f"{os.environ[FALLBACK_VARIABLE]} and would silently run some ops on the CPU. "
            f"Run: unset {FALLBACK_VARIABLE}"
        )
