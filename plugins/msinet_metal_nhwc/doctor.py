"""The doctor of `metal`, which also works on machines that are not Macs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

from msinet_core import (
    Adam,
    DeviceSpec,
    Finding,
    Graph,
    KLDivergence,
    Program,
    State,
    apple,
    msinet_graph,
)
from msinet_metal_nhwc.kernels import TABLE_METAL, TABLE_TENSORFLOW, metal_kernels
from msinet_tensorflow.audit import AuditReport, audit
from msinet_tensorflow.versions import METAL_TENSORFLOW, import_trouble, installed_wheels

IMAGES = (1, 240, 320, 3)
SHOWN_PROBLEMS = 10


def examine(spec: DeviceSpec, arguments: Mapping[str, str]) -> Iterator[Finding]:
    """Show the GPU, and whether it has a kernel for every op of the steps.

    Args:
        spec: The device `metal`.
        arguments: It has none of its own.
    """
    yield _hardware()
    unavailable = _tensorflow_missing()
    if unavailable is not None:
        yield unavailable
        return
    yield _kernel_table()
    for precision in spec.capabilities.precisions:
        yield _finding(precision, audit_steps(spec, precision))


def audit_steps(
    spec: DeviceSpec,
    precision: str,
    graph: Graph | None = None,
    images: tuple[int, int, int, int] = IMAGES,
) -> AuditReport:
    """Trace every step of the device, wherever TensorFlow is, and audit its nodes.

    Args:
        spec: The device `metal`.
        precision: The dtype of convolutions.
        graph: The network; None for the published one.
        images: The ``(N, H, W, C)`` that is traced for.
    """
    import numpy as np

    from msinet_metal_nhwc.device import PROCESSOR, MetalDevice

    graph = msinet_graph() if graph is None else graph
    weights = {item.name: np.zeros(item.shape, np.float32) for item in graph.parameters}
    device = MetalDevice(spec, precision, placement=PROCESSOR)
    model = device.build(Program(graph, State(weights), KLDivergence(), Adam()))
    return audit(model.concrete_steps(images), metal_kernels())


def _hardware() -> Finding:
    if sys.platform != "darwin":
        return Finding("GPU", "note", "This machine has no Apple GPU; nothing was computed on one.")
    gpu = apple.apple_gpu()
    cores = f"{gpu.cores} cores" if gpu.cores else "cores unknown"
    memory = f"{gpu.memory / 2**30:.0f} GiB" if gpu.memory else "an unknown amount"
    detail = f"{gpu.name}, {cores}, {memory} of memory shared with the CPU."
    return Finding("GPU", "ok", detail)


def _tensorflow_missing() -> Finding | None:
    title, detail = "kernel audit", "Tracing the steps needs TensorFlow (any build): "
    if trouble := import_trouble():
        return Finding(title, "problem", detail + trouble.reason, trouble.fix)
    if installed_wheels():
        return None
    return Finding(title, "note", f"{detail}none is installed.", 'pip install "msinet[cpu]"')


def _kernel_table() -> Finding:
    count = sum(map(len, metal_kernels().values()))
    traced = " and ".join(" ".join(wheel) for wheel in installed_wheels().items())
    detail = (
        f"{count} kernels that tensorflow-metal {TABLE_METAL} and TensorFlow {TABLE_TENSORFLOW} "
        f"register on Apple silicon. Steps are traced here with {traced}; on a Mac "
        f"{METAL_TENSORFLOW} traces them. They are audited as traced: what TensorFlow rewrites "
        "before it runs them is not seen."
    )
    return Finding("kernel table", "ok", detail)


def _finding(precision: str, report: AuditReport) -> Finding:
    title = f"kernel audit in {precision}"
    checked = (
        f"{report.nodes} nodes of prediction, evaluation, training and accumulation "
        f"({IMAGES[1]}x{IMAGES[2]})"
    )
    if report.passed:
        detail = f"{checked}: each has a GPU kernel, and no float data passes through the host."
        return Finding(title, "ok", detail, data=report.to_dict())
    lines = [f"{item.function}: {item.node}: {item.why}" for item in report.problems]
    if len(lines) > SHOWN_PROBLEMS:
        lines[SHOWN_PROBLEMS:] = [f"and {len(lines) - SHOWN_PROBLEMS} more; --json lists all."]
    detail = "\n".join([f"{len(report.problems)} of {checked} would leave the GPU:", *lines])
    return Finding(title, "problem", detail, data=report.to_dict())
