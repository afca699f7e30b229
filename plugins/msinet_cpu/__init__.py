"""The device `cpu`: TensorFlow on the processor, on every system that has TensorFlow.

This module only describes the device; it imports no framework.
"""

from __future__ import annotations

from msinet_core import Capabilities, DeviceSpec, Register, hookimpl
from msinet_cpu.probe import REQUIRES, probe
from msinet_tensorflow import CHECKPOINT_FORMATS, CLUSTER_VARIABLE

SPEC = DeviceSpec(
    name="cpu",
    summary="TensorFlow on the processor",
    framework="TensorFlow",
    factory="msinet_cpu.device:CpuDevice",
    probe=probe,
    api_version=1,
    data_format="NHWC",
    kernel_layout="HWIO",
    requires=REQUIRES,
    priority=10,
    checkpoint_format="keras",
    checkpoint_formats=CHECKPOINT_FORMATS,
    capabilities=Capabilities(
        training=True,
        precisions=("float32", "bfloat16"),
        distribution=("mirrored", "multiworker"),
        cluster_variable=CLUSTER_VARIABLE,
    ),
)


@hookimpl
def msinet_register_devices(register: Register) -> None:
    """Register the device `cpu`."""
    register(SPEC)
