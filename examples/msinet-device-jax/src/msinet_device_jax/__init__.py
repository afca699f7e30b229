"""The device `jax`: JAX on processors, NVIDIA GPUs and TPUs. This module only describes it."""

from __future__ import annotations

from msinet_core.device import Capabilities, DeviceOption, DeviceSpec
from msinet_core.registry.hookspecs import Register, hookimpl

from msinet_device_jax.probe import PLATFORMS, REQUIRES, probe

PLATFORM = DeviceOption(
    name="platform",
    summary="What JAX computes on; auto is the one that msinet-run devices names.",
    default="auto",
    choices=("auto", *PLATFORMS),
)

SPEC = DeviceSpec(
    name="jax",
    summary="JAX on processors, NVIDIA GPUs and TPUs",
    framework="JAX",
    factory="msinet_device_jax.device:JaxDevice",
    probe=probe,
    api_version=1,
    data_format="NHWC",
    kernel_layout="HWIO",
    requires=REQUIRES,
    priority=5,  # below msinet's own devices: to install it changes nobody's automatic choice
    capabilities=Capabilities(training=True, precisions=("float32", "bfloat16")),
    options=(PLATFORM,),
    doctor="msinet_device_jax.doctor:examine",
    doctor_arguments=("topology", "batch-size", "image-size"),
)


@hookimpl
def msinet_register_devices(register: Register) -> None:
    """Bring the device `jax`."""
    register(SPEC)
