"""The device `tpu`: TensorFlow on Google's TPUs, in NHWC.

This module only describes the device; it imports no framework.
"""

from __future__ import annotations

from msinet_core import Capabilities, DeviceOption, Register, hookimpl
from msinet_tensorflow import tensorflow_spec
from msinet_tpu.probe import REQUIRES, probe

STEPS_PER_EXECUTION = "steps-per-execution"

SPEC = tensorflow_spec(
    name="tpu",
    summary="TensorFlow on Google's TPUs",
    factory="msinet_tpu.device:TpuDevice",
    probe=probe,
    data_format="NHWC",
    requires=REQUIRES,
    priority=400,
    capabilities=Capabilities(precisions=("bfloat16", "float32")),
    options=(
        DeviceOption(
            STEPS_PER_EXECUTION,
            "Training steps that run as one program; their losses arrive together.",
            "1",
            ("1", "2", "4", "8", "16", "32"),
        ),
    ),
    doctor="msinet_tpu.doctor:examine",
    untested_on="a TPU",
    doctor_arguments=("topology", "batch-size", "image-size"),
)


@hookimpl
def msinet_register_devices(register: Register) -> None:
    """Register the device `tpu`."""
    register(SPEC)
