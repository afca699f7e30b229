"""The probe of the reference device, which is always available."""

from __future__ import annotations

from msinet_core.device import Availability, Probe
from msinet_core.hardware.host import cpu_hardware, distribution_version


def probe() -> Probe:
    """Describe NumPy and the processor."""
    return Probe(
        availability=Availability.INSTALLED,
        reason="Exact but slow: meant for tests and for checking other devices.",
        framework_version=distribution_version("numpy"),
        hardware=(cpu_hardware(),),
    )
