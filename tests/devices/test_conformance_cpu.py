"""The cpu device against the reference, every row of the kit, in every precision it offers."""

from __future__ import annotations

import pytest

from msinet_core import DeviceConformance

pytest.importorskip("tensorflow")


class TestFloat32(DeviceConformance):
    device = "cpu"
    precision = "float32"


@pytest.mark.slow
class TestBfloat16(DeviceConformance):
    device = "cpu"
    precision = "bfloat16"
    quick = True
