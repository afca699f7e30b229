"""Check, from package metadata alone, which TensorFlow is installed and whether it can be imported.

An incompatible tensorflow-metal makes ``import tensorflow`` itself raise NotFoundError, so that no
TensorFlow device works, not even `cpu`. This check therefore runs before the import.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass

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


@dataclass(frozen=True)
class MetalRelease:
    """A release of tensorflow-metal and the versions of TensorFlow that it is compatible with.

    Args:
        releases: The versions of tensorflow-metal (PEP 440).
        tensorflow: The compatible versions of TensorFlow (PEP 440).
        recommended: The versions that messages name.
    """

    releases: str
    tensorflow: str
    recommended: str


METAL_RELEASES = (
    MetalRelease("<1.2", tensorflow=">=2.15.1,<2.18", recommended="2.15.1 to 2.17"),
    MetalRelease(">=1.2,<1.3", tensorflow=">=2.15.1,<2.20", recommended="2.18 or 2.19"),
)
"""Oldest first; later releases are assumed to be compatible.

Source: symbols and install names in the wheels for macOS arm64. 1.1.0 needs a LogMessage symbol of
tsl that TensorFlow 2.18 removed; 1.2.0 needs @rpath/_pywrap_tensorflow_internal.so, which 2.20
removed. 1.2.0 also works with 2.15.1 to 2.17, but msinet has no kernel table for those.
"""

METAL_TENSORFLOW = "tensorflow>=2.18,<2.20"
"""The requirement of the metal device: the versions whose Metal kernels are known."""


@dataclass(frozen=True)
class Trouble:
    """Why TensorFlow cannot be imported.

    Args:
        reason: A sentence.
        fix: A command.
    """

    reason: str
    fix: str


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
    trouble = import_trouble()
    if trouble:
        raise DeviceUnavailableError(
            f"TensorFlow cannot be imported: {trouble.reason} Run: {trouble.fix}"
        )


def overlap(install: str) -> Trouble | None:
    """Return the problem that several TensorFlow distributions overwrite each other, if any.

    Args:
        install: The command that installs the right one.
    """
    wheels = installed_wheels()
    if len(wheels) < 2:
        return None
    names = " and ".join(f"{name} {version}" for name, version in wheels.items())
    return Trouble(
        f"{names} overwrite each other's files; which one gets imported is unpredictable.",
        f"pip uninstall --yes {' '.join(wheels)} && {install}",
    )


def _metal_trouble() -> Trouble | None:
    metal, wheels = hardware.distribution_version(METAL), installed_wheels()
    if metal is None:
        return None
    release = next(
        (entry for entry in METAL_RELEASES if hardware.fits(metal, entry.releases)), None
    )
    for name, version in wheels.items():
        if release is not None and not hardware.fits(version, release.tensorflow):
            return Trouble(
                f"{METAL} {metal} is incompatible with {name} {version} "
                f"(needs {release.recommended}).",
                _metal_fix(release),
            )
    return None


def _metal_fix(release: MetalRelease) -> str:
    if sys.version_info >= (3, 13):  # there is no wheel of a compatible TensorFlow
        return f"pip uninstall --yes {METAL}"
    newer = f' "{METAL}==1.2.*"' if release is not METAL_RELEASES[-1] else ""
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
    return Trouble(
        f"{name} {version} is recorded as installed, but its files are missing.",
        f'pip install --force-reinstall --no-deps "{name}=={version}"',
    )
