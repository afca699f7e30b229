"""What the probes of all TensorFlow devices share."""

from __future__ import annotations

from collections.abc import Sequence

from msinet_core import Availability, Hardware, Probe, hardware
from msinet_tensorflow.versions import import_trouble, installed_wheels, overlap


def framework_version() -> str | None:
    """Return the version of the installed TensorFlow; None if there is none."""
    return next(iter(installed_wheels().values()), None)


def tensorflow_probe(
    requirements: Sequence[str], install: str, found: tuple[Hardware, ...]
) -> Probe:
    """Return the probe result of a device whose hardware exists, from its required packages.

    Args:
        requirements: Requirement strings (PEP 508).
        install: The command that installs them.
        found: The hardware that the device would compute on.
    """
    if trouble := import_trouble():
        return unavailable(*trouble, found)
    if missing := hardware.missing_requirements(requirements):
        return unavailable(" ".join(missing), install, found)
    warning, fix = overlap(install) or ("", "")
    return Probe(Availability.INSTALLED, warning, fix, framework_version(), found)


def unavailable(reason: str, fix: str, found: tuple[Hardware, ...] = ()) -> Probe:
    """Return the probe result of a device that cannot be used.

    Args:
        reason: A sentence.
        fix: A command, or where to run it.
        found: The hardware that the device would compute on.
    """
    return Probe(Availability.NOT_HERE, reason, fix, framework_version(), found)
