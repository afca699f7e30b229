"""The devices `mps`, `torch-cuda` and `torch-cpu`: PyTorch, in NCHW.

This module is light: it only describes the devices.
"""

from __future__ import annotations

from msinet_core.device import Capabilities, DeviceOption, DeviceSpec
from msinet_core.registry.hookspecs import Register, hookimpl
from msinet_torch.probe import REQUIRES, cpu_probe, cuda_probe, mps_probe

WORLD_VARIABLE = "WORLD_SIZE"
"""The variable by which torchrun tells each process how many there are."""

MPS = DeviceSpec(
    name="mps",
    summary="PyTorch on the GPU of a Mac with Apple silicon",
    framework="PyTorch",
    factory="msinet_torch.device:MpsDevice",
    probe=mps_probe,
    data_format="NCHW",
    kernel_layout="OIHW",
    requires=REQUIRES,
    priority=190,
    capabilities=Capabilities(
        training=True,
        precisions=("float32", "bfloat16", "float16"),
        deterministic=False,  # Apple's kernels do not promise it
    ),
    doctor="msinet_torch.doctor:examine",
    api_version=1,
)

CUDA = DeviceSpec(
    name="torch-cuda",
    summary="PyTorch on NVIDIA GPUs",
    framework="PyTorch",
    factory="msinet_torch.device:CudaDevice",
    probe=cuda_probe,
    data_format="NCHW",
    kernel_layout="OIHW",
    requires=REQUIRES,
    priority=290,
    capabilities=Capabilities(
        training=True,
        precisions=("float32", "bfloat16", "float16"),
        distribution=("multiworker",),
        cluster_variable=WORLD_VARIABLE,
        deterministic=False,  # cuDNN's gradients add up in an order that is chance
    ),
    options=(
        DeviceOption(
            "tf32",
            "Whether float32 is multiplied with 10 bits after the point: faster, less exact.",
            "off",
            ("off", "on"),
        ),
        DeviceOption(
            "compile",
            "Whether torch.compile fuses the network: slow to begin with each image size.",
            "off",
            ("off", "on"),
        ),
        DeviceOption(
            "cuda-graphs",
            "Whether steps are recorded once and replayed: less work for the host, more memory.",
            "off",
            ("off", "on"),
        ),
    ),
    doctor="msinet_torch.doctor:examine",
    api_version=1,
)

CPU = DeviceSpec(
    name="torch-cpu",
    summary="PyTorch on the processor",
    framework="PyTorch",
    factory="msinet_torch.device:CpuDevice",
    probe=cpu_probe,
    data_format="NCHW",
    kernel_layout="OIHW",
    requires=REQUIRES,
    priority=5,
    capabilities=Capabilities(
        training=True,
        precisions=("float32", "bfloat16"),
        distribution=("multiworker",),
        cluster_variable=WORLD_VARIABLE,
    ),
    doctor="msinet_torch.doctor:examine",
    api_version=1,
)


@hookimpl
def msinet_register_devices(register: Register) -> None:
    """Bring the devices `mps`, `torch-cuda` and `torch-cpu`."""
    for spec in (MPS, CUDA, CPU):
        register(spec)
