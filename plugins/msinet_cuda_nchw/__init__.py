"""The device `cuda`: TensorFlow on NVIDIA GPUs, in NCHW.

This module only describes the device; it imports no framework.
"""

from __future__ import annotations

from msinet_core import Capabilities, DeviceOption, Register, hookimpl
from msinet_cuda_nchw.probe import REQUIRES, probe
from msinet_tensorflow import CLUSTER_VARIABLE, tensorflow_spec

SPEC = tensorflow_spec(
    name="cuda",
    summary="TensorFlow on NVIDIA GPUs",
    factory="msinet_cuda_nchw.device:CudaDevice",
    probe=probe,
    data_format="NCHW",
    requires=REQUIRES,
    priority=300,
    capabilities=Capabilities(
        precisions=("float32", "bfloat16", "float16"),
        distribution=("mirrored", "multiworker"),
        cluster_variable=CLUSTER_VARIABLE,
        deterministic=False,  # cuDNN sums some gradients in a nondeterministic order
    ),
    options=(
        DeviceOption(
            "tf32",
            "Round float32 inputs of products to TF32 (10-bit mantissa): faster, less exact.",
        ),
        DeviceOption(
            "xla",
            "Compile steps with XLA; compiling takes a while for each new image size.",
        ),
    ),
    doctor="msinet_cuda_nchw.doctor:examine",
    untested_on="an NVIDIA GPU",
)


@hookimpl
def msinet_register_devices(register: Register) -> None:
    """Register the device `cuda`."""
    register(SPEC)
