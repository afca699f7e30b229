"""What can be said about the reference device without computing: it is always here."""

from __future__ import annotations

from msinet_core.device import Availability, Probe
from msinet_core.hardware.host import cpu_hardware, distribution_version


def probe() -> Probe:
    """Describe NumPy and the processor that it computes on."""
    return Probe(
        availability=Availability.INSTALLED,
        reason="Exact but slow: meant for tests and for proving other devices.",
        framework_version=distribution_version("numpy"),
        hardware=(cpu_hardware(),),
    )
