"""Whether JAX is installed, and what it would compute on; JAX is not imported."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from msinet_core.device import Availability, Hardware, Probe
from msinet_core.hardware.host import (
    cpu_hardware,
    distribution_version,
    file_text,
    missing_requirements,
    pci_devices,
)

REQUIRES = ("jax>=0.6",)
INSTALL = 'pip install "jax>=0.6"'

PACKAGES: Mapping[str, tuple[str, ...]] = {
    "tpu": ("libtpu",),
    "gpu": ("jax-cuda13-plugin", "jax-cuda12-plugin"),
    "cpu": ("jaxlib",),
}
"""The distributions by which JAX computes on each platform; any one of them is enough."""

PLATFORMS = tuple(PACKAGES)
"""The platforms in the order in which "auto" takes the first that is here."""

EXTRAS = {"tpu": "jax[tpu]", "gpu": "jax[cuda12]"}
"""What brings the packages of a platform."""

GOOGLE = "0x1ae0"
TPUS = {
    "0x0027": "TPU v2 or v3",
    "0x0056": "TPU",
    "0x005e": "TPU v4",
    "0x0062": "TPU v5p",
    "0x0063": "TPU v5e",
    "0x006f": "TPU v6e",
    "0x0076": "TPU7x",
}
"""PCI device numbers; Google's network cards bear the same maker's number.

Source: jax/_src/hardware_utils.py.
"""

_NVIDIA_GPUS = Path("/proc/driver/nvidia/gpus")


def probe() -> Probe:
    """Look for JAX's packages, and for the hardware that they could use."""
    version = distribution_version("jax")
    missing = missing_requirements(REQUIRES)
    if missing:
        return Probe(Availability.NOT_HERE, " ".join(missing), INSTALL, version)
    platform = automatic_platform()
    idle = [name for name in PLATFORMS[: PLATFORMS.index(platform)] if HARDWARE[name]()]
    remarks = [f"Computes on the {platform.upper()}."]
    remarks += [
        f"There is a {name.upper()} too, for which JAX lacks {' or '.join(PACKAGES[name])}."
        for name in idle
    ]
    return Probe(
        Availability.INSTALLED,
        reason=" ".join(remarks),
        fix=f'pip install "{EXTRAS[idle[0]]}"' if idle else "",
        framework_version=version,
        hardware=HARDWARE[platform](),
    )


def automatic_platform() -> str:
    """Name the first platform whose packages are installed and whose hardware is here."""
    for name, packages in PACKAGES.items():
        if any(distribution_version(package) for package in packages) and HARDWARE[name]():
            return name
    return "cpu"


def tpus() -> tuple[Hardware, ...]:
    """Describe the TPU chips that are plugged into this machine, or the one it was given."""
    cards = [TPUS[card.device] for card in pci_devices(GOOGLE) if card.device in TPUS]
    named = [f"TPU {os.environ[key]}" for key in ("TPU_ACCELERATOR_TYPE",) if key in os.environ]
    return tuple(Hardware(name) for name in cards or named)


def nvidia_gpus() -> tuple[Hardware, ...]:
    """Describe the GPUs that NVIDIA's driver on Linux lists; none where it is not loaded."""
    try:
        folders = sorted(_NVIDIA_GPUS.iterdir())
    except OSError:
        return ()
    lines = [line for path in folders for line in file_text(path / "information").splitlines()]
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]
    return tuple(Hardware(name) for name in names)


HARDWARE: Mapping[str, Callable[[], tuple[Hardware, ...]]] = {
    "tpu": tpus,
    "gpu": nvidia_gpus,
    "cpu": lambda: (cpu_hardware(),),
}
"""How the hardware of each platform is found."""
