"""What this machine is, as results, checkpoints and logs record it."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from functools import cache
from typing import Any

from msinet_core.hardware.apple import apple_gpu
from msinet_core.hardware.hardware import Hardware
from msinet_core.hardware.host import cpu_hardware
from msinet_core.hardware.nvidia import nvidia_gpus, query_driver


def describe_machine(machine: Mapping[str, Any]) -> str:
    """Describe a machine in one line, for example ``"Apple M4, 10 cores, 16 GiB, macOS 15.1"``.

    Args:
        machine: A result of `this_machine`.
    """
    chip = Hardware(machine["chip"], machine["cores"], machine["memory"]).describe()
    return ", ".join(filter(None, [chip, *machine["gpus"], machine["system"]]))


@cache
def this_machine() -> Mapping[str, Any]:
    """Describe this machine as values that JSON can hold, without importing a framework.

    Returns:
        The processor's name (``chip``), the ``cores`` and the ``memory`` in bytes that this process
        may use, the names of the ``gpus`` that a framework here could use, the version of NVIDIA's
        ``driver`` (empty without one), the operating ``system`` and the version of ``python``.
    """
    cpu = cpu_hardware()
    gpus = [gpu.name for gpu in nvidia_gpus()]
    driver = query_driver() if gpus else None
    # Updates of the kernel within a version do not make it another machine.
    version = ".".join(platform.release().split(".")[:2])
    system = f"{platform.system()} {version}"
    if sys.platform == "darwin":
        system = f"macOS {platform.mac_ver()[0]}"
        gpus += [apple_gpu().name] if platform.machine() == "arm64" else []
    return {
        "chip": cpu.name,
        "cores": cpu.cores,
        "memory": cpu.memory,
        "gpus": gpus,
        "driver": driver.version if driver else "",
        "system": system,
        "python": platform.python_version(),
    }
