"""Package metadata and facts about the machine, for the probes of devices.

Nothing here imports a framework, takes noticeable time or raises an error, because a probe that
fails would hide the results of all other devices.
"""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from msinet_core.hardware.hardware import Hardware
from msinet_core.system.resources import available_cores, available_memory, file_text

if TYPE_CHECKING:
    from packaging.requirements import Requirement

COMMAND_TIMEOUT = 2.0
"""The time limit of a command in seconds; the commands of probes take hundredths of one."""

_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}
_PCI_DEVICES = Path("/sys/bus/pci/devices")


class PciDevice(NamedTuple):
    """A PCI device as Linux lists it.

    Args:
        device: The device number, for example ``"0x0063"``.
        kind: The class; display controllers begin with ``"0x03"``.
    """

    device: str
    kind: str


def distribution_version(name: str) -> str | None:
    """Return the version of an installed distribution; None if it is not installed.

    Args:
        name: The name on PyPI; case and ``-``, ``_``, ``.`` do not matter.
    """
    with suppress(Exception):  # not installed, or damaged metadata
        metadata = importlib.metadata.distribution(name).metadata
        if "Version" in metadata:  # missing after an incomplete removal
            return metadata["Version"]
    return None


def missing_requirements(requirements: Sequence[str]) -> list[str]:
    """Return a sentence for each requirement that is not installed.

    Requirements whose marker does not match this machine are skipped. Extras are not checked.

    Args:
        requirements: Requirement strings (PEP 508), for example ``"tensorflow>=2.16"``.
    """
    applicable, invalid = parse_requirements(requirements)
    return [text for item in applicable for text in _shortfall(item)] + invalid


def parse_requirements(requirements: Sequence[str]) -> tuple[list[Requirement], list[str]]:
    """Return the requirements that apply to this machine, and a sentence for each invalid one.

    Args:
        requirements: Requirement strings (PEP 508).
    """
    from packaging.requirements import InvalidRequirement, Requirement

    applicable, invalid = [], []
    for text in requirements:
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            first_line = str(error).partition("\n")[0].rstrip(".")
            invalid.append(f"Invalid requirement '{text}': {first_line}.")
            continue
        if requirement.marker is None or requirement.marker.evaluate():
            applicable.append(requirement)
    return applicable, invalid


def fits(version: str, specifier: str) -> bool:
    """Return whether a version matches a specifier; an invalid version does not.

    Args:
        version: For example ``"2.21.0"``; development versions can match.
        specifier: For example ``">=2.18,<2.20"`` (PEP 440).
    """
    from packaging.specifiers import SpecifierSet
    from packaging.version import InvalidVersion

    try:
        return SpecifierSet(specifier).contains(version, prereleases=True)
    except InvalidVersion:  # some versions of packaging return False instead
        return False


def command_output(*command: str, timeout: float = COMMAND_TIMEOUT) -> str:
    """Run a command and return its output; empty if it is missing, fails or takes too long.

    Args:
        command: The program and its arguments.
        timeout: The time limit in seconds.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=True,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def pci_devices(vendor: str) -> list[PciDevice]:
    """List the PCI devices of a vendor, with or without a loaded driver; Linux only.

    Args:
        vendor: The vendor number, for example ``"0x10de"``.
    """
    try:
        folders = sorted(_PCI_DEVICES.iterdir())
    except OSError:
        return []
    return [
        PciDevice(file_text(folder / "device").strip(), file_text(folder / "class").strip())
        for folder in folders
        if file_text(folder / "vendor").strip() == vendor
    ]


def cpu_hardware() -> Hardware:
    """Describe the processor: its name, and the cores and bytes that this process may use."""
    return Hardware(
        name=_cpu_name(),
        cores=available_cores(),
        memory=available_memory(),
        bfloat16=computes_bfloat16(),
    )


def computes_bfloat16() -> bool:
    """Return whether the processor has instructions for bfloat16: AVX512-BF16 or AMX."""
    return not _BFLOAT16_FLAGS.isdisjoint(_cpuinfo("flags").split())


def _shortfall(requirement: Requirement) -> list[str]:
    version = distribution_version(requirement.name)
    specifier = str(requirement.specifier)
    if version is None:
        needs = f" (needs {specifier})" if specifier else ""
        return [f"{requirement.name} is not installed{needs}."]
    if not specifier or fits(version, specifier):
        return []
    return [f"{requirement.name} {version} is installed, but {specifier} is required."]


def _cpu_name() -> str:
    name = _cpuinfo("model name")
    if not name and sys.platform == "darwin":
        name = command_output("sysctl", "-n", "machdep.cpu.brand_string")
    return name or platform.processor() or platform.machine() or "CPU"


def _cpuinfo(key: str) -> str:
    for line in file_text(Path("/proc/cpuinfo")).splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""
