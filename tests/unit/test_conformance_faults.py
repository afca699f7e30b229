"""Wrong devices fail the rows that name them, every row catches one, and the page lists them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from msinet_core.conformance.checker import Checker
from msinet_core.conformance.likeness import KNOWN_FAULTS, known_faults
from msinet_core.conformance.process import settings
from msinet_core.conformance.scenario import Subject
from msinet_core.conformance.scenarios import ALL_SCENARIOS, SCENARIOS, calls
from msinet_core.device import Deferred, Device, DeviceSpec, Model
from msinet_core.reference import SPEC
from tests.faults import FAULTS
from tests.faults.check import check_device
from tests.faults.known import failures, has_quick_rows, is_quick
from tests.faults.page import fill_in, tables
from tests.faults.promises import PROMISES

COMMAND = "run: python -m tests.faults.known"
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "conformance.md"


@pytest.fixture(autouse=True)
def nothing_stays_changed() -> Iterator[None]:
    before = settings()
    yield
    changed = {name for name, value in settings().items() if value != before[name]}
    assert changed <= {"the environment variables"}  # where pytest names the test


@pytest.fixture(autouse=True)
def do_not_shorten_walks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "SECONDS_TO_SHORTEN", 0.0)


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


def test_the_table_of_known_faults_has_today_s_faults_and_rows() -> None:
    table = json.loads(KNOWN_FAULTS.read_text(encoding="utf-8"))
    assert table["rows"] == [row.id for row in SCENARIOS if is_quick(row)], COMMAND
    known = known_faults()
    assert list(known) == [fault.name for fault in FAULTS if has_quick_rows(fault)], COMMAND
    for fault in FAULTS:
        assert fault.ids & set(table["rows"]) <= known.get(fault.name, fault.ids), COMMAND


@pytest.mark.slow
def test_the_table_of_known_faults_has_the_rows_that_fail() -> None:
    known = known_faults()
    for fault in list(filter(has_quick_rows, FAULTS))[::12]:
        assert known[fault.name] == set(failures(fault)), f"{fault.name}; {COMMAND}"


def test_a_fault_passes_the_rows_that_it_does_not_affect() -> None:
    fault = next(fault for fault in FAULTS if fault.name == "Dilation ignored")
    groups = ("forward", "loss", "adam", "state")
    asked = [scenario for scenario in SCENARIOS if scenario.group in groups]
    failed = {row.id for row in check_device(fault.make(), scenarios=asked).failed}
    assert {name for name in failed if name.startswith("forward/convolution")} == {
        "forward/convolution-dilation-2",
        "forward/convolution-dilation-4",
        "forward/convolution-dilation-4-valid",
        "forward/convolution-dilation-8",
        "forward/convolution-dilation-12",
        "forward/convolution-dilation-12-small",
        "forward/convolution-dilation-4-divides",
        "forward/convolution-dilation-8-divides",
        "forward/convolution-dilation-12-from-512",
        "forward/convolution-dilation-4-large",
        "forward/convolution-dilation-2-from-17",
        "forward/convolution-dilation-2-from-102",
        "forward/convolution-dilation-3-linear-no-bias",
        "forward/convolution-dilation-2-of-2x2",
        "forward/convolution-dilation-2-of-5x5",
        "forward/convolution-dilation-16",
        "forward/convolution-dilations",
    }
    assert not any(name.startswith(("adam/", "loss/", "state/")) for name in failed)


@pytest.mark.skipif(not PAGE.exists(), reason="an installed package has no docs")
def test_the_page_is_up_to_date() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert fill_in(text) == text, f"run: python -m tests.faults.page {PAGE}"
    for scenario in ALL_SCENARIOS:
        assert text.count(f"| `{scenario.id}` | {scenario.description} |") == 1


def test_a_page_without_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="'rows description'"):
        fill_in("# Conformance\n")
    assert "faults" in tables()


def test_most_faults_are_caught_by_a_quick_check() -> None:
    quick = [
        fault for fault in FAULTS if any(not (row.slow or row.soak) for row in fault.scenarios)
    ]
    assert len(FAULTS) >= 110
    assert len(quick) > 0.95 * len(FAULTS)


class LazyModel(Model):
    """Delegates to a wrong model, with lazy results."""

    def __init__(self, device, program, inner) -> None:
        super().__init__(device, program)
        self._inner = inner

    def forward(self, images):
        maps = self._inner.predict(images)
        return Deferred(lambda: maps)

    def losses(self, batch):
        losses = self._inner.eval_step(batch)
        return Deferred(lambda: losses)

    def update(self, batches, learning_rate):
        loss = self._inner.train_step(batches, learning_rate)
        return Deferred(lambda: float(loss))

    def state(self):
        return self._inner.state()


class Disguised(Device):
    """A wrong device with another kernel layout, another data format and lazy results."""

    def __init__(self, inner) -> None:
        spec = replace(SPEC, name="disguised", data_format="NCHW", kernel_layout="OHWI")
        super().__init__(spec)
        self._inner = inner

    @property
    def layer_builders(self):
        return self._inner.layer_builders

    def build(self, program):
        return LazyModel(self, program, self._inner.build(program))


def can_be_disguised(fault) -> bool:
    """Whether a fault is in what a device computes, rather than in its layout or results."""
    return (
        not isinstance(fault.make(), DeviceSpec)
        and not fault.ids & {"use/results", "train/overflow"}
        and fault.name != "A result can be read once"
        and not {row.group for row in fault.scenarios} & {"memory"}
        and "state/conversion" not in fault.ids
    )


@pytest.mark.parametrize(
    "fault", list(filter(can_be_disguised, FAULTS)), ids=lambda fault: fault.name
)
def test_a_fault_is_caught_behind_lazy_results_and_other_layouts(fault) -> None:
    """A row must not depend on what else a device does: its first row still fails."""
    device = Disguised(fault.make())
    row = fault.scenarios[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        assert Checker(Subject(device.spec, device)).result(row).status == "failed"


def test_every_row_checks_a_promise_and_every_promise_is_broken_by_a_fault() -> None:
    checked = {row.id for promise in PROMISES for row in promise.scenarios}
    assert [row.id for row in ALL_SCENARIOS if row.id not in checked] == []
    for promise in PROMISES:
        assert promise.faults, promise.text
        for pattern in promise.rows:
            assert any(fnmatchcase(row.id, pattern) for row in ALL_SCENARIOS), pattern
