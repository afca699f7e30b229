"""``msinet-run devices``: what this machine can compute on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from msinet_core.cli.options import device_name, device_option, json_option, print_json

if TYPE_CHECKING:
    from msinet_core.registry.inventory import DeviceEntry
    from msinet_core.registry.registry import Registry

HEADINGS = ("device", "status", "framework", "format", "kernels", "precisions", "trains")

STYLES = {
    "not here": "dim",
    "installed": "yellow",
    "verified": "green",
    "failed its check": "red",
}


@click.command()
@click.option(
    "--check", is_flag=True, help="Open each available device and compare it with the reference."
)
@json_option
@device_option
def devices(check: bool, as_json: bool) -> None:
    """List every device, whether it is available, and how to fix it if it is not.

    "installed" is read from package metadata and the hardware, without importing a framework.
    "verified" means that --check opened the device in a process of its own, ran every operation
    forward and backward, and got the reference's numbers.
    """
    from msinet_core.cli.plugins import print_problems
    from msinet_core.registry.inventory import list_devices
    from msinet_core.registry.registry import load_registry

    registry = load_registry()
    entries = list_devices(registry, check, device_name(), progress=True)
    if as_json:
        print_json(_document(entries, registry))
    else:
        _print_table(entries)
        print_problems(registry)
    if any(entry.failed for entry in entries):
        raise click.exceptions.Exit(1)


def _document(entries: list[DeviceEntry], registry: Registry) -> dict[str, object]:
    from msinet_core.registry.diagnosis import plugin_fix

    return {
        "devices": [entry.to_dict() for entry in entries],
        "problems": [
            {"plugin": str(loaded.plugin), "problem": loaded.problem, "fix": plugin_fix(loaded)}
            for loaded in registry.problems
        ],
    }


def _print_table(entries: list[DeviceEntry]) -> None:
    from msinet_core.cli.tables import print_table

    rows = [
        (
            entry.name,
            entry.status,
            f"{entry.spec.framework} {entry.probe.framework_version or ''}".strip(),
            entry.spec.data_format,
            entry.spec.kernel_layout,
            ", ".join(entry.spec.capabilities.precisions),
            "yes" if entry.spec.capabilities.training else "no",
        )
        for entry in entries
    ]
    print_table(HEADINGS, rows, notes=[_notes(entry) for entry in entries], styles=STYLES)


def _notes(entry: DeviceEntry) -> list[str]:
    probe = entry.probe
    notes = [item.describe() for item in probe.hardware]
    notes += [probe.reason] if probe.reason else []
    return [*notes, f"-> {probe.fix}"] if probe.fix else notes
