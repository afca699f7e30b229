"""What a report tells beside its rows: when, on what hardware, with which plugin."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone

from msinet_core.conformance.scenario import Subject
from msinet_core.registry.registry import load_registry


def facts(subject: Subject) -> Mapping[str, str]:
    """Give the date, the plugin with its version, and the hardware that the probe names.

    Args:
        subject: The device, open or not.
    """
    now = datetime.now(timezone.utc)
    found = {"date": f"{now:%Y-%m-%d %H:%M} UTC"}
    for registration in load_registry().registrations:
        if registration.spec.name == subject.spec.name:
            plugin = registration.plugin
            version = f"{plugin.distribution} {plugin.version}" if plugin.distribution else ""
            found["plugin"] = version or plugin.module
    hardware = ", ".join(hardware.name for hardware in subject.probe.hardware)
    return found | ({"hardware": hardware} if hardware else {})
