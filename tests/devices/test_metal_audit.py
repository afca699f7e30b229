"""No op of metal's steps leaves the GPU of a Mac, as far as a table of its kernels can tell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from msinet_core.network import ops
from msinet_core.network.graph import Graph
from msinet_core.network.msinet import msinet_graph
from msinet_core.registry.kernel_audit import AuditReport
from msinet_metal_nhwc import SPEC
from msinet_metal_nhwc.doctor import examine, trace
from msinet_metal_nhwc.fusion import fusible
from msinet_metal_nhwc.kernels import metal_kernels
from msinet_tensorflow.audit import audit, walk

tf = pytest.importorskip("tensorflow")

NARROW = 1 / 16
DILATED = ["conv5/conv5_1", "conv5/conv5_2", "conv5/conv5_3"] + [
    f"aspp/conv1_{layer}" for layer in (2, 3, 4)
]
RESIZED = ["aspp/resize", "decoder/resize1", "decoder/resize2", "decoder/resize3"]


PRECISIONS = ("float32", "float16", "bfloat16")
ROOT = Path(__file__).parents[2]
STEPS = [(precision, "asymmetric") for precision in SPEC.capabilities.precisions]


@cache
def narrow_steps(precision: str, coordinates: ops.Coordinates = "asymmetric") -> Mapping[str, Any]:
    """The steps of a narrow network: tracing them takes seconds."""
    return trace(SPEC, precision, msinet_graph(NARROW, coordinates))


@pytest.fixture
def traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the doctor examine `narrow_steps`."""
    monkeypatch.setattr(
        "msinet_metal_nhwc.doctor.trace", lambda _, precision: narrow_steps(precision)
    )


@pytest.mark.parametrize("page", ["docs/how-to/mac-with-metal.md", "docs/measurements.md"])
def test_the_documentation_has_the_numbers_of_nodes(page: str) -> None:
    text = " ".join((ROOT / page).read_text(encoding="utf-8").split())
    reports = (audit(narrow_steps(precision), metal_kernels()) for precision in PRECISIONS)
    counts = (report.nodes for report in reports)
    assert "{} nodes in float32, {} in float16 and {} in bfloat16".format(*counts) in text


@pytest.mark.parametrize(("precision", "coordinates"), [*STEPS, ("float16", "half_pixel")])
def test_every_op_of_every_step_has_a_kernel(precision: str, coordinates: ops.Coordinates) -> None:
    report = audit(narrow_steps(precision, coordinates), metal_kernels())
    assert report.problems == ()
    assert report.passed and report.functions >= 5
    assert report.counts["ResourceApplyAdam"] == 2 * 46  # training, and the end of an accumulation
    assert report.counts["Conv2DBackpropFilter"] == 2 * 23
    assert "SpaceToBatchND" not in report.counts


@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_step_has_a_convolution_that_would_be_fused(precision: str) -> None:
    assert fusible(narrow_steps(precision)) == []


def test_published_network_in_batches() -> None:
    steps = trace(SPEC, "float16", None, (2, 216, 384, 3))
    assert audit(steps, metal_kernels()).passed


def test_a_resize_to_no_multiple_has_kernels_too() -> None:
    graph = msinet_graph(NARROW)
    net = [node for node in graph.nodes if node.name.startswith(("subtract", "conv1", "input"))]
    small = ops.MaxPool2D(pool_size=5, strides=3)
    odd = Graph(
        (
            *net,
            type(net[0])("small", small, (net[-1].name,)),
            type(net[0])("op", ops.ResizeLike(), ("small", net[-1].name)),
            type(net[0])("map", ops.Conv2D(1, activation="linear"), ("op",)),
        )
    )
    report = audit(trace(SPEC, "bfloat16", odd, (1, 22, 31, 3)), metal_kernels())
    assert report.problems == ()
    assert report.counts["BatchMatMulV2"] > 0


@pytest.fixture(scope="module")
def naive() -> AuditReport:
    """What the audit says of the training of the same network, written with Keras."""
    model = keras_network(msinet_graph(NARROW), (240, 320))

    @tf.function(autograph=False)
    def gradients(images):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(images, training=True))
        return tape.gradient(loss, model.trainable_variables)

    images = tf.TensorSpec((1, 240, 320, 3), tf.float32)
    return audit({"train": gradients.get_concrete_function(images)}, metal_kernels())


