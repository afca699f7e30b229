"""The doctor of `cuda`, which also works on machines without an NVIDIA GPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msinet_core import (
    Adam,
    DeviceSpec,
    Finding,
    KLDivergence,
    Program,
    State,
    msinet_graph,
    nvidia,
)
from msinet_cuda_nchw.kernels import cuda_kernels, has_gpu_kernels
from msinet_cuda_nchw.probe import INSTALL
from msinet_tensorflow.audit import audit, walk
from msinet_tensorflow.versions import import_trouble, installed_wheels

IMAGES = (1, 240, 320, 3)
NARROW = 1 / 16
"""The width of the network whose steps are traced: its nodes are those of the published one."""

MOST_TRANSPOSES = 1
"""The images' way in. Maps have one channel: their data format changes by a reshape."""

TRANSPOSES = ("Transpose", "ConjugateTranspose")
SHOWN_PROBLEMS = 10


def examine(spec: DeviceSpec, arguments: Mapping[str, str]) -> Iterator[Finding]:
    """Report the driver, GPUs and TensorFlow's CUDA, and what the graphs of the steps are made of.

    Args:
        spec: The device `cuda`.
        arguments: ``"precision"``: examine the graphs of this one alone.
    """
    yield _driver()
    unavailable = _tensorflow_missing()
    if unavailable is not None:
        yield unavailable
        return
    yield _build()
    wanted = arguments.get("precision", "auto")
    precisions = spec.capabilities.precisions if wanted == "auto" else (wanted,)
    steps = {precision: trace_steps(spec, precision) for precision in precisions}
    yield _transposes(steps)
    yield from _kernel_audits(steps)
    yield _evidence()


def trace_steps(spec: DeviceSpec, precision: str) -> Mapping[str, Any]:
    """Trace the device's steps on a narrow network, computing nothing and on no GPU.

    Args:
        spec: The device `cuda`.
        precision: The dtype of convolutions.

    Returns:
        A concrete function by the step's name.
    """
    import numpy as np

    from msinet_cuda_nchw.device import NchwDevice
    from msinet_tensorflow.layers import tf

    graph = msinet_graph(NARROW)
    weights = {item.name: np.zeros(item.shape, np.float32) for item in graph.parameters}
    with tf.device("/CPU:0"):
        device = NchwDevice(spec, spec.check_precision(precision))
        model = device.build(Program(graph, State(weights), KLDivergence(), Adam()))
        return model.concrete_steps(IMAGES)


def count_transposes(function: Any) -> int:
    """Count the nodes that permute axes in a concrete function and in all that it calls.

    Args:
        function: A ``tf.ConcreteFunction``.
    """
    graphs = walk(function.graph.as_graph_def(), "step")
    return sum(node.op in TRANSPOSES for _, nodes in graphs for node in nodes)


def _driver() -> Finding:
    if not nvidia.nvidia_gpus():
        return Finding("driver", "note", "The NVIDIA driver is not loaded, or reports no GPU.")
    driver = nvidia.ask_driver()
    if driver is None:
        names = ", ".join(gpu.name for gpu in nvidia.nvidia_gpus())
        return Finding("driver", "ok", f"It offers {names}; NVML does not respond.")
    lines = [f"NVIDIA driver {driver.version}."]
    for gpu in driver.gpus:
        memory = f"{gpu.memory / 2**30:.0f} GiB" if gpu.memory else "memory of the host"
        capability = ".".join(map(str, gpu.capability)) if gpu.capability else "unknown"
        lines.append(f"{gpu.name}, {memory}, compute capability {capability}.")
    return Finding("driver", "ok", "\n".join(lines))


def _tensorflow_missing() -> Finding | None:
    title, needs = "graphs", "Tracing the steps needs TensorFlow (any build): "
    if trouble := import_trouble():
        return Finding(title, "problem", needs + trouble.reason, trouble.fix)
    if installed_wheels():
        return None
    return Finding(title, "note", f"{needs}none is installed.", INSTALL)


def _build() -> Finding:
    from msinet_tensorflow.layers import tf

    wheels = " and ".join(" ".join(wheel) for wheel in installed_wheels().items())
    if not tf.test.is_built_with_cuda():
        fix = f"pip uninstall --yes {' '.join(installed_wheels())} && {INSTALL}"
        return Finding("TensorFlow", "note", f"{wheels} was built without CUDA.", fix)
    built = tf.sysconfig.get_build_info()
    detail = (
        f"{wheels} was built for CUDA {built.get('cuda_version', 'unknown')} and cuDNN "
        f"{built.get('cudnn_version', 'unknown')}."
    )
    return Finding("TensorFlow", "ok", detail, data=dict(built))


def _transposes(steps: Mapping[str, Mapping[str, Any]]) -> Finding:
    counts = {
        precision: {name: count_transposes(function) for name, function in functions.items()}
        for precision, functions in steps.items()
    }
    most = max(count for step in counts.values() for count in step.values())
    parts = ", ".join(next(iter(counts.values())))
    detail = (
        f"At most {most} in each step's graph ({parts}): the images' way from NHWC into NCHW. "
        f"Counted in {', '.join(counts)}, gradients included."
    )
    return Finding("transposes", "ok" if most <= MOST_TRANSPOSES else "problem", detail, "", counts)


def _kernel_audits(steps: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    table = cuda_kernels()
    if not has_gpu_kernels(table):
        detail = (
            "The TensorFlow that is installed has no kernels for GPUs to audit the steps against; "
            "the CUDA build has them, even on machines without a GPU."
        )
        fix = f"In a virtual environment of its own: {INSTALL}"
        yield Finding("kernel audit", "note", detail, fix)
        return
    for precision, functions in steps.items():
        report = audit(functions, table)
        title = f"kernel audit in {precision}"
        checked = f"{report.nodes} nodes of {', '.join(functions)}"
        if report.passed:
            detail = (
                f"{checked}: each has a GPU kernel in TensorFlow's registry, and no float data "
                "passes through the host."
            )
            yield Finding(title, "ok", detail, data=report.to_dict())
            continue
        lines = [f"{item.function}: {item.node}: {item.why}" for item in report.problems]
        lines[SHOWN_PROBLEMS:] = [f"({len(lines)} in all)"]
        detail = "\n".join([f"Of {checked} these would leave the GPU:", *lines])
        yield Finding(title, "problem", detail, data=report.to_dict())


def _evidence() -> Finding:
    """State what was proven: the graphs, but not the hardware."""
    detail = (
        "These graphs were verified against the reference on a CPU (oneDNN and XLA), op by op and "
        "over training steps. This version of msinet has not been run on an NVIDIA GPU."
    )
    return Finding(
        "evidence",
        "note",
        detail,
        "On a machine with one: msinet-run devices --check",
    )
