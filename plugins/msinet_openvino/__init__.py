"""The device `openvino`: prediction with OpenVINO, on the CPU or Intel's accelerators.

This module is light: it only describes the device.
"""

from __future__ import annotations

from msinet_core import Capabilities, DeviceOption, DeviceSpec, Register, hookimpl
from msinet_openvino.probe import REQUIRES, probe

SPEC = DeviceSpec(
    name="openvino",
    summary="OpenVINO on the CPU, or on Intel's GPUs and NPUs; predicts only",
    framework="OpenVINO",
    factory="msinet_openvino.device:OpenVINODevice",
    probe=probe,
    api_version=1,
    data_format="NCHW",
    kernel_layout="OIHW",
    requires=REQUIRES,
    priority=1,  # below every device that also trains
    capabilities=Capabilities(training=False, precisions=("float32", "bfloat16", "float16")),
    options=(
        DeviceOption(
            "target",
            "Compute on the CPU, on Intel's GPU or NPU, or where OpenVINO chooses (auto).",
            "cpu",
            ("cpu", "gpu", "npu", "auto"),
        ),
        DeviceOption(
            "hint",
            "Spread each image over all cores (latency), or compute several images at a time "
            "(throughput). auto: latency for single images, throughput for batches.",
            "auto",
            ("auto", "latency", "throughput"),
        ),
    ),
    doctor="msinet_openvino.doctor:examine",
)


@hookimpl
def msinet_register_devices(register: Register) -> None:
    """Register `openvino`."""
    register(SPEC)
