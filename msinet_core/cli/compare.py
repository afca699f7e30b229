"""``msinet-run compare``: compare two evaluations of the same images."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from msinet_core.cli.options import PathType, json_option, print_json

if TYPE_CHECKING:
    from msinet_core.evaluation.compare import Difference

_FILE = PathType(dir_okay=False)


@click.command()
@click.argument("first", metavar="A.csv", type=_FILE)
@click.argument("second", metavar="B.csv", type=_FILE)
@json_option
def compare(first: Path, second: Path, as_json: bool) -> None:
    """Compare two evaluations image by image: paired differences B - A with intervals.

    The files are written by evaluate --out.

    Example: msinet-run compare before.csv after.csv
    """
    import msinet_core as msinet
    from msinet_core.cli.tables import fixed, print_table
    from msinet_core.errors import counted
    from msinet_core.metrics.table import METRICS

    result = msinet.compare(first, second)
    if as_json:
        print_json(result.to_dict())
        return
    left = result.only_first + result.only_second
    only = f"; {counted(left, 'is', 'are')} in one file only" if left else ""
    click.echo(f"A: {first}\nB: {second}\n{counted(result.images, 'common image')}{only}")
    numbers = ("A", "B", "B - A", "95% interval")
    rows = [
        (METRICS[key].title, fixed(one.first), fixed(one.second), *_cells(one))
        for key, one in result.differences.items()
    ]
    print_table(("metric", *numbers, "better"), rows, right=numbers)
    click.echo("paired bootstrap over the images; better: the interval excludes 0")
    for key, reason in result.skipped.items():
        click.echo(f"{METRICS[key].title} is not compared: {reason}.", err=True)


def _cells(difference: Difference) -> tuple[str, str, str]:
    undefined = math.isnan(difference.low)
    interval = "" if undefined else f"[{difference.low:+.3f}, {difference.high:+.3f}]"
    better = {"first": "A", "second": "B", "": ""}[difference.better]
    return f"{difference.mean:+.3f}", interval, better
