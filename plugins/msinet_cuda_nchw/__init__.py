"""The device `cuda`: TensorFlow on NVIDIA GPUs, in NCHW.

This module is light: it only describes the device.
"""

from __future__ import annotations

from msinet_core.device import Capabilities, DeviceOption, DeviceSpec
from msinet_core.registry.hookspecs import Register, hookimpl
from msinet_cuda_nchw.probe import REQUIRES, probe
from msinet_tensorflow import CLUSTER_VARIABLE

SPEC = DeviceSpec(
    name="cuda",
    summary="TensorFlow on NVIDIA GPUs",
    framework="TensorFlow",
    factory="msinet_cuda_nchw.device:CudaDevice",
    probe=probe,
    api_version=1,
    data_format="NCHW",
    kernel_layout="HWIO",
    requires=REQUIRES,
    priority=300,
    capabilities=Capabilities(
        training=True,
        precisions=("float32", "bfloat16", "float16"),
        distribution=("mirrored", "multiworker"),
        cluster_variable=CLUSTER_VARIABLE,
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
            "xla",
            "Whether steps are compiled with XLA: slow to begin with each image size.",
            "off",
            ("off", "on"),
        ),
    ),
    doctor="msinet_cuda_nchw.doctor:examine",
)


@hookimpl
def msinet_register_devices(register: Register) -> None:
    """Bring the device `cuda`."""
    register(SPEC)
