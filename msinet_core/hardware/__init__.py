"""Facts about the machine that probes share; none of them imports a framework."""

from __future__ import annotations

from msinet_core.hardware.host import (
    PciDevice,
    command_output,
    cpu_hardware,
    distribution_version,
    fits,
    missing_requirements,
    pci_devices,
)
from msinet_core.hardware.onednn import missing_channels
from msinet_core.hardware.tpu import tpu_chips
from msinet_core.system.resources import file_text

__all__ = [
    "PciDevice",
    "command_output",
    "cpu_hardware",
    "distribution_version",
    "file_text",
    "fits",
    "missing_channels",
    "missing_requirements",
    "pci_devices",
    "tpu_chips",
]
