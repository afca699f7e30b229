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
    name = os.environ.get("TPU_ACCELERATOR_TYPE")
    return hardware.tpu_chips() or ((Hardware(f"TPU {name}", bfloat16=True),) if name else ())


HARDWARE: Mapping[str, Callable[[], tuple[Hardware, ...]]] = {
    "tpu": tpus,
    "gpu": nvidia.nvidia_gpus,
    "cpu": lambda: (hardware.cpu_hardware(),),
}
"""How to find the hardware of each platform."""
