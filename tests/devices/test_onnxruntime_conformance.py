"""The onnxruntime device against the reference: every row of the kit that prediction has."""

from __future__ import annotations

import pytest

from msinet_core import DeviceConformance
from msinet_core.conformance.scenarios import ALL_SCENARIOS
from msinet_onnxruntime import SPEC

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


class TestFloat32(DeviceConformance):
    device = "onnxruntime"
    precision = "float32"


def test_only_rows_about_training_and_other_precisions_do_not_apply() -> None:
    left_out = {scenario.id for scenario in ALL_SCENARIOS if scenario.missing(SPEC)}
    training = {scenario.id for scenario in ALL_SCENARIOS if "training" in scenario.needs}
    assert left_out == training | {"device/bfloat16", "device/float16"}
