"""The parts that the probes of all TensorFlow devices share."""

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
    availability, reason, fix = Availability.INSTALLED, "", ""
    if trouble := import_trouble():
        availability, reason, fix = Availability.NOT_HERE, trouble.reason, trouble.fix
    elif missing := hardware.missing_requirements(requirements):
        availability, reason, fix = Availability.NOT_HERE, " ".join(missing), install
    elif remark := overlap(install):
        reason, fix = remark.reason, remark.fix
    return Probe(availability, reason, fix, framework_version(), found)


def hardware_missing(reason: str, fix: str) -> Probe:
    """Return the probe result of a device whose hardware or platform is missing.

    Args:
        reason: A sentence.
        fix: Where to go, with the command to run there.
    """
    return Probe(Availability.NOT_HERE, reason, fix, framework_version())
