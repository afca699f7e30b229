"""The openvino device against the reference: every row of the kit that prediction has."""

from __future__ import annotations

import pytest

from msinet_core.conformance import SCENARIOS, run
from msinet_openvino import SPEC

openvino = pytest.importorskip("openvino")


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def rows(request):
    capability = {"float32": "FP32", "bfloat16": "BF16"}[request.param]
    if capability not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip(f"this processor does not compute in {request.param}")
    return {row.id: row for row in run(SPEC, precision=request.param).rows}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.id)
def test_row(rows, scenario):
    row = rows[scenario.id]
    if scenario.training:
        assert row.passed is None, "a row about training ran on a device that does not train"
    else:
        assert row.passed, f"{row.description} {row.reason} ({row.difference} of {row.tolerance})"
