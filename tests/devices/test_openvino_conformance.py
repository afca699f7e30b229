"""The openvino device against the reference: every row of the kit that prediction has."""

from __future__ import annotations

import pytest

from msinet_core import DeviceConformance
from msinet_core.conformance.scenarios import ALL_SCENARIOS
from msinet_openvino import SPEC

ov = pytest.importorskip("openvino")


class TestFloat32(DeviceConformance):
    device = "openvino"
    precision = "float32"


@pytest.mark.skipif(
    "BF16" not in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"),
    reason="this CPU does not support bfloat16",
)
class TestBfloat16(DeviceConformance):
    device = "openvino"
    precision = "bfloat16"


class TestThroughput(DeviceConformance):
    device = "openvino"
    precision = "float32"
    options = {"hint": "throughput"}
    quick = True


def test_only_rows_about_training_do_not_apply() -> None:
    left_out = {scenario.id for scenario in ALL_SCENARIOS if scenario.missing(SPEC)}
    assert left_out == {scenario.id for scenario in ALL_SCENARIOS if "training" in scenario.needs}
    assert "network/asymmetric" not in left_out
