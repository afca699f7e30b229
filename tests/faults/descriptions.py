"""Faults in the description, the probe and opening."""

from __future__ import annotations

import dataclasses
import subprocess
import time
from collections.abc import Mapping
from typing import Any

from msinet_core.device import Availability, Capabilities, DeviceSpec, Probe
from msinet_core.network import ops
from msinet_core.reference import SPEC
from msinet_core.reference.device import ReferenceDevice
from tests.faults.change import scaled_gradient
from tests.faults.fault import Faults, FaultyDevice

FAULTS = Faults()


def _wrong(**changes: Any) -> DeviceSpec:
    return dataclasses.replace(SPEC, name="wrong", **changes)


@FAULTS.device("Unknown kernel layout HWIX", "description/valid")
def unknown_kernel_layout() -> DeviceSpec:
    """Describe a kernel layout with an unknown axis."""
    return _wrong(kernel_layout="HWIX")


@FAULTS.device("Light module imports a heavy library", "description/imports")
def heavy_light_module() -> DeviceSpec:
    """Define the probe in a module that imports a heavy library."""
    from tests.faults import heavy

    return _wrong(probe=heavy.probe)


def _importing_probe() -> Probe:
    from tests.faults import heavy

    return heavy.probe()


@FAULTS.device("Probe imports a heavy library", "description/probe-imports")
def heavy_probe() -> DeviceSpec:
    """Import a heavy library in the probe."""
    return _wrong(probe=_importing_probe)


def _probe_by_command() -> Probe:
    done = subprocess.run(["uname"], capture_output=True, check=True)
    return Probe(Availability.INSTALLED, reason=done.stdout.decode())


@FAULTS.device("Probe raises if a command is missing", "description/probe-result")
def probe_raises_without_commands() -> DeviceSpec:
    """Raise in the probe if a command is missing."""
    return _wrong(probe=_probe_by_command)


def _silent_probe() -> Probe:
    return Probe(Availability.NOT_HERE)


@FAULTS.device("Probe gives neither reason nor fix", "description/probe-result")
def silent_probe() -> DeviceSpec:
    """Say only that the device is unavailable."""
    return _wrong(probe=_silent_probe)


def _sleeping_probe() -> Probe:
    time.sleep(2.05)
    return Probe(Availability.INSTALLED)


@FAULTS.device("Probe takes two seconds", "description/probe-time")
def slow_probe() -> DeviceSpec:
    """Take more than two seconds in the probe."""
    return _wrong(probe=_sleeping_probe)


@FAULTS.device("Factory names no class", "device/opens")
def no_factory() -> DeviceSpec:
    """Name a class that does not exist."""
    return _wrong(factory=f"{__name__}:Missing")


def _absent_probe() -> Probe:
    return Probe(Availability.NOT_HERE, reason="no NPU found", fix="install one")


@FAULTS.device("Opens although its probe says unavailable", "device/unavailable")
def opens_although_unavailable() -> DeviceSpec:
    """Open although the probe says that the device is unavailable."""
    return _wrong(probe=_absent_probe)


@FAULTS.device("Computes with something else if its framework is missing", "device/no-fallback")
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


@FAULTS.device("Opens in float32 in every precision", "device/bfloat16", "device/float16")
def other_precision() -> DeviceSpec:
    """Offer three precisions, and open in one."""
    return _wrong(factory=f"{__name__}:OtherPrecision", capabilities=THREE_PRECISIONS)


@FAULTS.device("Computes in float32 in every precision", "device/bfloat16", "device/float16")
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
        wrong = scaled_gradient(ops.Conv2D).layer_builders
        super().__init__(wrong if distribute != "none" else None)
        self.spec = spec


@FAULTS.device("Gradients of several devices not averaged", "device/distribute")
def gradients_summed_over_devices() -> DeviceSpec:
    """Scale gradients when opened to distribute."""
    return _wrong(
        factory=f"{__name__}:SummedOverDevices",
        capabilities=Capabilities(distribution=("mirrored",)),
    )
