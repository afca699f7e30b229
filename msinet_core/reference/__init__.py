"""The device `reference`: plain NumPy, slow and exact; other devices are checked against it.

This module is light, like the first module of every device plugin: it only describes the device.
"""

from __future__ import annotations

from msinet_core.device import Capabilities, DeviceSpec
from msinet_core.reference.probe import probe
from msinet_core.registry.hookspecs import Register, hookimpl

SPEC = DeviceSpec(
    name="reference",
    summary="Plain NumPy: slow, exact, always available; other devices are checked against it",
    framework="NumPy",
    factory="msinet_core.reference.device:ReferenceDevice",
    probe=probe,
    api_version=1,
    data_format="NHWC",
    kernel_layout="HWIO",
    requires=("numpy>=1.26",),
    priority=-100,  # never chosen automatically
    capabilities=Capabilities(training=True, precisions=("float32",)),
)


@hookimpl
def msinet_register_devices(register: Register) -> None:
    """Register the device `reference`."""
    register(SPEC)
