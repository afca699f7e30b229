"""Whether JAX is installed, and what it would compute on; JAX is not imported."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace

from msinet_core import Hardware, Probe, hardware, nvidia

REQUIRES = ("jax>=0.6",)
INSTALL = 'pip install "jax>=0.6"'

PACKAGES: Mapping[str, tuple[str, ...]] = {
    "tpu": ("libtpu",),
    "gpu": ("jax-cuda13-plugin", "jax-cuda12-plugin"),
    "cpu": ("jaxlib",),
}
"""The distributions that let JAX use each platform; any one is enough."""

PLATFORMS = tuple(PACKAGES)
"""The platforms in the order in which "auto" tries them."""

EXTRAS = {"tpu": "jax[tpu]", "gpu": "jax[cuda12]"}
"""The extra that installs a platform's packages."""

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
"""PCI device IDs; Google's network cards have the same vendor ID.

Source: jax/_src/hardware_utils.py.
"""


def probe() -> Probe:
    """Look for JAX's packages, and for the hardware that they could use."""
    found = Probe.of_packages("jax", REQUIRES, INSTALL)
    if not found.ready:
        return found
    platform = automatic_platform()
    preferred = PLATFORMS[: PLATFORMS.index(platform)]
    unused = [name for name in preferred if HARDWARE[name]()]
    remarks = [f"Uses the {platform.upper()}."]
    remarks += [
        f"To use the {name.upper()}, JAX needs {' or '.join(PACKAGES[name])}." for name in unused
    ]
    fix = f'pip install "{EXTRAS[unused[0]]}"' if unused else ""
    return replace(found, reason=" ".join(remarks), fix=fix, hardware=HARDWARE[platform]())


def automatic_platform() -> str:
    """Return the first platform whose packages and hardware are both present."""
    for name, packages in PACKAGES.items():
        if any(map(hardware.distribution_version, packages)) and HARDWARE[name]():
            return name
    return "cpu"


def tpus() -> tuple[Hardware, ...]:
    """Describe the TPU chips in this machine, or the one that its environment names."""
    chips = [TPUS[card.device] for card in hardware.pci_devices(GOOGLE) if card.device in TPUS]
    accelerator = os.environ.get("TPU_ACCELERATOR_TYPE")
    return tuple(map(Hardware, chips or ([f"TPU {accelerator}"] if accelerator else [])))


HARDWARE: Mapping[str, Callable[[], tuple[Hardware, ...]]] = {
    "tpu": tpus,
    "gpu": nvidia.nvidia_gpus,
    "cpu": lambda: (hardware.cpu_hardware(),),
}
"""How to find the hardware of each platform."""
