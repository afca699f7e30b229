"""What ``bench`` measured on this machine, from which automatic choices are made.

The fastest rows are kept in msinet's cache folder, and count as long as the machine, msinet and
the framework's version are the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from msinet_core.device import DeviceSpec
from msinet_core.hardware.host import distribution_version
from msinet_core.hardware.machine import describe_machine, this_machine
from msinet_core.registry.probe_runner import run_probe
from msinet_core.registry.typed_json import field_problems, from_json
from msinet_core.system.files import cache_folder, write_text
from msinet_core.system.version import __version__

Work = Literal["predict", "train"]

LEARNED = ("float32", "bfloat16")
"""The precisions that are chosen automatically; float16 needs loss scaling, and is less exact."""


@dataclass(frozen=True)
class Measured:
    """How fast a device does a work in a precision, at batch size 1.

    Args:
        device: The device's name.
        precision: The precision.
        work: What it did.
        images_per_s: Its rate, with reading and writing files.
        versions: The versions of its framework, by distribution.
        date: When it was measured, in ISO format.
        machine: The machine in one line.
        msinet: The version of msinet.
    """

    device: str
    precision: str
    work: Work
    images_per_s: float
    versions: Mapping[str, str]
    date: str
    machine: str
    msinet: str = __version__

    @property
    def day(self) -> str:
        """The date without the time."""
        return self.date[:10]

    def holds(self) -> bool:
        """Return whether it was measured on this machine, with the versions of now."""
        return (
            self.images_per_s > 0
            and bool(self.day)
            and self.machine == describe_machine(this_machine())
            and self.msinet == __version__
            and all(distribution_version(name) == found for name, found in self.versions.items())
        )


def measurements_file() -> Path:
    """Return the file of measurements in the user's cache folder."""
    return cache_folder() / "bench.json"


def recall() -> list[Measured]:
    """Return the measurements that hold; none if the file is missing or damaged."""
    return [row for row in _stored() if row.holds()]


def _stored() -> list[Measured]:
    """Return all measurements of the file, which machines with the same home folder share."""
    try:
        rows = json.loads(measurements_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    found = []
    for row in rows if isinstance(rows, list) else ():
        with suppress(ValueError, TypeError):  # of another version of msinet
            found.append(from_json(Measured, row))
    return [row for row in found if not field_problems(row)]


def remember(rows: Iterable[Measured]) -> None:
    """Add measurements to the file; they replace earlier ones of the same on this machine.

    Args:
        rows: New measurements.

    Raises:
        MsinetError: The file cannot be written.
    """
    kept = {(row.machine, row.device, row.precision, row.work): row for row in (*_stored(), *rows)}
    write_text(measurements_file(), json.dumps([asdict(row) for row in kept.values()], indent=1))


def fastest_device(
    specs: Sequence[DeviceSpec], work: Work, precision: str = "auto"
) -> Measured | None:
    """Return the fastest measurement of some devices; None if nothing is known to be fastest.

    Without a measurement of the device that comes first by priority, such as a GPU that was added
    later, the others do not say which is fastest; nor does a measurement of that device alone.

    Args:
        specs: Available devices, highest priority first.
        work: What to compute.
        precision: The user's precision, or "auto".
    """
    names = [spec.name for spec in specs]
    rows = [row for row in _comparable(names, work) if precision in ("auto", row.precision)]
    measured = {row.device for row in rows}
    return _fastest(rows) if len(measured) > 1 and names[0] in measured else None


def automatic_precision(spec: DeviceSpec, precision: str, work: Work) -> tuple[str, str]:
    """Return the precision to compute in, and a sentence if "auto" did not take the device's first.

    It is the one that ``bench`` measured to be fastest, else bfloat16 where the hardware computes
    it, else the device's first.

    Args:
        spec: The device.
        precision: The user's precision, or "auto".
        work: What to compute.

    Raises:
        UsageError: The device does not support the precision.
    """
    first = spec.check_precision(precision)
    if precision != "auto":
        return first, ""
    rows = [
        row
        for row in _comparable([spec.name], work)
        if row.precision in spec.capabilities.precisions
    ]
    if len(rows) > 1:
        best = _fastest(rows)
        why = f"measured on {best.day} as the fastest on this machine"
        return best.precision, f"Precision: {best.precision}, {why}."
    hardware = run_probe(spec).hardware
    computes_bfloat16 = bool(hardware) and all(item.bfloat16 for item in hardware)
    if computes_bfloat16 and "bfloat16" in spec.capabilities.precisions:
        why = "which this hardware computes faster; --precision float32 is more exact"
        return "bfloat16", f"Precision: bfloat16, {why}."
    return first, ""


def _comparable(devices: Sequence[str], work: Work) -> list[Measured]:
    return [
        row
        for row in recall()
        if row.work == work and row.device in devices and row.precision in LEARNED
    ]


def _fastest(rows: Sequence[Measured]) -> Measured:
    return max(rows, key=lambda row: row.images_per_s)
