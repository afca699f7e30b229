"""Every row of msinet's conformance kit, on the CPU, in each precision."""

from __future__ import annotations

from msinet_core import DeviceConformance


class TestJax(DeviceConformance):
    device = "jax"


class TestJaxInBfloat16(DeviceConformance):
    device = "jax"
    precision = "bfloat16"
