"""Whether OpenVINO is installed; light."""

from __future__ import annotations

from msinet_core import Probe, hardware

REQUIRES = ("openvino>=2025.0",)
"""What ``pip install "msinet[openvino]"`` installs."""

INSTALL = 'pip install "msinet[openvino]"'


def probe() -> Probe:
    """Look for OpenVINO; it runs on every CPU that it can be installed for."""
    return Probe.of_packages("openvino", REQUIRES, INSTALL, (hardware.cpu_hardware(),))
