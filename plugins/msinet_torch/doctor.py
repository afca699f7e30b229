"""What ``msinet-run doctor`` finds about PyTorch's devices: what PyTorch sees, and how it works."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msinet_core.device import DeviceSpec
from msinet_core.hardware.host import cpu_hardware, distribution_version
from msinet_core.hardware.nvidia import ask_driver
from msinet_core.registry.doctor import Finding

GIBIBYTE = 2**30


def examine(spec: DeviceSpec, arguments: Mapping[str, str]) -> Iterator[Finding]:
    """Show PyTorch's build, what it sees of the device, memory format and memory.

    Args:
        spec: One of ``mps``, ``torch-cuda``, ``torch-cpu``.
        arguments: None is understood.
    """
    if distribution_version("torch") is None:
        yield Finding("PyTorch", "note", "It is not installed, so there is nothing to examine.")
        return
    from msinet_torch.loading import load_torch

    torch = load_torch()
    yield _build(torch)
    seen = {"mps": _mps, "torch-cuda": _cuda}.get(spec.name, _cpu)
    yield from seen(torch)
    yield _memory_format(spec)
    yield _evidence(spec)


def _build(torch: Any) -> Finding:
    built_for = [
        "the processor",
        *([f"CUDA {torch.version.cuda}"] if torch.version.cuda else []),
        *(["MPS"] if torch.backends.mps.is_built() else []),
    ]
    return Finding("PyTorch", "ok", f"torch {torch.__version__}, built for {', '.join(built_for)}.")


def _cpu(torch: Any) -> Iterator[Finding]:
    has_onednn = torch.backends.mkldnn.is_available()
    fast = has_onednn and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    hardware = cpu_hardware()
    memory = f", {_size(hardware.memory)} of memory" if hardware.memory else ""
    detail = (
        f"{hardware.name}, {torch.get_num_threads()} threads{memory}; convolutions by "
        f"{'oneDNN' if has_onednn else 'plain kernels, which are slow'}."
    )
    yield Finding("processor", "ok" if has_onednn else "note", detail)
    if fast:
        yield Finding("bfloat16", "ok", "oneDNN computes convolutions in bfloat16 here.")
    else:
        yield Finding(
            "bfloat16",
            "note",
            "This processor has no fast bfloat16: it is right, and slower than float32.",
            "--precision float32",
        )


def _cuda(torch: Any) -> Iterator[Finding]:
    told = ask_driver()
    driver = f"NVIDIA driver {told.version}." if told else "NVIDIA's driver does not answer."
    yield Finding("driver", "ok" if told else "note", driver)
    if not torch.cuda.is_available():
        yield Finding("GPUs", "note", "PyTorch sees none.")
        return
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        detail = (
            f"{facts.name}, compute capability {facts.major}.{facts.minor}, {_size(free)} of "
            f"{_size(total)} free, {facts.multi_processor_count} multiprocessors; cuDNN "
            f"{torch.backends.cudnn.version()}."
        )
        yield Finding(f"GPU {index}", "ok", detail)


def _mps(torch: Any) -> Iterator[Finding]:
    if not torch.backends.mps.is_available():
        why = "was built without MPS" if not torch.backends.mps.is_built() else "finds no GPU"
        yield Finding("GPU", "note", f"PyTorch {why}.")
        return
    allowed = torch.mps.recommended_max_memory()
    held = torch.mps.driver_allocated_memory()
    yield Finding("GPU", "ok", f"{_size(held)} held, of {_size(allowed)} that macOS recommends.")


def _memory_format(spec: DeviceSpec) -> Finding:
    if spec.name == "mps":
        detail = "Images and kernels are contiguous NCHW and OIHW; channels_last errs on MPS."
    else:
        detail = "Images and kernels are NCHW and OIHW in channels_last."
    return Finding("memory format", "ok", detail)


def _evidence(spec: DeviceSpec) -> Finding:
    """Say what nobody has shown."""
    proven = (
        "The same builders, steps and optimizer are proven against the reference on a processor, "
        "in both memory formats, op by op and over training steps."
    )
    if spec.name == "torch-cpu":
        return Finding("evidence", "ok", proven)
    where = "a Mac's GPU" if spec.name == "mps" else "an NVIDIA GPU"
    return Finding(
        "evidence",
        "note",
        f"{proven} This version of msinet was not run on {where} before it was published.",
        "On a machine with one: msinet-run devices --check",
    )


def _size(count: int) -> str:
    return f"{count / GIBIBYTE:.1f} GiB"
