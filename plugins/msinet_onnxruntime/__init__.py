"""The device `onnxruntime`: prediction with ONNX Runtime and its execution providers.

This module is light: it only describes the device.
"""

from __future__ import annotations

from msinet_core import Capabilities, DeviceOption, DeviceSpec, Register, hookimpl
from msinet_onnxruntime.probe import probe, requirements

SPEC = DeviceSpec(
    name="onnxruntime",
    summary="ONNX Runtime on the CPU, or on another execution provider; predicts only",
    framework="ONNX Runtime",
    factory="msinet_onnxruntime.device:OnnxRuntimeDevice",
    probe=probe,
    api_version=1,
    data_format="NCHW",
    kernel_layout="OIHW",
    requires=requirements(),
    priority=0,  # below openvino, which is faster on most CPUs
    capabilities=Capabilities(training=False),
    options=(
        DeviceOption(
            "provider",
            "Compute with this execution provider and no other; each but cpu needs a build of "
            "ONNX Runtime that has it.",
            "cpu",
            ("cpu", "coreml", "cuda", "tensorrt", "directml", "openvino", "qnn"),
        ),
    ),
    checkpoint_format="onnx",
    doctor="msinet_onnxruntime.doctor:examine",
)


@hookimpl
def msinet_register_devices(register: Register) -> None:
    """Register `onnxruntime`."""
    register(SPEC)
