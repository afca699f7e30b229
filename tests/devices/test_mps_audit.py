"""No op of mps's steps lacks an MPS kernel, as far as a table of PyTorch's kernels can tell."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest

import msinet_torch
from msinet_core.network import ops
from msinet_core.network.graph import Graph, GraphBuilder
from msinet_core.registry.kernel_audit import AuditReport
from msinet_torch import doctor

torch = pytest.importorskip("torch")
audit_module = importlib.import_module("msinet_torch.audit")
Audit, audit_steps = audit_module.Audit, audit_module.audit_steps
kernel_names, mps_kernels = audit_module.kernel_names, audit_module.mps_kernels
MPS = msinet_torch.MPS
LABELS = torch.ones((1, 2), dtype=torch.long)


@pytest.fixture(scope="module", params=MPS.capabilities.precisions)
def report(request: pytest.FixtureRequest) -> AuditReport:
    return audit_steps(MPS, request.param)


def test_every_op_of_every_step_has_a_kernel(report: AuditReport) -> None:
    assert report.problems == ()
    assert report.passed and report.functions == 6
    assert report.counts["aten.convolution.default"] == 5 * 23
    assert report.counts["aten.convolution_backward.default"] == 3 * 23
    assert sum(n for op, n in report.counts.items() if "_fused_adam_" in op) >= 2


def resizing_graph() -> Graph:
    net = GraphBuilder()
    small = net.add("small", ops.MaxPool2D(pool_size=5, strides=3), net.input)
    large = net.add("large", ops.ResizeLike(), small, net.input)
    half = net.add("half", ops.Resize(2, "half_pixel"), large)
    net.add("map", ops.Conv2D(1, activation="linear"), half)
    return net.build()


def test_other_resizes_have_kernels_too() -> None:
    report = audit_steps(MPS, "float32", resizing_graph())
    assert report.problems == ()
    assert report.counts["aten.mm.default"] + report.counts.get("aten.bmm.default", 0) > 0


def audited(function, *arguments) -> AuditReport:
    audit = Audit(mps_kernels())
    with audit.step("a step"):
        function(*arguments)
    return audit.report()


def ones(*shape: int):
    return torch.ones(shape)


def fractional_max_pool2d(*arguments):
    return torch.nn.functional.fractional_max_pool2d(*arguments)


@pytest.mark.parametrize(
    ("op", "function", "arguments"),
    [
        ("aten.heaviside.default", torch.heaviside, (ones(2), ones(2))),
        ("aten._ctc_loss.default", torch.ctc_loss, (ones(4, 1, 3), LABELS, (4,), (2,))),
        ("aten.fractional_max_pool2d.default", fractional_max_pool2d, (ones(1, 1, 8, 8), 2, 4)),
    ],
)
def test_an_op_without_a_kernel_is_named(op, function, arguments) -> None:
    problem = audited(function, *arguments).problems[0]
    assert (problem.function, problem.op, problem.kind) == ("a step", op, "no kernel")


def test_ops_inside_composite_ops_are_audited() -> None:
    kernels_without = mps_kernels() - {"linalg_vector_norm"}
    audit = Audit(kernels_without)
    with audit.step("a step"):
        torch._foreach_norm([ones(2)], 1)
    assert [problem.op for problem in audit.report().problems] == [
        "aten.linalg_vector_norm.default"
    ]


def test_float64_is_a_problem() -> None:
    problem = audited(lambda: ones(2) + ones(2).double()).problems[0]
    assert problem.dtype == "float64"


@pytest.mark.parametrize(
    "missing", ["_mps_convolution_backward", "tensor_lr__fused_adam_", "lerp_Scalar"]
)
def test_a_kernel_taken_out_of_the_table_is_missed_in_training(missing: str) -> None:
    report = audit_steps(MPS, "float16", resizing_graph(), mps_kernels() - {missing})
    assert len({problem.op for problem in report.problems}) == 1
    assert {"train", "accumulate and train"} <= {problem.function for problem in report.problems}


def test_each_kernel_is_that_of_an_op() -> None:
    if torch.__version__.partition("+")[0] != audit_module.TABLE_TORCH:
        pytest.skip(f"torch {torch.__version__} may have other ops than {audit_module.TABLE_TORCH}")

    class Op:
        def __init__(self, schema) -> None:
            self._schema = schema

    schemas = torch._C._jit_get_all_schemas()
    names = (kernel_names(Op(schema)) for schema in schemas if schema.name.startswith("aten::"))
    assert mps_kernels() <= frozenset().union(*names)


def test_doctor_shows_the_audit_on_this_machine(
    report: AuditReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_module, "audit_steps", lambda *_: report)
    findings = {finding.title: finding for finding in doctor.examine(MPS, {})}
    assert "890" in findings["kernel table"].detail
    for precision in MPS.capabilities.precisions:
        finding = findings[f"kernel audit in {precision}"]
        assert finding.status == "ok" and finding.data["nodes"] > 1000
    titles = [finding.title for finding in doctor.examine(MPS, {"precision": "float16"})]
    assert [title for title in titles if "audit" in title] == ["kernel audit in float16"]


def test_table_is_the_recorded_one() -> None:
    shared = Path(os.environ.get("MSINET_SHARED", Path(__file__).parents[3] / "shared"))
    recorded = shared / "data" / f"torch_{audit_module.TABLE}"
    if not recorded.is_file():
        pytest.skip(f"the recorded table is not at {recorded}; MSINET_SHARED says where it is")
    lines = recorded.read_text(encoding="utf-8").splitlines()
    wrappers = {line.removeprefix("wrapper_MPS_") for line in lines if not line.startswith("#")}
    assert mps_kernels() == wrappers
