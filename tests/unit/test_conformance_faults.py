"""Wrong devices fail the rows that name them, every row catches one, and the page lists them."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from msinet_core.conformance import ALL_SCENARIOS, SCENARIOS, prove
from msinet_core.conformance.checker import Checker
from msinet_core.conformance.faults import FAULTS
from msinet_core.conformance.reference_page import fill_in, tables

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "conformance.md"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_each_fault_fails_the_rows_that_name_it(fault) -> None:
    checker = Checker(fault.subject(), soak=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # some divide by zero
        results = [checker.result(scenario) for scenario in fault.scenarios]
    assert results
    assert [row.id for row in results if row.status != "failed"] == []
    assert all(row.reason for row in results)


def test_each_row_catches_a_fault() -> None:
    catching = {scenario for fault in FAULTS for scenario in fault.scenarios}
    assert [scenario.id for scenario in ALL_SCENARIOS if scenario not in catching] == []


def test_each_pattern_of_a_fault_names_a_row() -> None:
    ids = {scenario.id for scenario in ALL_SCENARIOS}
    for fault in FAULTS:
        for pattern in fault.rows:
            assert "*" in pattern or "[" in pattern or pattern in ids, pattern
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


def test_a_fault_passes_the_rows_that_it_does_not_affect() -> None:
    fault = next(fault for fault in FAULTS if fault.name == "Dilation ignored")
    groups = ("forward", "loss", "adam", "state")
    asked = [scenario for scenario in SCENARIOS if scenario.group in groups]
    failed = {row.id for row in prove(fault.make(), scenarios=asked).failed}
    assert {name for name in failed if name.startswith("forward/convolution")} == {
        "forward/convolution-dilation-2",
        "forward/convolution-dilation-4",
        "forward/convolution-dilation-4-valid",
        "forward/convolution-dilation-8",
        "forward/convolution-dilation-12",
        "forward/convolution-dilation-12-small",
    }
    assert not any(name.startswith(("adam/", "loss/", "state/")) for name in failed)


@pytest.mark.skipif(not PAGE.exists(), reason="an installed package has no docs")
def test_the_page_is_up_to_date() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert fill_in(text) == text, f"run: python -m msinet_core.conformance.reference_page {PAGE}"
    for scenario in ALL_SCENARIOS:
        assert text.count(f"| `{scenario.id}` | {scenario.description} |") == 1


def test_a_page_without_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="'rows description'"):
        fill_in("# Conformance\n")
    assert "faults" in tables()
