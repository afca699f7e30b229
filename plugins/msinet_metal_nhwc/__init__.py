"""The device `metal`: TensorFlow with tensorflow-metal on the GPU of a Mac, in NHWC.

This module only describes the device; it imports no framework.
"""

from __future__ import annotations

from msinet_core import Capabilities, DeviceSpec, Register, hookimpl
from msinet_metal_nhwc.probe import REQUIRES, probe
from msinet_tensorflow import CHECKPOINT_FORMATS

SPEC = DeviceSpec(
    name="metal",
    summary="TensorFlow on the GPU of a Mac with Apple silicon",
    framework="TensorFlow",
    factory="msinet_metal_nhwc.device:MetalDevice",
    probe=probe,
    api_version=1,
    data_format="NHWC",
    kernel_layout="HWIO",
    requires=REQUIRES,
    priority=200,
    checkpoint_format="keras",
    checkpoint_formats=CHECKPOINT_FORMATS,
    capabilities=Capabilities(
        training=True,
        precisions=("float32", "float16", "bfloat16"),
        deterministic=False,  # Apple does not guarantee determinism
    ),
    doctor="msinet_metal_nhwc.doctor:examine",
)


@hookimpl
def msinet_register_devices(register: Register) -> None:
    """Register the device `metal`."""
    register(SPEC)
