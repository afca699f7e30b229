"""What this machine can compute on: every device with its status, and why or how to fix it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from msinet_core.device import Availability, DeviceSpec, Probe
from msinet_core.errors import counted
from msinet_core.registry.probe_runner import run_probe
from msinet_core.registry.registry import Registration, Registry, conflict_message, load_registry
from msinet_core.system.child_process import run_python
from msinet_core.system.progress import Progress
from msinet_core.system.progress_bars import as_progress

CHECK_TIMEOUT = 900.0
"""Seconds after which a device that is being checked counts as hanging."""


@dataclass(frozen=True)
class DeviceEntry:
    """One device of this machine.

    Args:
        spec: Its description.
        plugin: The plugin that registered it, for people.
        probe: The result of its probe, or of a check.
        failed: The conformance rows that failed, one sentence each; empty without a check.
    """

    spec: DeviceSpec
    plugin: str
    probe: Probe
    failed: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The device's name, as ``load(..., device=NAME)`` takes it."""
        return self.spec.name

    @property
    def status(self) -> str:
        """``not here``, ``installed``, ``verified``, or ``failed its check``."""
        return "failed its check" if self.failed else self.probe.availability.value

    def to_dict(self) -> Mapping[str, Any]:
        """Return what ``msinet-run devices --json`` prints for this device."""
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


def devices(
    name: str | None = None, *, check: bool = False, progress: bool | Progress = False
) -> list[DeviceEntry]:
    """List the devices of this machine, highest priority first, without importing a framework.

    Plugins that cannot be used are reported as warnings.

    Args:
        name: One device's name or alias, to list it alone.
        check: Whether to open each available device in a process of its own and compare it with
            the reference, which takes minutes.
        progress: Whether to show progress on stderr.

    Raises:
        UsageError: There is no device of that name.
        PluginError: Several plugins register it.
    """
    registry = load_registry()
    for loaded in registry.problems:
        warnings.warn(f"{loaded.plugin} is not used: {loaded.problem}", stacklevel=2)
    return list_devices(registry, check, name, progress)


def list_devices(
    registry: Registry, check: bool, name: str | None, progress: bool | Progress
) -> list[DeviceEntry]:
    """List a registry's devices as `devices` does.

    Args:
        registry: The devices.
        check: As in `devices`.
        name: As in `devices`.
        progress: As in `devices`.
    """
    only = None if name is None else registry.spec(name)
    entries = [
        _entry(registration, registry)
        for registration in registry.registrations
        if only is None or registration.spec is only
    ]
    if not check:
        return entries
    available = sum(entry.probe.ready for entry in entries)
    checked = []
    with as_progress(progress).task("checking", available, "devices") as task:
        for entry in entries:
            checked.append(check_device(entry))
            if entry.probe.ready:
                task.advance(device=entry.name, result=checked[-1].status)
    return checked


def _entry(registration: Registration, registry: Registry) -> DeviceEntry:
    spec = registration.spec
    claims = registry.conflicts.get(spec.name)
    if claims:
        probe = Probe(Availability.NOT_HERE, reason=conflict_message(spec.name, claims))
    else:
        probe = run_probe(spec)
    return DeviceEntry(spec, str(registration.plugin), probe)


def check_device(entry: DeviceEntry) -> DeviceEntry:
    """Compare an available device with the reference, in a process of its own.

    A device that crashes, hangs or prints nonsense fails its check.

    Args:
        entry: A device; returned unchanged if it is not available.
    """
    if not entry.probe.ready:
        return entry
    command = ("plugins", "check", entry.name, "--json")
    done = run_python("from msinet_core.cli import main; main()", *command, timeout=CHECK_TIMEOUT)
    if done.code is None:
        return _failed(entry, [f"the check {done.how}"])
    try:
        report = _last_object(done.output)
        failed = [
            f"{row['id']}: {row['description']} {row['reason']}".strip()
            for row in report["rows"]
            if row["passed"] is False
        ]
        count = sum(row["passed"] is True for row in report["rows"])
        seconds = f"{report['seconds']:.0f} s"
    except (ValueError, KeyError, TypeError):
        return _failed(entry, [f"the check {done.how}: {done.last_line}"])
    if failed or not count:
        return _failed(entry, failed or ["no check applied"])
    reason = f"{entry.probe.reason} All {count} checks agree with the reference ({seconds})."
    probe = replace(entry.probe, availability=Availability.VERIFIED, reason=reason.strip())
    return replace(entry, probe=probe)


def _last_object(text: str) -> Mapping[str, Any]:
    """Return the last JSON object of a text that may begin with other output.

    Raises:
        ValueError: There is none.
    """
    found: Mapping[str, Any]
    found, _ = json.JSONDecoder().raw_decode(text, text.rfind("\n{") + 1)
    return found


def _failed(entry: DeviceEntry, failed: Sequence[str]) -> DeviceEntry:
    reason = f"{counted(len(failed), 'check')} against the reference failed: {failed[0]}"
    probe = replace(entry.probe, reason=reason)
    return replace(entry, probe=probe, failed=tuple(failed))
