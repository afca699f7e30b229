"""Facts about the machine that probes share; none of them imports a framework."""

from __future__ import annotations

from msinet_core.hardware.host import (
    COMMAND_TIMEOUT,
    PciDevice,
    command_output,
    cpu_hardware,
    distribution_version,
    file_text,
    fits,
    missing_requirements,
    pci_devices,
)

__all__ = [
    "COMMAND_TIMEOUT",
    "PciDevice",
    "command_output",
    "cpu_hardware",
    "distribution_version",
    "file_text",
    "fits",
    "missing_requirements",
    "pci_devices",
]
