"""The devices `mps`, `torch-cuda` and `torch-cpu`: PyTorch, in NCHW.

This module is light: it only describes the devices.
"""

from __future__ import annotations

from functools import partial

from msinet_core import Capabilities, DeviceOption, DeviceSpec, Register, hookimpl
from msinet_torch.probe import REQUIRES, cpu_probe, cuda_probe, mps_probe

WORLD_VARIABLE = "WORLD_SIZE"
"""The variable in which torchrun gives each process their number."""

_torch_spec = partial(
    DeviceSpec,
    framework="PyTorch",
    api_version=1,
    data_format="NCHW",
    kernel_layout="OIHW",
    requires=REQUIRES,
    checkpoint_format="torch",
    doctor="msinet_torch.doctor:examine",
)

MPS = _torch_spec(
    name="mps",
    summary="PyTorch on the GPU of a Mac with Apple silicon",
    factory="msinet_torch.device:MpsDevice",
    probe=mps_probe,
    priority=190,
    untested_on="a Mac",
    capabilities=Capabilities(
        precisions=("float32", "bfloat16", "float16"),
        deterministic=False,  # Apple does not promise it
    ),
    options=(
        DeviceOption(
            "memory",
            "Share of the Mac's memory that PyTorch may use; auto: PyTorch's own limit.",
            "auto",
            ("auto", "25%", "50%", "75%", "90%"),
        ),
    ),
)

CUDA = _torch_spec(
    name="torch-cuda",
    summary="PyTorch on NVIDIA GPUs",
    factory="msinet_torch.device:CudaDevice",
    probe=cuda_probe,
    priority=290,
    untested_on="an NVIDIA GPU",
    capabilities=Capabilities(
        precisions=("float32", "bfloat16", "float16"),
        distribution=("multiworker",),
        cluster_variable=WORLD_VARIABLE,
        deterministic=False,  # cuDNN sums gradients in varying order
    ),
    options=(
        DeviceOption(
            "tf32",
            "Multiply float32 with TF32's 10-bit mantissa: faster, less exact.",
        ),
        DeviceOption(
            "compile",
            "Fuse the network with torch.compile: slow to start for each image size.",
        ),
        DeviceOption(
            "cuda-graphs",
            "Record each step once and replay it: less work for the host, more memory.",
        ),
    ),
)

CPU = _torch_spec(
    name="torch-cpu",
    summary="PyTorch on the CPU",
    factory="msinet_torch.device:CpuDevice",
    probe=cpu_probe,
    priority=5,
    capabilities=Capabilities(
        precisions=("float32", "bfloat16"),
        distribution=("multiworker",),
        cluster_variable=WORLD_VARIABLE,
    ),
)


@hookimpl
def msinet_register_devices(register: Register) -> None:
    """Register `mps`, `torch-cuda` and `torch-cpu`."""
    for spec in (MPS, CUDA, CPU):
        register(spec)
