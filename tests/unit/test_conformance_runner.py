"""Running the kit: correct devices pass every row, and every status has its reason."""

from __future__ import annotations

import dataclasses
import re
from contextlib import contextmanager
from fnmatch import fnmatchcase

import numpy as np
import pytest

from msinet_core.conformance.checker import Checker
from msinet_core.conformance.comparison import Outcome
from msinet_core.conformance.costs import COSTS
from msinet_core.conformance.expected import ExpectedFailure
from msinet_core.conformance.likeness import likeness
from msinet_core.conformance.report import Result
from msinet_core.conformance.runner import run
from msinet_core.conformance.scenario import MISSING_CAPABILITY, Scenario, Subject
from msinet_core.conformance.scenarios import ALL_SCENARIOS, SCENARIOS, select
from msinet_core.conformance.tolerances import TOLERANCES
from msinet_core.device import PRECISIONS, Capabilities, Deferred, Device, Model
from msinet_core.errors import UsageError
from msinet_core.network.loss import KLDivergence
from msinet_core.reference import SPEC
from msinet_core.reference.device import ReferenceDevice
from msinet_core.reference.layers import LAYER_BUILDERS
from msinet_core.reference.tape import record
from msinet_core.system.progress import Progress, Task
from tests.faults import FAULTS
from tests.faults.check import check_device

QUICK = [scenario for scenario in SCENARIOS if not scenario.slow and not scenario.soak]


@pytest.fixture(scope="module", params=["quick", pytest.param("whole", marks=pytest.mark.slow)])
def report(request):
    return run(SPEC, quick=request.param == "quick")


def test_the_reference_passes_every_row(report, request):
    is_quick = request.node.callspec.params["report"] == "quick"
    assert report.failed == ()
    assert report.passed
    assert [row.id for row in report.rows] == [scenario.id for scenario in ALL_SCENARIOS]
    assert report.versions == {"numpy": np.__version__}
    assert {row.id for row in report.rows if row.status != "passed"} == {
        "device/unavailable",  # it is available
        "device/no-fallback",  # it has no framework
        "device/bfloat16",
        "device/float16",
        "device/distribute",
        "train/overflow",
        *(row.id for row in ALL_SCENARIOS if row.soak or (row.slow and is_quick)),
    }


def test_each_row_uses_the_tolerance_that_the_documentation_names(report):
    measures = {scenario.id: scenario.measure for scenario in ALL_SCENARIOS}
    for row in report.rows:
        several = row.id.startswith(("adam/", "calls/", "use/", "train/full-size"))
        if row.status == "passed" and not several:
            assert row.tolerance == getattr(TOLERANCES["float32"], measures[row.id]), row.id


def round_to_bfloat16(value):
    bits = np.ascontiguousarray(value, np.float32).view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return bits.astype(np.uint32).view(np.float32)


class Bfloat16Device(ReferenceDevice):
    """Rounds every input, weight, output and gradient of every op but the loss."""

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
        value = round_to_bfloat16(variable.value)
        return record(value, [variable], lambda gradient: [round_to_bfloat16(gradient)])


@pytest.mark.slow
def test_a_bfloat16_device_passes_in_bfloat16_and_fails_in_float32():
    spec = dataclasses.replace(SPEC, capabilities=Capabilities(precisions=("bfloat16",)))
    rows = [row for row in QUICK if not row.id.endswith(("-large", "240x320", "-512", "/long"))]
    rows = [row for row in rows if row.group != "memory"]
    report = check_device(Bfloat16Device(spec, "bfloat16"), scenarios=rows)
    assert report.failed == ()
    assert report.precision == "bfloat16"
    few = ("forward/convolution-3x3-same", "network/asymmetric", "gradient/network")
    asked = [row for row in QUICK if row.id in few]
    failed = check_device(Bfloat16Device(SPEC, "float32"), scenarios=asked).failed
    assert {row.id for row in failed} == set(few)


class ForeignModel(Model):
    def __init__(self, device, program):
        super().__init__(device, program)
        self._inner = SPEC.open().build(program)

    def forward(self, images):
        maps = self._inner.predict(images)
        return Deferred(lambda: maps)

    def losses(self, batch):
        losses = self._inner.eval_step(batch)
        return Deferred(lambda: losses)

    def update(self, batches, learning_rate):
        loss = self._inner.train_step(batches, learning_rate)
        return Deferred(lambda: loss)

    def state(self):
        return self._inner.state()


