"""Whether OpenVINO is installed; light."""

from __future__ import annotations

from msinet_core.device import Availability, Probe
from msinet_core.hardware.host import cpu_hardware, distribution_version, missing_requirements

REQUIRES = ("openvino>=2025.0",)
"""What ``pip install "msinet[openvino]"`` brings."""

INSTALL = 'pip install "msinet[openvino]"'


def probe() -> Probe:
    """Look for OpenVINO; it computes on every processor that it can be installed for."""
    missing = missing_requirements(REQUIRES)
    return Probe(
        availability=Availability.NOT_HERE if missing else Availability.INSTALLED,
        reason=" ".join(missing),
        fix=INSTALL if missing else "",
        framework_version=distribution_version("openvino"),
        hardware=(cpu_hardware(),),
    )
