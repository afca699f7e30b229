"""The device `mlx`: Apple's MLX in NHWC, on the GPU of a Mac; slow on Linux.

This module is light: it only describes the device.
"""

from __future__ import annotations

from msinet_core import Capabilities, DeviceOption, DeviceSpec, Register, hookimpl
from msinet_mlx.probe import REQUIRES, is_apple_silicon, probe

ON_A_MAC, ELSEWHERE = 220, -1
"""On a Mac, preferred to metal, whose framework is no longer released. Elsewhere MLX is some sixty
times slower than other devices, so it is never selected automatically."""

SPEC = DeviceSpec(
    name="mlx",
    summary="MLX on the GPU of a Mac with Apple silicon; slow on other machines",
    framework="MLX",
    factory="msinet_mlx.device:MlxDevice",
    probe=probe,
    api_version=1,
    data_format="NHWC",
    kernel_layout="OHWI",
    requires=REQUIRES,
    priority=ON_A_MAC if is_apple_silicon() else ELSEWHERE,
    capabilities=Capabilities(precisions=("float32", "bfloat16", "float16")),
    checkpoint_format="mlx",
    doctor="msinet_mlx.doctor:examine",
    untested_on="a Mac",
    options=(
        DeviceOption(
            name="memory",
            summary="Share of the Mac's memory that MLX may use; auto: what macOS recommends.",
            default="auto",
            choices=("auto", "25%", "50%", "75%", "90%"),
        ),
        DeviceOption(
            name="cache",
            summary="How much freed memory MLX keeps for reuse; auto: all of it.",
            default="auto",
            choices=("auto", "off", "1GiB", "4GiB", "16GiB"),
        ),
        DeviceOption(
            name="wired",
            summary="Keep MLX's memory from being swapped out; macOS 15 and later.",
        ),
        DeviceOption(
            name="tf32",
            summary="Multiply float32 with TF32 precision on GPUs where it is faster.",
        ),
    ),
)


@hookimpl
def msinet_register_devices(register: Register) -> None:
    """Register `mlx`."""
    register(SPEC)
