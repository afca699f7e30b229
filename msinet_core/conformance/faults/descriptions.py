"""Faults in the description, the probe and opening."""

from __future__ import annotations

import dataclasses
import subprocess
import time
from collections.abc import Mapping
from typing import Any

from msinet_core.conformance.faults.fault import FaultyDevice
from msinet_core.conformance.faults.ops import gradient_off_by_a_factor
from msinet_core.device import Availability, Capabilities, DeviceSpec, Probe
from msinet_core.network import ops
from msinet_core.reference import SPEC
from msinet_core.reference.device import ReferenceDevice


def _wrong(**changes: Any) -> DeviceSpec:
    return dataclasses.replace(SPEC, name="wrong", **changes)


def unknown_kernel_layout() -> DeviceSpec:
    """Describe a kernel layout with an unknown axis."""
    return _wrong(kernel_layout="HWIX")


def heavy_light_module() -> DeviceSpec:
    """Define the probe in a module that imports a heavy library."""
    from msinet_core.conformance.faults import heavy

    return _wrong(probe=heavy.probe)


def _importing_probe() -> Probe:
    from msinet_core.conformance.faults import heavy

    return heavy.probe()


def heavy_probe() -> DeviceSpec:
    """Import a heavy library in the probe."""
    return _wrong(probe=_importing_probe)


def _probe_by_command() -> Probe:
    done = subprocess.run(["uname"], capture_output=True, check=True)
    return Probe(Availability.INSTALLED, reason=done.stdout.decode())


def probe_raises_without_commands() -> DeviceSpec:
    """Raise in the probe if a command is missing."""
    return _wrong(probe=_probe_by_command)


def _sleeping_probe() -> Probe:
    time.sleep(2.05)
    return Probe(Availability.INSTALLED)


def slow_probe() -> DeviceSpec:
    """Take more than two seconds in the probe."""
    return _wrong(probe=_sleeping_probe)


def no_factory() -> DeviceSpec:
    """Name a class that does not exist."""
    return _wrong(factory=f"{__name__}:Missing")


def _absent_probe() -> Probe:
    return Probe(Availability.NOT_HERE, reason="no NPU found", fix="install one")


def opens_although_unavailable() -> DeviceSpec:
    """Open although the probe says that the device is unavailable."""
    return _wrong(probe=_absent_probe)


def computes_elsewhere() -> DeviceSpec:
    """Require a library, and compute without it if it is missing."""
    return _wrong(requires=("h5py>=3",))


THREE_PRECISIONS = Capabilities(precisions=("float32", "bfloat16", "float16"))


class OtherPrecision(ReferenceDevice):
    """Opens in float32 in every precision, and says so."""

    def __init__(
        self, spec: DeviceSpec, precision: str, options: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(spec, "float32", options)


def other_precision() -> DeviceSpec:
    """Offer three precisions, and open in one."""
    return _wrong(factory=f"{__name__}:OtherPrecision", capabilities=THREE_PRECISIONS)


def one_precision() -> DeviceSpec:
    """Offer three precisions, report the requested one, and compute in float32."""
    return _wrong(capabilities=THREE_PRECISIONS)


class SummedOverDevices(FaultyDevice):
    """Sums the gradients of its devices without dividing."""

    def __init__(
        self,
        spec: DeviceSpec,
        precision: str,
        options: Mapping[str, str] | None = None,
        distribute: str = "none",
    ) -> None:
        wrong = gradient_off_by_a_factor(ops.Conv2D).layer_builders
        super().__init__(wrong if distribute != "none" else None)
        self.spec = spec


def gradients_summed_over_devices() -> DeviceSpec:
    """Scale gradients when opened to distribute."""
    return _wrong(
        factory=f"{__name__}:SummedOverDevices",
        capabilities=Capabilities(distribution=("mirrored",)),
    )
