"""Whether this is a Mac whose GPU frameworks can use; light."""

from __future__ import annotations

import platform
import sys

from msinet_core.probing import command_output


def why_no_apple_gpu(
    elsewhere: str, needs: str, oldest_macos: int, install: str
) -> tuple[str, str] | None:
    """Say why the GPU of a Mac cannot be used here, and the cure; None if nothing speaks against.

    Args:
        elsewhere: Whose it is, to be told on other systems, for example ``"Metal is Apple's"``.
        needs: What needs the macOS.
        oldest_macos: The first version of macOS that will do.
        install: The command that installs what is needed.
    """
    if sys.platform != "darwin":
        return (
            f"{elsewhere}, and this is {platform.system() or sys.platform}.",
            f"On a Mac with Apple silicon: {install}",
        )
    if platform.machine() != "arm64":
        if command_output("sysctl", "-n", "sysctl.proc_translated") == "1":
            return (
                "This Python is built for Intel Macs and runs translated by Rosetta.",
                f"Install a Python for Apple silicon (arm64), and there: {install}",
            )
        return (
            f"This Mac has a processor of type {platform.machine()}, not Apple silicon.",
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
