"""Wrong devices, one fault each: what the kit is tested by.

Each is the reference with one thing wrong that devices get wrong, and names the rows that must
catch it. Every row catches at least one, so that no row passes whatever it is given.
"""

from __future__ import annotations

from msinet_core.conformance.faults.fault import Fault
from msinet_core.conformance.faults.table import FAULTS

__all__ = ["FAULTS", "Fault"]
