"""What the probes of TensorFlow devices share; light."""

from __future__ import annotations

from collections.abc import Sequence

from msinet_core.device import Availability, Hardware, Probe
from msinet_core.hardware.host import missing_requirements
from msinet_tensorflow.versions import import_trouble, installed_wheels, overlap


def framework_version() -> str | None:
    """Return the version of the installed TensorFlow; None if there is none."""
    return next(iter(installed_wheels().values()), None)


def tensorflow_probe(
    requirements: Sequence[str], install: str, hardware: tuple[Hardware, ...]
) -> Probe:
    """Answer for a device whose hardware is here, from the packages that it needs.

    Args:
        requirements: Requirement strings (PEP 508).
        install: The command that installs them.
        hardware: What the device would compute on.
    """
    availability, reason, fix = Availability.INSTALLED, "", ""
    if trouble := import_trouble():
        availability, reason, fix = Availability.NOT_HERE, trouble.reason, trouble.fix
    elif missing := missing_requirements(requirements):
        availability, reason, fix = Availability.NOT_HERE, " ".join(missing), install
    elif remark := overlap(install):
        reason, fix = remark.reason, remark.fix
    return Probe(availability, reason, fix, framework_version(), hardware)


def hardware_missing(reason: str, fix: str) -> Probe:
    """Answer for a device whose hardware or platform is not here.

    Args:
        reason: A sentence.
        fix: Where to go, with the command to run there.
    """
    return Probe(Availability.NOT_HERE, reason, fix, framework_version())
