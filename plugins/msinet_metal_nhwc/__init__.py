"""The device `metal`: TensorFlow with tensorflow-metal on the GPU of a Mac, in NHWC.

This module only describes the device; it imports no framework.
"""

from __future__ import annotations

from msinet_core import Capabilities, Register, hookimpl
from msinet_metal_nhwc.probe import REQUIRES, probe
from msinet_tensorflow import tensorflow_spec

SPEC = tensorflow_spec(
    name="metal",
    summary="TensorFlow on the GPU of a Mac with Apple silicon",
    factory="msinet_metal_nhwc.device:MetalDevice",
    probe=probe,
    data_format="NHWC",
    requires=REQUIRES,
    priority=200,
    capabilities=Capabilities(
        precisions=("float32", "float16", "bfloat16"),
        deterministic=False,  # Apple does not guarantee determinism
    ),
    doctor="msinet_metal_nhwc.doctor:examine",
    untested_on="a Mac",
)


@hookimpl
def msinet_register_devices(register: Register) -> None:
    """Register the device `metal`."""
    register(SPEC)