class ForeignDevice(Device):
    """Knows the public contract only: another kernel layout, lazy results, its own classes."""

    @property
    def layer_builders(self):
        return LAYER_BUILDERS

    def build(self, program):
        return ForeignModel(self, program)


def test_a_device_with_another_layout_and_lazy_results_passes():
    spec = dataclasses.replace(SPEC, name="foreign", data_format="NCHW", kernel_layout="OIHW")
    groups = ("network", "adam", "state", "loss", "calls")
    rows = [row for row in QUICK if row.group in groups]
    report = check_device(ForeignDevice(spec), scenarios=[*rows, *QUICK[:6]])
    assert report.failed == ()
    assert report.device == "foreign"


@pytest.mark.parametrize(
    "name", ["training", "dilated_gradient", "dynamic_shapes", "deterministic"]
)
def test_a_missing_capability_makes_rows_not_applicable(name):
    class Incapable(ReferenceDevice):
        def build(self, program):
            assert program.loss is None or name != "training"
            return super().build(program)

    spec = dataclasses.replace(SPEC, capabilities=Capabilities(**{name: False}))
    needing = [scenario for scenario in QUICK if name in scenario.needs]
    report = check_device(Incapable(spec), scenarios=[*needing, QUICK[0]])
    assert needing
    assert [row.status for row in report.rows] == ["not applicable"] * len(needing) + ["passed"]
    assert {row.reason for row in report.rows[:-1]} == {MISSING_CAPABILITY[name]}


def test_every_need_is_a_capability_and_every_capability_is_needed():
    needed = {name for scenario in ALL_SCENARIOS for name in scenario.needs}
    assert needed == set(MISSING_CAPABILITY)
    assert needed <= {*vars(Capabilities()), *PRECISIONS}


def test_a_device_that_does_not_open_has_the_rows_that_need_no_open_device():
    report = run(dataclasses.replace(SPEC, name="gone", factory="no_such_package:Device"))
    status = {row.id: row.status for row in report.rows}
    assert status["description/imports"] == "passed"
    assert status["device/opens"] == "failed"
    assert status["device/float32"] == "not applicable"
    assert {row.group for row in report.rows} == {"description", "device"}
    assert "no_such_package" in report.failed[0].reason
    assert not report.available
    assert not report.passed


def test_the_reason_why_a_device_does_not_open_is_in_the_report_of_any_rows():
    spec = dataclasses.replace(SPEC, name="gone", factory="no_such_package:Device")
    report = run(spec, scenarios=select(["forward/batch-*"]))
    assert [row.id for row in report.failed] == ["device/opens"]
    assert "no_such_package" in report.failed[0].reason


def test_other_rows_do_not_apply_to_a_device_that_did_not_open():
    assert Checker(Subject(SPEC, None)).result(SCENARIOS[0]).status == "not applicable"


def test_an_unsupported_precision_is_a_failed_row():
    report = run(SPEC, precision="bfloat16")
    assert [row.id for row in report.failed] == ["device/opens"]
    assert "bfloat16" in report.failed[0].reason


def test_device_options_reach_the_device_and_the_report():
    report = run(SPEC, options={"no": "such"})
    assert not report.available
    assert report.options == {"no": "such"}
    assert "'no'" in report.failed[0].reason


def raising(error):
    def check(subject):
        raise error

    return Scenario("some/row", "A sentence.", check, "bits")


def always(difference):
    return Scenario("some/row", "A sentence.", lambda _: Outcome(difference, 0.5, "Far."), "bits")


def status_of(scenario, **options):
    result = Checker(Subject(SPEC, SPEC.open()), **options).result(scenario)
    return result.status, result.reason


def test_the_reason_of_a_row_that_raises_is_the_exception():
    status, reason = status_of(raising(RuntimeError("out of memory")))
    assert status == "failed"
    assert re.fullmatch(
        r"test_conformance_runner\.py, line \d+, check: RuntimeError: out of memory", reason
    )
    assert status_of(raising(UsageError("No such resize."))) == ("failed", "No such resize.")


