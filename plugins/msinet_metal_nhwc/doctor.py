"""The doctor of `metal`, which also works on machines that are not Macs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msinet_core import DeviceSpec, Finding, Graph, msinet_graph
from msinet_metal_nhwc.fusion import examine_fusion, fusible
from msinet_metal_nhwc.kernels import TABLE_METAL, TABLE_TENSORFLOW, metal_kernels
from msinet_tensorflow.audit import IMAGES, audit, tensorflow_missing, trace_steps
from msinet_tensorflow.versions import METAL_TENSORFLOW, installed_wheels


def examine(spec: DeviceSpec, arguments: Mapping[str, str]) -> Iterator[Finding]:
    """Report the Metal kernel of every op of the steps, and ops that would be fused.

    Args:
        spec: The device `metal`.
        arguments: ``"precision"`` limits the report on the graphs to one precision.
    """
    missing = tensorflow_missing('pip install "msinet[cpu]"')
    if missing is not None:
        yield missing
        return
    yield _kernel_table()
    chains: list[str] = []
    requested = arguments.get("precision", "auto")
    for precision in spec.capabilities.precisions if requested == "auto" else (requested,):
        steps = trace(spec, precision)
        yield audit(steps, metal_kernels()).finding(precision)
        chains += fusible(steps)
    yield _fusion(chains)
    if spec.probe().ready:
        yield examine_fusion("/GPU:0")


def trace(
    spec: DeviceSpec,
    precision: str,
    graph: Graph | None = None,
    images: tuple[int, int, int, int] = IMAGES,
) -> Mapping[str, Any]:
    """Trace every step of the device, on any machine with TensorFlow.

    Args:
        spec: The device `metal`.
        precision: The dtype of convolutions.
        graph: The network; None for the published one.
        images: The shape of the images, ``(N, H, W, C)``.
    """
    from msinet_metal_nhwc.device import NhwcDevice

    return trace_steps(NhwcDevice(spec, precision), graph or msinet_graph(), images)


def _fusion(chains: list[str]) -> Finding:
    detail = "tensorflow-metal finds no convolution that it would fuse with its bias."
    if chains:
        detail = f"{len(chains)} convolutions can be fused with their bias: {', '.join(chains)}."
    return Finding("fusion", "problem" if chains else "ok", detail, data={"chains": chains})


def _kernel_table() -> Finding:
    count = sum(map(len, metal_kernels().values()))
    wheels = " and ".join(" ".join(wheel) for wheel in installed_wheels().items())
    detail = (
        f"{count} kernels that tensorflow-metal {TABLE_METAL} and TensorFlow {TABLE_TENSORFLOW} "
        f"register on Apple silicon. The audited steps were traced with {wheels}; on a Mac, "
        f"{METAL_TENSORFLOW} traces them. Steps are audited before TensorFlow optimizes them."
    )
    return Finding("kernel table", "ok", detail)
