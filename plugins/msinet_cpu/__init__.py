"""The device `cpu`: TensorFlow on the processor, on every system that has TensorFlow.

This module only describes the device; it imports no framework.
"""

from __future__ import annotations

from msinet_core import Capabilities, Register, hookimpl
from msinet_cpu.probe import REQUIRES, probe
from msinet_tensorflow import CLUSTER_VARIABLE, tensorflow_spec

SPEC = tensorflow_spec(
    name="cpu",
    summary="TensorFlow on the processor",
    factory="msinet_cpu.device:CpuDevice",
    probe=probe,
    data_format="NHWC",
    requires=REQUIRES,
    priority=10,
    capabilities=Capabilities(
        precisions=("float32", "bfloat16"),
        distribution=("mirrored", "multiworker"),
        cluster_variable=CLUSTER_VARIABLE,
    ),
)


@hookimpl
def msinet_register_devices(register: Register) -> None:
    """Register the device `cpu`."""
    register(SPEC)
