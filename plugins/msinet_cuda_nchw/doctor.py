"""The doctor of `cuda`, which also works on machines without an NVIDIA GPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msinet_core import DeviceSpec, Finding, msinet_graph, nvidia
from msinet_cuda_nchw.kernels import cuda_kernels, has_gpu_kernels
from msinet_cuda_nchw.probe import INSTALL
from msinet_tensorflow import audit
from msinet_tensorflow.versions import installed_wheels

NARROW = 1 / 16
"""The width of the traced network, which has the same nodes as the published one."""

MOST_TRANSPOSES = 1
"""That of the images. Maps have one channel and change their data format with a reshape."""

TRANSPOSES = ("Transpose", "ConjugateTranspose")


def examine(spec: DeviceSpec, arguments: Mapping[str, str]) -> Iterator[Finding]:
    """Report the driver, TensorFlow's build, and the ops in the graphs of the steps.

    Args:
        spec: The device `cuda`.
        arguments: ``"precision"`` limits the report on the graphs to one precision.
    """
    yield _driver()
    missing = audit.tensorflow_missing(INSTALL)
    if missing is not None:
        yield missing
        return
    yield _build()
    precision = arguments.get("precision", "auto")
    precisions = spec.capabilities.precisions if precision == "auto" else (precision,)
    steps = {precision: trace_steps(spec, precision) for precision in precisions}
    yield _transposes(steps)
    yield from _kernel_audits(steps)


def trace_steps(spec: DeviceSpec, precision: str) -> Mapping[str, Any]:
    """Trace the device's steps for a narrow network, without running them and without a GPU.

    Args:
        spec: The device `cuda`.
        precision: The dtype of convolutions.

    Returns:
        A concrete function by the step's name.
    """
    from msinet_cuda_nchw.device import NchwDevice
    from msinet_tensorflow.layers import tf

    with tf.device("/CPU:0"):
        device = NchwDevice(spec, spec.check_precision(precision))
        return audit.trace_steps(device, msinet_graph(NARROW))


def count_transposes(function: Any) -> int:
    """Count the nodes that permute axes in a concrete function and the functions it calls.

    Args:
        function: A ``tf.ConcreteFunction``.
    """
    graphs = audit.walk(function.graph.as_graph_def(), "step")
    return sum(node.op in TRANSPOSES for _, nodes in graphs for node in nodes)


def _driver() -> Finding:
    driver = nvidia.query_driver()
    if driver is None:
        return Finding("driver", "note", "The NVIDIA driver is not loaded, or does not respond.")
    capabilities = ", ".join(
        ".".join(map(str, gpu.capability)) if gpu.capability else "unknown" for gpu in driver.gpus
    )
    detail = f"NVIDIA driver {driver.version}; compute capabilities: {capabilities or 'none'}."
    return Finding("driver", "ok", detail)


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
        f"At most {most} in the graph of a step ({parts}; {', '.join(counts)}), gradients "
        "included; images need one, from NHWC to NCHW."
    )
    return Finding("transposes", "ok" if most <= MOST_TRANSPOSES else "problem", detail, "", counts)


def _kernel_audits(steps: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    table = cuda_kernels()
    if not has_gpu_kernels(table):
        detail = (
            "The installed TensorFlow has no GPU kernels to audit the steps against; the CUDA "
            "build has them, even on machines without a GPU."
        )
        fix = f"In a separate virtual environment: {INSTALL}"
        yield Finding("kernel audit", "note", detail, fix)
        return
    for precision, functions in steps.items():
        yield audit.audit(functions, table).finding(precision)
