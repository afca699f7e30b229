"""The device mlx against the reference: every row in float32, whole networks in 16 bits."""

from __future__ import annotations

import numpy as np
import pytest

from msinet_core.conformance import SCENARIOS, run
from msinet_core.conformance.cases import Case
from msinet_core.conformance.runner import prove
from msinet_core.network import msinet
from msinet_core.reference import SPEC as REFERENCE
from msinet_mlx import SPEC

pytest.importorskip("mlx.core")

SIXTEEN_BITS = (
    "forward/convolution-dilation-4",
    "gradient/convolution-dilation-4",
    "gradient/network",
    "network/asymmetric",
    "train/four-losses",
    "train/accumulated-loss",
)
"""What is checked in 16 bits; all rows were, by hand."""


@pytest.fixture(scope="module")
def rows():
    return {row.id: row for row in run(SPEC).rows}


@pytest.mark.parametrize("name", ["device/opens", *(scenario.id for scenario in SCENARIOS)])
def test_row(rows, name):
    row = rows[name]
    assert row.passed, f"{row.description} {row.reason} ({row.difference} of {row.tolerance})"


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_sixteen_bits(precision):
    wanted = [row for row in SCENARIOS if row.id in SIXTEEN_BITS]
    report = prove(SPEC.open(precision), scenarios=wanted)
    assert len(report.rows) == len(SIXTEEN_BITS)
    assert not report.failed


def test_maps_are_the_references():
    case = Case(msinet(0.2), (1, 96, 128), low=0.0, high=255.0)
    models = [REFERENCE.open(), *(SPEC.open(name) for name in SPEC.capabilities.precisions)]
    maps = [
        np.asarray(opened.compile(case.graph, case.state).predict(case.images)) for opened in models
    ]
    expected, exact, *half = maps
    np.testing.assert_allclose(exact, expected, atol=1e-4)
    for found in half:
        assert found.dtype == np.float32
        assert not np.array_equal(found, exact)
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.999
