"""The device `metal`: TensorFlow with tensorflow-metal on the GPU of a Mac, in NHWC.

This module is light: it only describes the device.
"""

from __future__ import annotations

from msinet_core.device import Capabilities, DeviceSpec
from msinet_core.registry.hookspecs import Register, hookimpl
from msinet_metal_nhwc.probe import REQUIRES, probe

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
    capabilities=Capabilities(
        training=True,
        precisions=("float32", "float16", "bfloat16"),
        deterministic=False,  # Apple's kernels do not promise it
    ),
    doctor="msinet_metal_nhwc.doctor:examine",
)


@hookimpl
def msinet_register_devices(register: Register) -> None:
    """Bring the device `metal`."""
    register(SPEC)
