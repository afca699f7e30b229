"""``msinet-run plugins``: who brings the devices, and what is wrong with whom."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from msinet_core.cli.options import json_option

if TYPE_CHECKING:
    from msinet_core.discovery import LoadedPlugin


@click.group()
def plugins() -> None:
    """Look at the plugins that bring devices."""


@plugins.command("list")
@click.option("--traceback", is_flag=True, help="Show where a broken plugin failed.")
@json_option
def list_plugins(traceback: bool, as_json: bool) -> None:
    """List every plugin with its distribution, devices, status and load time.

    MSINET_PLUGINS=a,b loads modules as plugins beside the installed ones;
    MSINET_DISABLE_PLUGINS=a,b leaves plugins out, by module, entry point or distribution.
    """
    from msinet_core.registry import conflict_message, load_registry

    registry = load_registry()
    if as_json:
        conflicts = {
            name: [str(claim.plugin) for claim in claims]
            for name, claims in registry.conflicts.items()
        }
        rows = [_row(loaded) for loaded in registry.plugins]
        click.echo(json.dumps({"plugins": rows, "conflicts": conflicts}, indent=2))
        return
    _print_table([_row(loaded) for loaded in registry.plugins])
    for loaded in registry.problems:
        click.echo(f"{loaded.plugin} is not used: {loaded.problem}", err=True)
        if traceback and loaded.trace:
            click.echo(loaded.trace, err=True)
    for name, claims in registry.conflicts.items():
        click.echo(conflict_message(name, claims), err=True)


def _row(loaded: LoadedPlugin) -> Mapping[str, Any]:
    status = "broken" if loaded.problem else "disabled" if loaded.disabled else "loaded"
    return {
        "plugin": loaded.plugin.module,
        "entry_point": loaded.plugin.name,
        "distribution": loaded.plugin.distribution,
        "version": loaded.plugin.version,
        "devices": [spec.name for spec in loaded.specs],
        "status": status,
        "problem": loaded.problem,
        "seconds": round(loaded.seconds, 4),
    }


def _print_table(rows: list[Mapping[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("plugin", "entry point", "distribution", "devices", "status", "load time"):
        table.add_column(heading)
    for row in rows:
        distribution = f"{row['distribution']} {row['version']}" if row["distribution"] else "-"
        table.add_row(
            row["plugin"],
            row["entry_point"],
            distribution,
            ", ".join(row["devices"]) or "-",
            row["status"],
            f"{1000 * row['seconds']:.0f} ms",
        )
    Console().print(table)
