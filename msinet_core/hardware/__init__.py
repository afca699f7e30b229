"""Facts about the machine that several probes need; the front door exports this package."""

from __future__ import annotations

from msinet_core.hardware.host import (
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
    "PciDevice",
    "command_output",
    "cpu_hardware",
    "distribution_version",
    "file_text",
    "fits",
    "missing_requirements",
    "pci_devices",
]
