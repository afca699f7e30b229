"""The GPU of a Mac with Apple silicon, found without a framework."""

from __future__ import annotations

import platform
import re
import sys

from msinet_core.hardware.hardware import Hardware
from msinet_core.hardware.host import command_output


def apple_gpu() -> Hardware:
    """Describe the GPU of a Mac with Apple silicon, which shares the Mac's memory."""
    name = command_output("sysctl", "-n", "machdep.cpu.brand_string")
    memory = command_output("sysctl", "-n", "hw.memsize")
    # ioreg takes hundredths of a second, system_profiler half a second or more.
    registry = command_output("ioreg", "-r", "-d", "1", "-c", "AGXAccelerator")
    cores = re.search(r'"gpu-core-count"\s*=\s*(\d+)', registry)
    return Hardware(
        name=f"{name or 'Apple silicon'} GPU",
        cores=int(cores[1]) if cores else None,
        memory=int(memory) if memory.isdigit() else None,
    )


def no_gpu_reason(
    elsewhere: str, needs: str, oldest_macos: int, install: str
) -> tuple[str, str] | None:
    """Return why this machine has no usable Apple GPU, and the fix; None if it has one.

    Args:
        elsewhere: The reason on other systems, for example ``"Metal is Apple's"``.
        needs: The package that needs macOS.
        oldest_macos: The first supported version of macOS.
        install: The command that installs the packages.
    """
    if sys.platform != "darwin":
        return (
            f"{elsewhere}, and this is {platform.system() or sys.platform}.",
            f"On a Mac with Apple silicon: {install}",
        )
    if platform.machine() != "arm64":
        if command_output("sysctl", "-n", "sysctl.proc_translated") == "1":
            return (
                "This Python is built for Intel Macs and runs under Rosetta.",
                f"Install a Python for Apple silicon (arm64), and with it: {install}",
            )
        return (
            f"This Mac has an {platform.machine()} processor instead of Apple silicon.",
            f"On a Mac with Apple silicon: {install}",
        )
    release = platform.mac_ver()[0]
    major = release.partition(".")[0]
    if major.isdigit() and int(major) < oldest_macos:
        return (
            f"{needs} needs macOS {oldest_macos} or later, and this is macOS {release}.",
            f"Update macOS, then: {install}",
        )
    return None
