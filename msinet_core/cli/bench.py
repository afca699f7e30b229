"""``msinet-run bench``: measure the speed of this machine's devices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from msinet_core.benchmark.settings import BenchSettings
from msinet_core.cli.options import device_name
from msinet_core.cli.setting_options import FOLDER, kind_option, setting_options

if TYPE_CHECKING:
    from msinet_core.benchmark.results import Results

FILE = click.Path(path_type=Path, dir_okay=False)
STDOUT = Path("-")


@click.command()
@click.option(
    "--device",
    "-d",
    "names",
    metavar="NAME",
    multiple=True,
    help="Device to measure. Can be repeated. [default: all that are available]",
)
@setting_options(BenchSettings)
@click.option(
    "--json",
    "json_file",
    type=FILE,
    help="Write all measurements to a JSON file, each as it comes; - prints them at the end.",
)
@click.option(
    "--resume", is_flag=True, help="Keep what the JSON file has, and measure what it lacks."
)
@click.option(
    "--baseline",
    metavar="NAME",
    help="Device to compare with: each rate as a multiple of its first row.",
)
@click.option(
    "--plot",
    "plot_files",
    multiple=True,
    type=FILE,
    help="Draw the rates: *.png, *.svg or *.pdf. Can be repeated.",
)
@kind_option(
    "trace", FOLDER, "Also write each framework's own profile of a few steps to this folder."
)
@click.option(
    "--from",
    "from_files",
    is_flag=True,
    help="Measure nothing; join the given JSON files, which may be of several machines.",
)
@click.argument("files", nargs=-1, type=FILE)
def bench(
    names: tuple[str, ...],
    json_file: Path | None,
    resume: bool,
    baseline: str | None,
    plot_files: tuple[Path, ...],
    trace: Path | None,
    from_files: bool,
    files: tuple[Path, ...],
    **settings: Any,
) -> None:
    """Measure images per second of training and prediction.

    Each combination of device, precision and batch size is measured in a process of its own: the
    bare compiled step on images in memory alternates with the trainer on JPEG files, and with the
    prediction of a folder (decoding, resizing, writing). The share is the part of the bare rate
    that remains. "of peak" compares with the convolutions that this device reaches alone. What
    fails becomes a row with the reason.

    \b
    msinet-run bench --precision float32,bfloat16 --batch-size 1,2,4,8 --json here.json
    msinet-run bench --resume --json here.json --precision float32,bfloat16 --batch-size 1,2,4,8
    msinet-run bench --from here.json mac.json --plot rates.png
    """  # noqa: D301  -- click reads \b as "do not wrap"
    import msinet_core as msinet
    from msinet_core.benchmark.chart import draw_rates
    from msinet_core.benchmark.results import Results
    from msinet_core.system.figures import check_plot

    for path in plot_files:
        check_plot(path)
    if bool(files) != from_files:
        raise click.UsageError("To show measured results, use: --from FILE [FILE ...]")
    if from_files:
        machines = [Results.read(path) for path in dict.fromkeys(files)]
    else:
        devices = [name for name in (device_name(), *names) if name]
        devices += [baseline] if devices and baseline else []
        output = None if json_file == STDOUT else json_file
        measured = msinet.bench(
            devices, output=output, resume=resume, trace=trace, progress=True, **settings
        )
        machines = [measured]
    _print(machines, baseline, to_stderr=json_file == STDOUT)
    if json_file == STDOUT:
        click.echo("\n".join(results.to_json() for results in machines))
    for path in plot_files:
        draw_rates(machines, path)


def _print(machines: Sequence[Results], baseline: str | None, *, to_stderr: bool) -> None:
    from msinet_core.benchmark.table import make_table
    from msinet_core.cli.tables import print_table

    table = make_table(machines, baseline)
    print_table(table.headings, table.rows, right=table.numbers, to_stderr=to_stderr)
    for note in table.notes:
        click.echo(note, err=to_stderr)
    for results in machines:
        click.echo(f"\n{results.describe_machine()}, {results.date}", err=to_stderr)
        click.echo(results.fastest_sentence(), err=to_stderr)
