"""What this machine is, as results, checkpoints and logs record it."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from msinet_core.hardware.apple import apple_gpu
from msinet_core.hardware.host import cpu_hardware
from msinet_core.hardware.nvidia import nvidia_gpus, query_driver

GIBIBYTE = 2**30


@dataclass(frozen=True)
class Machine:
    """The hardware and the operating system.

    Args:
        chip: The processor's name.
        cores: The cores that this process may use; None if unknown.
        memory: The memory that this process may use, in bytes; None if unknown.
        gpus: The names of the GPUs that a framework here could use.
        driver: The version of NVIDIA's driver; empty without one.
        system: The operating system and its version.
        python: The version of Python.
    """

    chip: str
    cores: int | None
    memory: int | None
    gpus: tuple[str, ...]
    driver: str
    system: str
    python: str

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as values that JSON can hold."""
        return {**asdict(self), "gpus": list(self.gpus)}

    def describe(self) -> str:
        """Return one line, for example ``"Apple M4, 10 cores, 16 GiB, macOS 15.1"``."""
        return describe_machine(self.to_dict())


def describe_machine(machine: Mapping[str, Any]) -> str:
    """Describe a machine in one line.

    Args:
        machine: A result of `Machine.to_dict`.
    """
    memory = f"{machine['memory'] / GIBIBYTE:.0f} GiB" if machine["memory"] else ""
    cores = f"{machine['cores']} cores" if machine["cores"] else ""
    parts = [machine["chip"], cores, memory, *machine["gpus"], machine["system"]]
    return ", ".join(filter(None, parts))


@cache
def this_machine() -> Machine:
    """Describe this machine, without importing a framework."""
    cpu = cpu_hardware()
    gpus = [gpu.name for gpu in nvidia_gpus()]
    driver = query_driver() if gpus else None
    # Updates of the kernel within a version do not make it another machine.
    version = ".".join(platform.release().split(".")[:2])
    system = f"{platform.system()} {version}"
    if sys.platform == "darwin":
        system = f"macOS {platform.mac_ver()[0]}"
        gpus += [apple_gpu().name] if platform.machine() == "arm64" else []
    return Machine(
        cpu.name,
        cpu.cores,
        cpu.memory,
        tuple(gpus),
        driver.version if driver else "",
        system,
        platform.python_version(),
    )