def keras_network(graph: Graph, size: tuple[int, int]):
    """Build a graph as a port of it to Keras does: layers, and ``tf.image.resize``."""
    layers = tf.keras.layers
    values = {graph.input.name: tf.keras.Input((*size, 3), batch_size=1)}
    for node in graph.nodes[1:]:
        op, inputs = node.op, [values[name] for name in node.inputs]
        options = {"name": node.name.replace("/", "__")}
        if isinstance(op, ops.Conv2D):
            layer = layers.Conv2D(
                op.filters,
                op.kernel_size,
                padding=op.padding.lower(),
                dilation_rate=op.dilation,
                activation=op.activation,
                **options,
            )
        elif isinstance(op, ops.MaxPool2D):
            layer = layers.MaxPool2D(op.pool_size, op.strides, op.padding.lower(), **options)
        elif isinstance(op, ops.Concat):
            layer = layers.Concatenate(**options)
        elif isinstance(op, ops.GlobalMean):
            layer = layers.GlobalAveragePooling2D(keepdims=True, **options)
        elif isinstance(op, ops.Resize | ops.ResizeLike):
            target = op.output_size([value.shape[1:3] for value in inputs])
            layer = layers.Lambda(lambda x, size=target: tf.image.resize(x, size), **options)
        else:  # the two ends, which are plain arithmetic
            values[node.name] = inputs[0]
            continue
        values[node.name] = layer(
            inputs if len(inputs) > 1 and node.op.arity is None else inputs[0]
        )
    return tf.keras.Model(values[graph.input.name], values[graph.output.name])


def layers_of(report: AuditReport, op: str, gradient: bool) -> list[str]:
    """Name the layers whose nodes of an op are problems, in the forward or the backward pass."""
    names = [
        problem.node.split("/")[-3].replace("__", "/")
        for problem in report.problems
        if problem.op == op and problem.node.startswith("gradient_tape/") == gradient
    ]
    return sorted(re.sub(r"(conv\d+_\d|resize\d?)_\d+$", r"\1", name) for name in names)


@pytest.mark.parametrize("gradient", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("op", ["SpaceToBatchND", "BatchToSpaceND"])
def test_naive_dilated_convolutions_are_named(naive: AuditReport, op: str, gradient: bool) -> None:
    assert layers_of(naive, op, gradient) == sorted(DILATED)


def test_naive_resizes_are_named_in_the_backward_pass(naive: AuditReport) -> None:
    assert layers_of(naive, "ResizeBilinearGrad", gradient=True) == RESIZED


def test_naive_network_has_no_other_problem(naive: AuditReport) -> None:
    ops_named = {problem.op for problem in naive.problems}
    assert ops_named == {"SpaceToBatchND", "BatchToSpaceND", "ResizeBilinearGrad"}
    assert len(naive.problems) == 4 * len(DILATED) + len(RESIZED)


def test_functions_that_nodes_call_are_walked_once_each() -> None:
    @tf.function(autograph=False)
    def inner(x):
        return tf.cast(tf.linalg.einsum("ij->ji", tf.cast(x, tf.float64)), tf.float32)

    @tf.function(autograph=False)
    def outer(x):
        x = tf.cond(tf.reduce_sum(x) > 0, lambda: tf.stack([x, x])[0], lambda: inner(x))
        loop = tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, tf.math.xdivy(y, y)), (0, x))
        return inner(inner(loop[1]))

    concrete = outer.get_concrete_function(tf.TensorSpec((2, 2), tf.float32))
    paths = [path for path, _ in walk(concrete.graph.as_graph_def(), "step")]
    assert paths[0] == "step" and len(paths) == len(set(paths))
    report = audit({"step": concrete}, metal_kernels())
    assert report.functions == len(paths) >= 6  # both sides, loop's two parts, the inner function
    found = {(problem.op, problem.kind) for problem in report.problems}
    assert {("Pack", "through the host"), ("Xdivy", "no kernel"), ("Einsum", "no kernel")} <= found
    assert all(problem.function.startswith("step/") for problem in report.problems)


@pytest.mark.usefixtures("traced_once")
def test_doctor_shows_the_audit_on_this_machine() -> None:
    findings = {finding.title: finding for finding in examine(SPEC, {})}
    for precision in SPEC.capabilities.precisions:
        finding = findings[f"kernel audit in {precision}"]
        assert finding.status == "ok"
        assert finding.data["problems"] == [] and finding.data["counts"]["Conv2D"] > 0
    assert "2.18.1 and 2.19.1" in findings["kernel table"].detail


@pytest.mark.usefixtures("traced_once")
def test_doctor_audits_the_requested_precision_alone() -> None:
    titles = [finding.title for finding in examine(SPEC, {"precision": "float16"})]
    assert [title for title in titles if "audit" in title] == ["kernel audit in float16"]


def test_doctor_lists_ten_ops_that_would_leave_the_gpu(
    naive: AuditReport, traced_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("msinet_metal_nhwc.doctor.audit", lambda *_: naive)
    findings = {finding.title: finding for finding in examine(SPEC, {})}
    finding = findings["kernel audit in float32"]
    assert finding.status == "problem"
    first, *shown, last = finding.detail.splitlines()
    assert "28" in first and "18" in last
    assert len(shown) == 10 and "SpaceToBatchND" in shown[0]
    assert len(finding.data["problems"]) == 28
