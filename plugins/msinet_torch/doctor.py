"""What ``msinet-run doctor`` checks for PyTorch's devices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msinet_core import DeviceSpec, Finding, hardware, nvidia

GIBIBYTE = 2**30


def examine(spec: DeviceSpec, arguments: Mapping[str, str]) -> Iterator[Finding]:
    """Describe PyTorch's build, the device and, for `mps`, the kernels of ops.

    Args:
        spec: One of ``mps``, ``torch-cuda``, ``torch-cpu``.
        arguments: ``"precision"`` limits the report on kernels to one precision.
    """
    if hardware.distribution_version("torch") is None:
        yield Finding("PyTorch", "note", "Not installed; nothing else to check.")
        return
    from msinet_torch.loading import torch

    yield _build(torch)
    yield from {"mps": _mps, "torch-cuda": _cuda}.get(spec.name, _cpu)(torch)
    if spec.name == "mps":
        yield from _kernel_audits(spec, arguments.get("precision", "auto"))


def _build(torch: Any) -> Finding:
    targets = [
        "the CPU",
        *([f"CUDA {torch.version.cuda}"] if torch.version.cuda else []),
        *(["MPS"] if torch.backends.mps.is_built() else []),
    ]
    return Finding("PyTorch", "ok", f"torch {torch.__version__}, built for {', '.join(targets)}.")


def _cpu(torch: Any) -> Iterator[Finding]:
    has_onednn = torch.backends.mkldnn.is_available()
    kernels = "oneDNN" if has_onednn else "PyTorch's own kernels, which are slow"
    yield Finding(
        "processor",
        "ok" if has_onednn else "note",
        f"{torch.get_num_threads()} threads; convolutions use {kernels}.",
    )
    if has_onednn and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        yield Finding("bfloat16", "ok", "oneDNN computes bfloat16 convolutions in hardware.")
    else:
        detail = "This CPU has no fast bfloat16: results are correct, but slower than float32."
        yield Finding("bfloat16", "note", detail, "Use --precision float32")


def _cuda(torch: Any) -> Iterator[Finding]:
    driver = nvidia.query_driver()
    yield Finding(
        "driver",
        "ok" if driver else "note",
        f"NVIDIA driver {driver.version}." if driver else "The NVIDIA driver does not respond.",
    )
    if not torch.cuda.is_available():
        yield Finding("GPUs", "note", "PyTorch finds no GPU.")
        return
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        detail = (
            f"{facts.name}, compute capability {facts.major}.{facts.minor}, {_size(free)} of "
            f"{_size(total)} free, {facts.multi_processor_count} multiprocessors; cuDNN "
            f"{torch.backends.cudnn.version()}; kernels for "
            f"{', '.join(torch.cuda.get_arch_list())}."
        )
        yield Finding(f"GPU {index}", "ok", detail)


def _mps(torch: Any) -> Iterator[Finding]:
    if not torch.backends.mps.is_available():
        reason = "finds no GPU" if torch.backends.mps.is_built() else "was built without MPS"
        yield Finding("GPU", "note", f"PyTorch {reason}.")
        return
    recommended = torch.mps.recommended_max_memory()
    used = torch.mps.driver_allocated_memory()
    detail = f"{_size(used)} in use; macOS recommends at most {_size(recommended)}."
    yield Finding("GPU", "ok", detail)


def _kernel_audits(spec: DeviceSpec, precision: str) -> Iterator[Finding]:
    from msinet_torch.audit import TABLE_TORCH, audit_steps, mps_kernels
    from msinet_torch.loading import torch

    detail = (
        f"{len(mps_kernels())} kernels that PyTorch {TABLE_TORCH} registers for MPS. The audited "
        f"steps run on the CPU with torch {torch.__version__}, for a narrow network with the ops "
        "of the published one."
    )
    yield Finding("kernel table", "ok", detail)
    for one in spec.capabilities.precisions if precision == "auto" else (precision,):
        yield audit_steps(spec, one).finding(one)


def _size(count: int) -> str:
    return f"{count / GIBIBYTE:.1f} GiB"
