"""A light module that is none: it imports what should wait until the device is opened."""

from __future__ import annotations

import h5py

from msinet_core.device import Availability, Probe


def probe() -> Probe:
    """Tell of a library that the probe needed to import."""
    return Probe(Availability.INSTALLED, framework_version=h5py.__version__)
