"""``msinet-run devices``: the truth about this machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from msinet_core.cli.options import device_name, device_option, json_option

if TYPE_CHECKING:
    from msinet_core.device import Hardware
    from msinet_core.registry.inventory import DeviceEntry
    from msinet_core.registry.registry import Registry

STYLES: dict[str, dict[str, str | bool]] = {
    "not here": {"dim": True},
    "installed": {"fg": "yellow"},
    "verified": {"fg": "green"},
    "failed its check": {"fg": "red"},
}


@click.command()
@click.option(
    "--check", is_flag=True, help="Open each ready device and prove it against the reference."
)
@json_option
@device_option
def devices(check: bool, as_json: bool) -> None:
    """Show every device, whether it is here, and what would fix it if it is not.

    "installed" rests on package metadata and a look at the hardware, without importing a framework;
    "verified" means that --check opened the device in a process of its own, ran every operation
    forward and backward, and found the reference's numbers.
    """
    from msinet_core.registry.inventory import take_inventory
    from msinet_core.registry.registry import load_registry

    registry = load_registry()
    wanted = device_name()
    entries = take_inventory(registry, None if wanted is None else registry.spec(wanted))
    if check:
        entries = _check_all(entries)
    if as_json:
        click.echo(json.dumps(_document(entries, registry), indent=2))
    else:
        _print_table(entries)
        _print_problems(registry)
    if any(entry.failed for entry in entries):
        raise click.exceptions.Exit(1)


def _check_all(entries: list[DeviceEntry]) -> list[DeviceEntry]:
    from msinet_core.registry.inventory import check_device
    from msinet_core.system.progress_bars import progress_bars

    ready = sum(entry.probe.ready for entry in entries)
    checked = []
    with progress_bars().task("checking", ready, "devices") as task:
        for entry in entries:
            checked.append(check_device(entry))
            if entry.probe.ready:
                task.advance(device=entry.spec.name, result=checked[-1].status)
    return checked


def _document(entries: list[DeviceEntry], registry: Registry) -> dict[str, object]:
    from msinet_core.registry.diagnosis import plugin_fix

    return {
        "devices": [entry.to_dict() for entry in entries],
        "problems": [
            {
                "plugin": str(loaded.plugin),
                "problem": loaded.problem,
                "fix": plugin_fix(loaded),
            }
            for loaded in registry.problems
        ],
    }


def _print_table(entries: list[DeviceEntry]) -> None:
    from msinet_core.cli.tables import print_table

    rows, notes = [], []
    for entry in entries:
        spec, probe = entry.spec, entry.probe
        rows.append(
            (
                spec.name,
                entry.status,
                f"{spec.framework} {probe.framework_version or ''}".strip(),
                spec.data_format,
                spec.kernel_layout,
                ", ".join(spec.capabilities.precisions),
                "yes" if spec.capabilities.training else "no",
            )
        )
        told = [_hardware(item) for item in probe.hardware]
        told += [probe.reason] if probe.reason else []
        told += [f"-> {probe.fix}"] if probe.fix else []
        notes.append(told)
    headings = ("device", "status", "framework", "format", "kernels", "precisions", "trains")
    print_table(headings, rows, notes=notes, styles=STYLES)


def _print_problems(registry: Registry) -> None:
    from msinet_core.registry.diagnosis import plugin_fix

    for loaded in registry.problems:
        click.echo(f"{loaded.plugin} is not used: {loaded.problem}", err=True)
        click.echo(f"-> {plugin_fix(loaded)}", err=True)
    for name in registry.conflicts:
        click.echo(f"'{name}' cannot be used: more than one plugin brings it.", err=True)


def _hardware(item: Hardware) -> str:
    cores = f", {item.cores} cores" if item.cores else ""
    memory = f", {item.memory / 2**30:.0f} GiB" if item.memory else ""
    return f"{item.name}{cores}{memory}"
