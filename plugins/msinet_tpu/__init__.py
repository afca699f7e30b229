"""The device `tpu`: TensorFlow on Google's TPUs, in NHWC.

This module only describes the device; it imports no framework.
"""

from __future__ import annotations

from msinet_core import Capabilities, DeviceOption, DeviceSpec, Register, hookimpl
from msinet_tensorflow import CHECKPOINT_FORMATS
from msinet_tpu.probe import REQUIRES, probe

STEPS_PER_EXECUTION = "steps-per-execution"

SPEC = DeviceSpec(
    name="tpu",
    summary="TensorFlow on Google's TPUs",
    framework="TensorFlow",
    factory="msinet_tpu.device:TpuDevice",
    probe=probe,
    api_version=1,
    data_format="NHWC",
    kernel_layout="HWIO",
    requires=REQUIRES,
    priority=400,
    checkpoint_format="keras",
    checkpoint_formats=CHECKPOINT_FORMATS,
    capabilities=Capabilities(training=True, precisions=("bfloat16", "float32")),
    options=(
        DeviceOption(
            STEPS_PER_EXECUTION,
            "Training steps that run as one program; their losses arrive together.",
            "1",
            ("1", "2", "4", "8", "16", "32"),
        ),
    ),
    doctor="msinet_tpu.doctor:examine",
    doctor_arguments=("topology", "batch-size", "image-size"),
)


@hookimpl
def msinet_register_devices(register: Register) -> None:
    """Register the device `tpu`."""
    register(SPEC)
