"""The device `jax`: JAX on CPUs, NVIDIA GPUs and TPUs. This module only describes it."""

from __future__ import annotations

from msinet_core import Capabilities, DeviceOption, DeviceSpec, Register, hookimpl

from msinet_device_jax.probe import PLATFORMS, REQUIRES, probe

SPEC = DeviceSpec(
    name="jax",
    summary="JAX on CPUs, NVIDIA GPUs and TPUs",
    framework="JAX",
    factory="msinet_device_jax.device:JaxDevice",
    probe=probe,
    api_version=1,
    data_format="NHWC",
    kernel_layout="HWIO",
    requires=REQUIRES,
    priority=5,  # below msinet's own devices: installing it changes no automatic selection
    capabilities=Capabilities(precisions=("float32", "bfloat16"), distribution=("mirrored",)),
    options=(
        DeviceOption(
            name="platform",
            summary="What JAX computes on; auto: the platform that msinet-run devices names.",
            default="auto",
            choices=("auto", *PLATFORMS),
        ),
    ),
    doctor="msinet_device_jax.doctor:examine",
    doctor_arguments=("topology", "batch-size", "image-size"),
)


@hookimpl
def msinet_register_devices(register: Register) -> None:
    """Register `jax`."""
    register(SPEC)
