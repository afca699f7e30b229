"""The conformance kit: right devices pass every row; what it reports, compares and leaves out."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from msinet_core.conformance import (
    ALL_SCENARIOS,
    SCENARIOS,
    TOLERANCES,
    ExpectedFailure,
    Report,
    Result,
    Scenario,
    prove,
    read_expected,
    run,
)
from msinet_core.conformance.faults import FAULTS
from msinet_core.conformance.forward import shape_on_the_device
from msinet_core.conformance.gradients import through
from msinet_core.conformance.likeness import likeness
from msinet_core.conformance.runner import CLOSED, Checker
from msinet_core.conformance.scenario import (
    MISSING_CAPABILITY,
    Outcome,
    Subject,
    compare,
    compare_bits,
    compare_norms,
)
from msinet_core.conformance.settings import SETTINGS
from msinet_core.conformance.show import (
    check_report_name,
    shared_reasons,
    to_cells,
    to_html,
    write_report,
)
from msinet_core.conformance.tolerances import REASONS, Tolerances
from msinet_core.device import PRECISIONS, Capabilities, Device, Model
from msinet_core.errors import UsageError
from msinet_core.network import ops
from msinet_core.network.loss import KLDivergence
from msinet_core.reference import SPEC
from msinet_core.reference.device import ReferenceDevice, forward
from msinet_core.reference.layers import LAYER_BUILDERS
from msinet_core.reference.tape import record
from msinet_core.system.progress import Progress

QUICK = [scenario for scenario in SCENARIOS if not scenario.slow]


def failures(device, scenarios=QUICK):
    return {row.id: row for row in prove(device, scenarios=scenarios).failed}


@pytest.fixture(scope="module")
def report():
    return run(SPEC)


def test_the_reference_passes_every_row(report):
    assert report.failed == ()
    assert report.passed
    assert [row.id for row in report.rows] == [scenario.id for scenario in ALL_SCENARIOS]
    assert report.versions == {"numpy": np.__version__}
    assert {row.id for row in report.rows if row.status != "passed"} == {
        "device/not-here",  # it is here
        "device/no-fallback",  # it has no framework
        "device/bfloat16",
        "device/float16",
        "device/distribute",
    }


def test_each_row_is_held_to_the_tolerance_that_the_document_names(report):
    measures = {scenario.id: scenario.measure for scenario in ALL_SCENARIOS}
    for row in report.rows:
        if row.status == "passed" and not row.id.startswith("adam/"):
            assert row.tolerance == getattr(TOLERANCES["float32"], measures[row.id]), row.id


def rounded_to_bfloat16(value):
    bits = np.ascontiguousarray(value, np.float32).view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return bits.astype(np.uint32).view(np.float32)


class Bfloat16Device(ReferenceDevice):
    """Rounds every input, weight, output and gradient of every op, but not those of the loss."""

    @property
    def layer_builders(self):
        def round_all(variables):
            return [self._round(variable) for variable in variables]

        def wrap(build):
            return lambda op, inputs, roles: self._round(
                build(
                    op, round_all(inputs), dict(zip(roles, round_all(roles.values()), strict=True))
                )
            )

        return {
            kind: build if kind is KLDivergence else wrap(build)
            for kind, build in LAYER_BUILDERS.items()
        }

    @staticmethod
    def _round(variable):
        value = rounded_to_bfloat16(variable.value)
        return record(value, [variable], lambda gradient: [rounded_to_bfloat16(gradient)])


def test_an_honest_bfloat16_device_passes_as_such_and_fails_as_float32():
    spec = dataclasses.replace(SPEC, capabilities=Capabilities(precisions=("bfloat16",)))
    honest = prove(Bfloat16Device(spec, "bfloat16"), scenarios=QUICK)
    assert honest.failed == ()
    assert honest.precision == "bfloat16"
    pretending = failures(Bfloat16Device(SPEC, "float32"))
    assert {"forward/convolution-3x3-same", "network/asymmetric", "gradient/network"} <= set(
        pretending
    )


class Lazy:
    """A result that is computed when it is read."""

    def __init__(self, compute):
        self._compute = compute

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self._compute(), dtype)

    def __float__(self):
        return float(self._compute())


class ForeignModel(Model):
    def __init__(self, device, program):
        super().__init__(device, program)
        self._inner = SPEC.open().build(program)

    def forward(self, images):
        maps = self._inner.predict(images)
        return Lazy(lambda: maps)

    def losses(self, batch):
        losses = self._inner.eval_step(batch)
        return Lazy(lambda: losses)

    def update(self, batches, learning_rate):
        loss = self._inner.train_step(batches, learning_rate)
        return Lazy(lambda: loss)

    def state(self):
        return self._inner.state()


class ForeignDevice(Device):
    """Knows only the public contract: other kernel layout, lazy results, its own classes."""

    @property
    def layer_builders(self):
        return LAYER_BUILDERS

    def build(self, program):
        return ForeignModel(self, program)


def test_a_device_of_another_layout_with_lazy_results_passes():
    spec = dataclasses.replace(SPEC, name="foreign", data_format="NCHW", kernel_layout="OIHW")
    asked = [row for row in QUICK if row.group in ("network", "adam", "weights", "loss")]
    report = prove(ForeignDevice(spec), scenarios=[*asked, *QUICK[:6]])
    assert report.failed == ()
    assert report.device == "foreign"


@pytest.mark.parametrize(
    "name", ["training", "dilated_gradient", "dynamic_shapes", "deterministic"]
)
def test_a_capability_that_is_not_claimed_makes_rows_not_applicable(name):
    class Incapable(ReferenceDevice):
        def build(self, program):
            assert program.loss is None or name != "training"
            return super().build(program)

    spec = dataclasses.replace(SPEC, capabilities=Capabilities(**{name: False}))
    needing = [scenario for scenario in QUICK if name in scenario.needs]
    report = prove(Incapable(spec), scenarios=[*needing, QUICK[0]])
    assert needing
    assert [row.status for row in report.rows] == ["not applicable"] * len(needing) + ["passed"]
    assert {row.reason for row in report.rows[:-1]} == {MISSING_CAPABILITY[name]}


def test_every_need_is_a_capability_and_every_capability_is_needed():
    needed = {name for scenario in ALL_SCENARIOS for name in scenario.needs}
    assert needed == set(MISSING_CAPABILITY)
    for name in needed:
        assert isinstance(getattr(Capabilities(), name), bool)


def test_rows_without_training_do_not_need_it():
    predicts = [row for row in SCENARIOS if "training" not in row.needs]
    groups = {scenario.group for scenario in predicts}
    assert groups == {"forward", "network", "weights"}
    assert "weights/come-back" in {scenario.id for scenario in predicts}


def test_a_device_that_does_not_open_has_the_rows_of_the_door_only():
    report = run(dataclasses.replace(SPEC, name="gone", factory="no_such_package:Device"))
    status = {row.id: row.status for row in report.rows}
    assert status["light/imports"] == "passed"
    assert status["device/opens"] == "failed"
    assert status["device/float32"] == "not applicable"
    assert {row.id.split("/")[0] for row in report.rows} == {"light", "device"}
    assert "no_such_package" in report.failed[0].reason
    assert not report.available
    assert not report.passed
    assert "did not open" in report.verdict


def test_rows_of_an_open_device_do_not_apply_to_a_closed_one():
    result = Checker(Subject(SPEC, None)).result(SCENARIOS[0])
    assert (result.status, result.reason) == ("not applicable", CLOSED)


def test_a_precision_that_is_not_offered_is_a_failed_row():
    report = run(SPEC, precision="bfloat16")
    assert [row.id for row in report.failed] == ["device/opens"]
    assert "does not compute in bfloat16" in report.failed[0].reason


def raising(error):
    def check(subject):
        raise error

    return Scenario("some/row", "A sentence.", check, "bits")


def always(difference):
    return Scenario("some/row", "A sentence.", lambda _: Outcome(difference, 0.5, "Far."), "bits")


def status_of(scenario, **options):
    result = Checker(Subject(SPEC, SPEC.open()), **options).result(scenario)
    return result.status, result.reason


def test_what_a_row_raises_is_its_reason():
    told = status_of(raising(RuntimeError("out of memory")))
    assert re.fullmatch(
        r"test_conformance\.py, line \d+, check: RuntimeError: out of memory", told[1]
    )
    assert status_of(raising(UsageError("No such resize."))) == ("failed", "No such resize.")


def test_expected_failures_are_strict():
    expected = {"some/row": ExpectedFailure("The driver fails.", "https://example.org/1")}
    status, reason = status_of(always(1.0), expected=expected)
    assert status == "expected failure"
    assert reason == "The driver fails. (https://example.org/1) Found: Far."
    status, reason = status_of(always(0.0), expected=expected)
    assert status == "passed unexpectedly"
    assert "Take it out of the list" in reason
    assert status_of(raising(RuntimeError("crash")), expected=expected)[0] == "expected failure"
    assert status_of(always(1.0))[0] == "failed"


def test_a_quick_check_leaves_slow_rows_out():
    slow = dataclasses.replace(always(0.0), slow=True)
    assert status_of(slow, quick=True)[0] == "left out"
    assert status_of(slow)[0] == "passed"
    assert [scenario.id for scenario in ALL_SCENARIOS if scenario.slow] == ["network/full-size"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('["forward/concatt"]\nreason = "R."\nlink = "L"', "Did you mean 'forward/concat'?"),
        ('["forward/concat"]\nlink = "L"', "'forward/concat' needs a reason"),
        ('["forward/concat"]\nreason = "R."', "'forward/concat' needs a link"),
        ('["forward/concat"]\nreason = " "\nlink = "L"', "needs a reason, a text that is not"),
        ('["forward/concat"]\nreason = "R."\nlink = "L"\nuntil = 3', "says 'until'; it takes"),
        ('"forward/concat" = "R."', "must be a table"),
        ("reason =", "is no TOML"),
        ('[forward/concat]\nreason = "R."', 'Put the id in quotes: ["forward/concat"]'),
    ],
)
def test_a_list_of_expected_failures_that_says_too_little_is_refused(tmp_path, text, problem):
    path = tmp_path / "known.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=re.escape(problem)):
        read_expected(path, ["forward/concat"])


def test_a_row_that_goes_on_as_the_name_does_is_suggested(tmp_path):
    path = tmp_path / "known.toml"
    path.write_text('["gradient/pool-3x3"]\nreason = "R."\nlink = "L"')
    with pytest.raises(UsageError, match=r"Did you mean 'gradient/pool-3x3-strides-2-same'\?"):
        read_expected(path, [row.id for row in ALL_SCENARIOS])


def test_a_list_of_expected_failures(tmp_path):
    path = tmp_path / "known.toml"
    path.write_text('["forward/concat"]\nreason = "R."\nlink = "https://example.org"')
    read = read_expected(path, ["forward/concat"])
    assert read == {"forward/concat": ExpectedFailure("R.", "https://example.org")}
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_expected(tmp_path / "nowhere.toml", [])


def test_progress_is_told_of_every_row_and_of_failures():
    class Counting(Progress):
        def task(self, description, total, unit="images", done=0):
            told.append((description, total, unit))
            return super().task(description, total, unit)

        def message(self, text):
            told.append(text)

    told = []
    rows = [always(0.0), always(1.0), dataclasses.replace(always(2.0), id="some/other")]
    prove(SPEC.open(), Counting(), rows)
    assert told == [("checking reference", 3, "rows"), "some/row failed"]  # the reason is the same


def test_ids_are_unique_and_descriptions_are_sentences():
    ids = [scenario.id for scenario in ALL_SCENARIOS]
    assert len(set(ids)) == len(ids)
    for scenario in ALL_SCENARIOS:
        assert re.fullmatch(r"[a-z]+/[a-z0-9-]+", scenario.id)
        assert re.fullmatch(r"[A-Z].+\.", scenario.description), scenario.description


def test_every_op_is_checked_forward_and_backward():
    for setting in SETTINGS:
        assert {f"forward/{setting.id}", f"gradient/{setting.id}"} <= {s.id for s in SCENARIOS}
    used = {type(node.op) for setting in SETTINGS for node in through(setting).graph.nodes}
    assert used == set(ops.OPS.values())


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.id)
def test_gradients_are_compared_where_the_loss_is_smooth(setting):
    case = through(setting)
    maps = forward(case.graph, case.state.weights, case.images)
    assert maps.min() > 0.5 * maps.mean()
    assert maps.std() > 0


def test_there_are_tolerances_with_reasons_for_every_precision():
    assert set(TOLERANCES) == set(PRECISIONS)
    names = [field.name for field in dataclasses.fields(Tolerances)]
    assert list(REASONS) == names
    for name in set(names) - {"bits", "seconds"}:
        exact, coarse = (getattr(TOLERANCES[key], name) for key in ("float32", "bfloat16"))
        assert 0 < exact < coarse < 1
    assert {scenario.measure for scenario in ALL_SCENARIOS} == set(names)


ROWS = (
    Result("a/b", "Holds.", "passed", 1e-7, 1e-5, seconds=0.25),
    Result("a/c", "Holds <too>.", "failed", float("nan"), 1e-5, "<b>'s size & is not finite."),
    Result("a/d", "Does not apply.", "not applicable", reason="the device does not train"),
    Result("e/f", "Is known.", "expected failure", 3.0, 0.0, "R. (https://example.org)"),
    Result("e/g", "Was known.", "passed unexpectedly", 0.0, 0.0, "Take it out."),
)
FACTS = {"date": "today"}
REPORT = Report("some", "float32", 1.23456, ROWS, {"numpy": "2"}, {"xla": "on"}, facts=FACTS)


def test_the_report_as_json():
    document = json.loads(REPORT.to_json(), parse_constant=pytest.fail)  # no NaN in JSON
    rows = document.pop("rows")
    assert document == {
        "device": "some",
        "precision": "float32",
        "options": {"xla": "on"},
        "available": True,
        "passed": False,
        "counts": dict.fromkeys((row.status for row in ROWS), 1),
        "seconds": 1.235,
        "versions": {"numpy": "2"},
        "complete": True,
        "likeness": "",
        "facts": FACTS,
    }
    assert [row["passed"] for row in rows] == [True, False, None, None, False]
    assert rows[0] == {
        "id": "a/b",
        "description": "Holds.",
        "status": "passed",
        "passed": True,
        "difference": 1e-7,
        "tolerance": 1e-5,
        "reason": "",
        "seconds": 0.25,
    }
    assert rows[1]["difference"] is None


def test_the_report_as_a_table():
    cells, reasons = to_cells(REPORT)
    assert cells[0] == ("a/b", "passed", "1.0e-07 of 1.0e-05")
    assert [difference for _, _, difference in cells[2:]] == ["", "3 differ", "exact"]
    assert reasons[:3] == [(), ("<b>'s size & is not finite.",), ("the device does not train",)]
    assert REPORT.verdict.startswith("Device 'some' (float32) does NOT agree with the reference: ")


def test_the_report_as_a_page_is_escaped_and_needs_nothing_else():
    from html.parser import HTMLParser

    class Checker(HTMLParser):
        def __init__(self):
            super().__init__()
            self.open, self.text = [], []

        def handle_starttag(self, tag, attrs):
            assert not {"src", "href", "onload"} & dict(attrs).keys()
            assert tag not in ("script", "link", "b", "too")
            if tag not in ("meta", "br"):
                self.open.append(tag)

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

        def handle_data(self, data):
            self.text.append(data)

    page = Checker()
    page.feed(to_html(REPORT))
    page.close()
    assert page.open == []
    text = " ".join(page.text)
    for shown in ("Holds <too>.", "<b>'s size & is not finite.", "option xla", "3 differ", "numpy"):
        assert shown in text
    assert "today" in text
    assert text.index("Expected failures") < text.index("a/b")
    assert text.count("a/c") == 2  # among those that failed, and in its group


def test_reports_are_files_of_two_kinds(tmp_path):
    for name in ("report.json", "report.HTML"):
        check_report_name(tmp_path / name)
        write_report(REPORT, tmp_path / name)
    assert json.loads((tmp_path / "report.json").read_text())["device"] == "some"
    assert (tmp_path / "report.HTML").read_text().startswith("<!DOCTYPE html>")
    for name in ("report", "report.txt", "."):
        with pytest.raises(UsageError, match=r"end in \.json or \.html"):
            check_report_name(tmp_path / name)


def test_a_report_of_nothing_has_not_passed():
    assert not Report("some", "float32", 0.0, ()).passed
    assert not Report("some", "float32", 0.0, (Result("a/b", "Holds.", "not applicable"),)).passed


def test_comparisons_refuse_what_is_no_result():
    expected = np.ones((2, 3))
    good = expected.astype(np.float32)
    assert compare(good, expected, 1e-6).passed
    for wrong, reason in [
        (good[:1], "shape (1, 3), should have (2, 3)"),
        (expected, "float64, should be float32"),
        (good * np.nan, "6 values that are no numbers"),
        (good * np.inf, "6 values that are no numbers"),
        (good * np.float32(1.1), "is 1.1 at (0, 0), should be 1"),
    ]:
        outcome = compare(wrong, expected, 1e-6)
        assert not outcome.passed
        assert reason in outcome.reason


def test_shapes_and_positions_say_the_order_of_their_axes():
    expected = np.ones((2, 7, 10, 5))
    good = expected.astype(np.float32)
    turned = compare(good.transpose(0, 3, 1, 2), expected, 1e-6)
    assert "should have (2, 7, 10, 5), that is (N, H, W, C)." in turned.reason
    good[1, 2, 3, 4] = 3
    assert (
        "is 3 at (1, 2, 3, 4) of (N, H, W, C), should be 1" in compare(good, expected, 1e-6).reason
    )
    kernels = {"kernel": (good[:1], expected)}
    assert "that is (H, W, in, out)" in compare_norms(kernels, 1e-6).reason


def test_a_wrong_shape_is_told_in_the_order_of_the_device():
    spec = dataclasses.replace(SPEC, data_format="NCHW")
    told = shape_on_the_device(Subject(spec, None), (2, 10, 5, 7), (2, 7, 10, 5))
    assert told.startswith("On the device, in NCHW, that is (2, 7, 10, 5) in place of (2, 5, 7, 10")
    assert "Those are the sizes of NHWC: a builder must return NCHW." in told
    assert shape_on_the_device(Subject(spec, None), (2, 7), (2, 7)) == ""
    assert shape_on_the_device(Subject(SPEC, None), (2, 10, 5, 7), (2, 7, 10, 5)) == ""


def test_an_interrupted_check_reports_what_it_found():
    report = prove(SPEC.open(), scenarios=[always(0.0), raising(KeyboardInterrupt()), always(0.0)])
    assert [row.status for row in report.rows] == ["passed"]
    assert not report.complete
    assert not report.passed
    assert "was not checked to the end" in report.verdict


def test_rows_with_the_same_reason_are_told_once():
    rows = [*(Result(f"a/{n}", "S.", "failed", reason="Not written.") for n in range(3)), ROWS[2]]
    report = Report("some", "float32", 1.0, tuple(rows))
    assert shared_reasons(report) == ["3 rows failed (3 of a/): Not written."]
    assert to_cells(report)[1] == [(), (), (), ("the device does not train",)]


@pytest.mark.parametrize("name", ["Bias dropped", "RGB means reversed"])
def test_failures_that_a_known_fault_explains_are_named(name):
    fault = next(fault for fault in FAULTS if fault.name == name)
    groups = ("forward", "weights")
    asked = [row for row in QUICK if row.group in groups]
    rows = prove(fault.make(), scenarios=asked).rows
    told = likeness(rows)
    assert told.startswith(f"This looks like: '{name}'. See 'Wrong devices' in docs/reference/")


def test_failures_that_no_known_fault_explains_are_not_named():
    ids = ("forward/concat", "loss/random", "weights/come-back", "forward/batch-1")
    assert likeness([Result(name, "S.", "failed", 1.0, 0.1) for name in ids]) == ""
    raised = Result("forward/concat", "S.", "failed", reason="R.", error=ValueError("x"))
    assert likeness([raised]) == ""


def test_norms_are_measured_by_a_share_of_the_largest():
    large, noise = np.ones(100, np.float32), np.full(1, 1e-6, np.float32)
    pairs = {"large": (large, large.astype(float)), "small": (noise, np.zeros(1))}
    assert compare_norms(pairs, 1e-5).passed
    assert not compare_norms(pairs, 1e-7).passed
    assert not compare_norms({**pairs, "other": (large * 2, large.astype(float))}, 0.5).passed


def test_bits_are_compared_beyond_equality():
    zero = np.zeros(3, np.float32)
    assert compare_bits({"zero": (zero, zero)}).passed
    outcome = compare_bits({"zero": (-zero, zero)})
    assert (outcome.difference, outcome.passed) == (3.0, False)
    assert not compare_bits({"zero": (zero.astype(np.float64), zero)}).passed


def test_a_process_of_its_own_prints_one_document():
    done = subprocess.run(
        [sys.executable, "-m", "msinet_core.conformance", "reference", "--quick", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["device"] == "reference"
    assert document["passed"] is True
    assert len(document["rows"]) == len(ALL_SCENARIOS)


def test_pytest_is_imported_only_for_its_own_form():
    code = (
        "import sys, msinet_core.conformance as kit; assert 'pytest' not in sys.modules\n"
        "kit.DeviceConformance; assert 'pytest' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
