"""Wrong devices that test the kit.

Each is the reference with one mistake that devices make, and names the rows that must catch it.
Every row catches at least one, so no row passes regardless of the device.
"""

from __future__ import annotations

from msinet_core.conformance.faults.fault import Fault
from msinet_core.conformance.faults.table import FAULTS

__all__ = ["FAULTS", "Fault"]
