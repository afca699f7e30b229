"""A light module that imports a library too early."""

from __future__ import annotations

import h5py

from msinet_core.device import Availability, Probe


def probe() -> Probe:
    """Return the version of a library, which the module imported for that."""
    return Probe(Availability.INSTALLED, framework_version=h5py.__version__)
