"""The contract that a plugin implements: a light `DeviceSpec` and a `Device` opened on demand.

`Layers` is in `device.layers`, so that listing devices does not import the network.
"""

from __future__ import annotations

from msinet_core.device.deferred import Deferred
from msinet_core.device.device import Device
from msinet_core.device.model import Model
from msinet_core.device.processes import Processes, report_lost_processes
from msinet_core.device.program import Program
from msinet_core.device.recent import Recent
from msinet_core.device.spec import (
    API_VERSION,
    PRECISIONS,
    Availability,
    Capabilities,
    DeviceOption,
    DeviceSpec,
    Probe,
)
from msinet_core.hardware.hardware import Hardware

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
    "Model",
    "Probe",
    "Processes",
    "Program",
    "Recent",
    "report_lost_processes",
]
