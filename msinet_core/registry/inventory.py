"""What this machine can compute on: every device with its status, reason and fix."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from msinet_core.device import Availability, DeviceSpec, Probe
from msinet_core.registry.registry import Registration, Registry, conflict_message, run_probe

CHECK_TIMEOUT = 900.0
"""Seconds after which a device that is being checked counts as hanging."""


@dataclass(frozen=True)
class DeviceEntry:
    """One device as ``msinet-run devices`` shows it.

    Args:
        spec: Its description.
        plugin: Who brought it, for people.
        probe: What its probe answered, or what a check found.
        checked: Whether a check ran.
        failed: The conformance rows that failed, a sentence each; empty without a check.
    """

    spec: DeviceSpec
    plugin: str
    probe: Probe
    checked: bool = False
    failed: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        """``not here``, ``installed``, ``verified``, or ``failed its check``."""
        return "failed its check" if self.failed else self.probe.availability.value

    def to_dict(self) -> Mapping[str, Any]:
        """Return what ``--json`` prints for this device."""
        return {
            "name": self.spec.name,
            "aliases": list(self.spec.aliases),
            "summary": self.spec.summary,
            "framework": self.spec.framework,
            "framework_version": self.probe.framework_version,
            "data_format": self.spec.data_format,
            "kernel_layout": self.spec.kernel_layout,
            "precisions": list(self.spec.capabilities.precisions),
            "training": self.spec.capabilities.training,
            "distribution": list(self.spec.capabilities.distribution),
            "options": [asdict(option) for option in self.spec.options],
            "requires": list(self.spec.requires),
            "priority": self.spec.priority,
            "hardware": [asdict(item) for item in self.probe.hardware],
            "status": self.status,
            "reason": self.probe.reason,
            "fix": self.probe.fix,
            "failed_checks": list(self.failed),
            "plugin": self.plugin,
        }


def take_inventory(registry: Registry, only: DeviceSpec | None = None) -> list[DeviceEntry]:
    """Probe every device, highest priority first; import no framework.

    Args:
        registry: The devices.
        only: One of them, to leave the others alone.
    """
    return [
        _look_at(registration, registry)
        for registration in registry.registrations
        if only is None or registration.spec is only
    ]


def _look_at(registration: Registration, registry: Registry) -> DeviceEntry:
    spec = registration.spec
    claims = registry.conflicts.get(spec.name)
    if claims:
        probe = Probe(Availability.NOT_HERE, reason=conflict_message(spec.name, claims))
    else:
        probe = run_probe(spec)
    return DeviceEntry(spec, str(registration.plugin), probe)


def check_device(entry: DeviceEntry) -> DeviceEntry:
    """Prove a ready device against the reference, in a process of its own.

    A device that crashes, hangs or answers nonsense fails its check; this process goes on.

    Args:
        entry: As `take_inventory` made it; returned as it is when the device is not ready.
    """
    if not entry.probe.ready:
        return entry
    command = [sys.executable, "-m", "msinet_core.conformance", entry.spec.name, "--json"]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=CHECK_TIMEOUT,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return _failed(entry, [f"It did not finish within {CHECK_TIMEOUT:.0f} s."])
    try:
        report = json.loads(done.stdout)
        failed = [_describe(row) for row in report["rows"] if row["passed"] is False]
        count = sum(row["passed"] is True for row in report["rows"])
    except (ValueError, KeyError, TypeError):
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        return _failed(entry, [f"The check ended with exit code {done.returncode}: {last}"])
    if failed or not count:
        return _failed(entry, failed or ["It ran no row."])
    remark = f"{count} of {count} checks agree with the reference ({report['seconds']:.0f} s)."
    reason = f"{entry.probe.reason} {remark}".strip()
    probe = replace(entry.probe, availability=Availability.VERIFIED, reason=reason)
    return replace(entry, probe=probe, checked=True)


def _failed(entry: DeviceEntry, failed: Sequence[str]) -> DeviceEntry:
    reason = f"{len(failed)} checks against the reference failed; the first: {failed[0]}"
    return replace(
        entry, probe=replace(entry.probe, reason=reason), checked=True, failed=tuple(failed)
    )


def _describe(row: Mapping[str, Any]) -> str:
    return f"{row['id']}: {row['description']} {row['reason']}".strip()
