"""Check, from package metadata alone, which TensorFlow is installed and whether it can be imported.

An incompatible tensorflow-metal makes ``import tensorflow`` itself raise NotFoundError, so that no
TensorFlow device works, not even `cpu`. This check therefore runs before the import.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping

from msinet_core import DeviceUnavailableError, hardware

WHEELS = (
    "tensorflow",
    "tensorflow-cpu",
    "tensorflow-tpu",
    "tensorflow-rocm",
    "tf-nightly",
    "tf-nightly-cpu",
)
"""The distributions of the package ``tensorflow``; each overwrites the files of the others."""

METAL = "tensorflow-metal"


METAL_RELEASES = (
    ("<1.2", ">=2.15.1,<2.18", "2.15.1 to 2.17"),
    (">=1.2,<1.3", ">=2.15.1,<2.20", "2.18 or 2.19"),
)
"""Versions of tensorflow-metal, the compatible versions of TensorFlow, and those that messages
name. Oldest first; later releases are assumed to be compatible.

Source: symbols and install names in the wheels for macOS arm64. 1.1.0 needs a LogMessage symbol of
tsl that TensorFlow 2.18 removed; 1.2.0 needs @rpath/_pywrap_tensorflow_internal.so, which 2.20
removed. 1.2.0 also works with 2.15.1 to 2.17, but msinet has no kernel table for those.
"""

METAL_TENSORFLOW = "tensorflow>=2.18,<2.20"
"""The requirement of the metal device: the versions whose Metal kernels are known."""


Trouble = tuple[str, str]
"""A sentence that says why TensorFlow cannot be imported, and the command that fixes it."""


def installed_wheels() -> Mapping[str, str]:
    """Return the version of each installed TensorFlow distribution."""
    found = {name: hardware.distribution_version(name) for name in WHEELS}
    return {name: version for name, version in found.items() if version}


def import_trouble() -> Trouble | None:
    """Return why ``import tensorflow`` would fail, from package metadata; None if it would not."""
    return _metal_trouble() or _lost_files()


def check_versions() -> None:
    """Raise an error if TensorFlow cannot be imported.

    Raises:
        DeviceUnavailableError: Names the reason and the command that fixes it.
    """
    if trouble := import_trouble():
        reason, fix = trouble
        raise DeviceUnavailableError(f"TensorFlow cannot be imported: {reason} Run: {fix}")


def overlap(install: str) -> Trouble | None:
    """Return the problem that several TensorFlow distributions overwrite each other, if any.

    Args:
        install: The command that installs the right one.
    """
    wheels = installed_wheels()
    if len(wheels) < 2:
        return None
    names = " and ".join(f"{name} {version}" for name, version in wheels.items())
    return (
        f"{names} overwrite each other's files; which one gets imported is unpredictable.",
        f"pip uninstall --yes {' '.join(wheels)} && {install}",
    )


def _metal_trouble() -> Trouble | None:
    metal, wheels = hardware.distribution_version(METAL), installed_wheels()
    if metal is None:
        return None
    for releases, compatible, recommended in METAL_RELEASES:
        for name, version in wheels.items() if hardware.fits(metal, releases) else ():
            if not hardware.fits(version, compatible):
                return (
                    f"{METAL} {metal} is incompatible with {name} {version} (needs {recommended}).",
                    _metal_fix(metal),
                )
    return None


def _metal_fix(metal: str) -> str:
    if sys.version_info >= (3, 13):  # there is no wheel of a compatible TensorFlow
        return f"pip uninstall --yes {METAL}"
    newer = "" if hardware.fits(metal, METAL_RELEASES[-1][0]) else f' "{METAL}==1.2.*"'
    return f'pip install "{METAL_TENSORFLOW}"{newer}'


def _lost_files() -> Trouble | None:
    """Find a TensorFlow whose files were removed by uninstalling another distribution."""
    wheels = installed_wheels()
    if not wheels:
        return None
    try:
        spec = importlib.util.find_spec("tensorflow")
    except (ImportError, ValueError):
        spec = None
    if spec is not None and spec.origin is not None:
        return None
    name, version = next(iter(wheels.items()))
    return (
        f"{name} {version} is recorded as installed, but its files are missing.",
        f'pip install --force-reinstall --no-deps "{name}=={version}"',
    )