def test_expected_failures_are_strict():
    expected = {"some/row": ExpectedFailure("The driver fails.", "https://example.org/1")}
    status, reason = status_of(always(1.0), expected=expected)
    assert status == "expected failure"
    for part in ("The driver fails.", "https://example.org/1", "Far."):
        assert part in reason
    assert status_of(always(0.0), expected=expected)[0] == "passed unexpectedly"
    assert status_of(raising(RuntimeError("crash")), expected=expected)[0] == "expected failure"
    assert status_of(always(1.0))[0] == "failed"


def test_quick_skips_slow_rows():
    slow = dataclasses.replace(always(0.0), slow=True)
    assert status_of(slow, quick=True)[0] == "skipped"
    assert status_of(slow)[0] == "passed"


def test_soak_rows_run_only_on_request():
    soak = dataclasses.replace(always(0.0), soak=True)
    assert status_of(soak)[0] == "skipped"
    assert status_of(soak, soak=True)[0] == "passed"


def test_progress_shows_every_row_and_each_reason_once():
    class Recorder(Progress):
        def task(self, description, total, unit="images", done=0):
            shown.append((description, total, unit))
            return super().task(description, total, unit)

        def message(self, text):
            shown.append(text)

    shown = []
    rows = [always(0.0), always(1.0), dataclasses.replace(always(2.0), id="some/other")]
    check_device(SPEC.open(), Recorder(), rows)
    assert shown == [("checking reference", 3, "rows"), "some/row failed"]


def test_a_row_advances_the_check_by_its_share_of_the_time():
    class Recorder(Progress, Task):
        @contextmanager
        def task(self, description, total, unit="images", done=0):
            yield self

        def advance(self, count=1, share=None, **fields):
            shares.append(share)

    shares = []
    ids = ("network/full-size", "loss/random", "forward/relu")
    rows = [dataclasses.replace(always(0.0), id=id) for id in ids]
    skipped = dataclasses.replace(always(0.0), id="memory/soak", soak=True)
    check_device(SPEC.open(), Recorder(), [*rows, skipped])
    assert shares == sorted(shares)
    assert shares[0] > 0.9
    assert shares[2] == shares[3] == 1.0


def test_every_cost_is_that_of_a_row():
    """A pattern must not stand behind another one that matches the same rows."""
    first = {next(key for key in COSTS if fnmatchcase(row.id, key)) for row in ALL_SCENARIOS}
    assert first == set(COSTS)


def test_an_interrupted_check_reports_the_rows_so_far():
    report = check_device(
        SPEC.open(), scenarios=[always(0.0), raising(KeyboardInterrupt()), always(0.0)]
    )
    assert [row.status for row in report.rows] == ["passed"]
    assert not report.complete
    assert not report.passed


@pytest.mark.parametrize(
    "name", [pytest.param("Bias dropped", marks=pytest.mark.slow), "RGB means reversed"]
)
def test_a_device_that_fails_like_a_known_fault_is_compared_with_it(name):
    fault = next(fault for fault in FAULTS if fault.name == name)
    asked = [row for row in QUICK if row.group in ("forward", "state") and "512" not in row.id]
    assert f"'{name}'" in likeness(check_device(fault.make(), scenarios=asked).rows)


@pytest.mark.slow
def test_a_device_that_fails_only_some_rows_of_a_fault_is_compared_with_it():
    fault = next(fault for fault in FAULTS if fault.name == "Bias dropped")
    rows = [row for row in QUICK if row.group == "forward" and "512" not in row.id]
    results = list(check_device(fault.make(), scenarios=rows).rows)
    spared = next(index for index, row in enumerate(results) if row.passed is False)
    results[spared] = dataclasses.replace(results[spared], status="passed", reason="")
    assert f"'{fault.name}'" in likeness(results)


def test_other_failures_are_not_compared_with_a_fault():
    ids = ("forward/concat", "gradient/pool-strides-2", "adam/late-steps", "state/is-a-copy")
    rows = [
        Result(row.id, "S.", *(("failed", 1.0) if row.id in ids else ("passed", 0.0)), 0.1)
        for row in SCENARIOS
    ]
    assert sum(row.passed is False for row in rows) == len(ids)
    assert likeness(rows) == ""
    raised = Result("forward/concat", "S.", "failed", reason="R.", error=ValueError("x"))
    assert likeness([raised]) == ""
