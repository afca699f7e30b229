"""The cpu device against the reference, every row of the kit, in every precision it offers."""

from __future__ import annotations

import pytest

from msinet_core.conformance import SCENARIOS, run
from msinet_core.registry import load_registry

pytest.importorskip("tensorflow")


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def rows(request):
    spec = load_registry().spec("cpu")
    probe = spec.probe()
    if not probe.ready:
        pytest.skip(f"cpu is not here: {probe.reason}")
    if request.param not in spec.capabilities.precisions:
        pytest.skip(f"cpu does not offer {request.param}")
    return {row.id: row for row in run(spec, precision=request.param).rows}


@pytest.mark.parametrize("name", ["device/opens", *(scenario.id for scenario in SCENARIOS)])
def test_row(rows, name):
    row = rows[name]
    assert row.passed, f"{row.description} {row.reason} ({row.difference} of {row.tolerance})"
