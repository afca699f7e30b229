"""Whether OpenVINO is installed; light."""

from __future__ import annotations

from msinet_core import Availability, Probe, hardware

REQUIRES = ("openvino>=2025.0",)
"""What ``pip install "msinet[openvino]"`` installs."""

INSTALL = 'pip install "msinet[openvino]"'


def probe() -> Probe:
    """Look for OpenVINO; it runs on every CPU that it can be installed for."""
    missing = hardware.missing_requirements(REQUIRES)
    return Probe(
        availability=Availability.NOT_HERE if missing else Availability.INSTALLED,
        reason=" ".join(missing),
        fix=INSTALL if missing else "",
        framework_version=hardware.distribution_version("openvino"),
        hardware=(hardware.cpu_hardware(),),
    )
