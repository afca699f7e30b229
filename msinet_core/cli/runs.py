"""``msinet-run runs``: list and compare training runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from msinet_core.cli.options import CommandGroup, PathType, json_option, print_json
from msinet_core.cli.setting_options import FILE, kind_option

if TYPE_CHECKING:
    from msinet_core.errors import MsinetError
    from msinet_core.training.runs import RunComparison, RunSummary

FOLDER = PathType(exists=True, file_okay=False)


@click.group(cls=CommandGroup)
def runs() -> None:
    """List and compare training runs."""


@runs.command("list")
@click.argument("folders", metavar="[DIR]...", nargs=-1, type=FOLDER)
@json_option
def list_command(folders: tuple[Path, ...], as_json: bool) -> None:
    """List runs with their best scores.

    DIR is a run folder, or a folder that contains some; the default is runs/.

    Example: msinet-run runs list
    """
    from msinet_core.cli.tables import print_table
    from msinet_core.training.run_folder import RUNS
    from msinet_core.training.runs import read_runs

    found = read_runs(folders or [RUNS], _report)
    if as_json:
        print_json([run.to_dict() for run in found])
        return
    rows = [
        [
            run.path.name,
            Path(run.config.data).name,
            run.config.device,
            f"{len(run.history)}/{run.config.epochs}",
            run.status,
            _best(run),
        ]
        for run in found
    ]
    print_table(["run", "data", "device", "epochs", "status", "best"], rows, right=["epochs"])


@runs.command()
@click.argument("folders", metavar="DIR...", nargs=-1, required=True, type=FOLDER)
@kind_option("out", FILE, "Also draw the curves of all runs: *.png, *.svg or *.pdf.")
@json_option
def compare(folders: tuple[Path, ...], out: Path | None, as_json: bool) -> None:
    """Compare runs: the settings that differ, and the best scores.

    DIR is a run folder, or a folder that contains some. Losses are comparable only between runs
    with the same --loss, and scores only between runs that were validated on the same images.

    Example: msinet-run runs compare runs/a runs/b --out curves.png
    """
    from msinet_core.system.figures import check_plot
    from msinet_core.training.runs import RunComparison, read_runs

    if out is not None:
        check_plot(out)  # before anything is printed
    comparison = RunComparison(tuple(read_runs(folders, _report)))
    if as_json:
        print_json(comparison.to_dict())
    else:
        _print_comparison(comparison)
    if out is not None:
        comparison.draw(out)
        click.echo(f"Curves: {out}", err=True)


def _report(error: MsinetError) -> None:
    click.echo(f"Left out: {error}", err=True)


def _print_comparison(comparison: RunComparison) -> None:
    from msinet_core.cli.tables import print_table

    names = [run.path.name for run in comparison.runs]
    if comparison.differing:
        lines = [[name, *map(_text, values)] for name, values in comparison.differing.items()]
        print_table(["setting", *names], lines)
    elif len(names) > 1:
        click.echo("The runs have the same settings.")
    click.echo()
    lines = [
        [f"best {name}", *("-" if value is None else f"{value:.4f}" for value in values)]
        for name, values in comparison.best.items()
    ]
    print_table(["score", *names], lines, right=names)
    for note in comparison.notes:
        click.echo(f"\n{note}")


def _best(run: RunSummary) -> str:
    if run.best is None:
        return "-"
    column = run.config.selection.column
    return f"{column} {run.best[column]:.4f} (epoch {run.best['epoch']:g})"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={item}" for name, item in value.items()) or "-"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None else str(value)
