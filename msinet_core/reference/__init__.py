"""The device `reference`: plain NumPy, slow and exact; other devices are checked against it.

This module is light, like the first module of every device plugin: it only describes the device.
"""

from __future__ import annotations

from msinet_core.device import Availability, Capabilities, DeviceSpec, Probe
from msinet_core.hardware.host import cpu_hardware, distribution_version
from msinet_core.registry.hookspecs import Register, hookimpl


def probe() -> Probe:
    """Describe NumPy and the processor."""
    return Probe(
        availability=Availability.INSTALLED,
        reason="Exact but slow: meant for tests and for checking other devices.",
        framework_version=distribution_version("numpy"),
        hardware=(cpu_hardware(),),
    )


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
