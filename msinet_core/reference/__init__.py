"""The device `reference`: plain NumPy, slow and exact, the oracle that others are proven against.

This module is light, as every device plugin's first module is: it only describes the device.
"""

from __future__ import annotations

from msinet_core.device import Capabilities, DeviceSpec
from msinet_core.reference.probe import probe
from msinet_core.registry.hookspecs import Register, hookimpl

SPEC = DeviceSpec(
    name="reference",
    summary="Plain NumPy: slow, exact, always here; other devices are proven against it",
    framework="NumPy",
    factory="msinet_core.reference.device:ReferenceDevice",
    probe=probe,
    api_version=1,
    data_format="NHWC",
    kernel_layout="HWIO",
    requires=("numpy>=1.26",),
    priority=-100,  # never chosen automatically: whoever wants it asks for it
    capabilities=Capabilities(training=True, precisions=("float32",)),
)


@hookimpl
def msinet_register_devices(register: Register) -> None:
    """Bring the device `reference`."""
    register(SPEC)
