"""What a plugin fills in: a light `DeviceSpec`, and a heavy `Device` that is opened on demand.

This package is part of the public door. A plugin's light module imports `DeviceSpec`, `Probe` and
their parts from here; its heavy module subclasses `Device` and `Model`.
"""

from __future__ import annotations

from msinet_core.device.deferred import Deferred
from msinet_core.device.device import Device
from msinet_core.device.layers import Layers
from msinet_core.device.model import Model
from msinet_core.device.processes import Processes
from msinet_core.device.program import Program
from msinet_core.device.spec import (
    API_VERSION,
    PRECISIONS,
    Availability,
    Capabilities,
    DeviceOption,
    DeviceSpec,
    Hardware,
    Probe,
)

__all__ = [
    "API_VERSION",
    "PRECISIONS",
    "Availability",
    "Capabilities",
    "Deferred",
    "Device",
    "DeviceOption",
    "DeviceSpec",
    "Hardware",
    "Layers",
    "Model",
    "Probe",
    "Processes",
    "Program",
]
