"""The device `mlx`: Apple's MLX on the GPU of a Mac, in NHWC; slowly also on Linux.

This module is light: it only describes the device.
"""

from __future__ import annotations

from msinet_core.apple import is_apple_silicon
from msinet_core.device import Capabilities, DeviceSpec
from msinet_core.hookspecs import Register, hookimpl
from msinet_mlx.probe import REQUIRES, probe

ON_A_MAC, ELSEWHERE = 220, -1
"""On a Mac before metal, whose framework is no longer released. Elsewhere MLX computes, but some
sixty times slower than others do: nobody gets it without asking."""

SPEC = DeviceSpec(
    name="mlx",
    summary="MLX on the GPU of a Mac with Apple silicon; slow on other processors",
    framework="MLX",
    factory="msinet_mlx.device:MlxDevice",
    probe=probe,
    api_version=1,
    data_format="NHWC",
    kernel_layout="OHWI",
    requires=REQUIRES,
    priority=ON_A_MAC if is_apple_silicon() else ELSEWHERE,
    capabilities=Capabilities(training=True, precisions=("float32", "bfloat16", "float16")),
)


@hookimpl
def msinet_register_devices(register: Register) -> None:
    """Bring the device `mlx`."""
    register(SPEC)
