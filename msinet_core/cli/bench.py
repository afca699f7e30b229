"""``msinet-run bench``: measure the speed of this machine's devices."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from msinet_core.benchmark.settings import BenchSettings
from msinet_core.cli.options import PathType, device_name, refuse_options
from msinet_core.cli.setting_options import FOLDER, kind_option, setting_options
from msinet_core.system.settings import declared_settings

if TYPE_CHECKING:
    from msinet_core.benchmark.results import Results

_FILE = PathType(dir_okay=False)
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
    type=_FILE,
    help="Write all measurements to a JSON file, each as it comes; - prints them at the end. With "
    "--from: a list of the files' measurements.",
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
    type=_FILE,
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
@click.argument("files", nargs=-1, type=_FILE)
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
    fails becomes a row with the reason. What was measured of the published network at batch size 1
    decides later which device and precision are chosen automatically.

    \b
    msinet-run bench --precision float32,bfloat16 --batch-size 1,2,4,8 --json here.json
    msinet-run bench --resume --json here.json --precision float32,bfloat16 --batch-size 1,2,4,8
    msinet-run bench --from here.json mac.json --plot rates.png
    """  # noqa: D301  -- click reads \b as "do not wrap"
    import msinet_core as msinet
    from msinet_core.benchmark.chart import draw_rates
    from msinet_core.benchmark.results import read_results
    from msinet_core.system.figures import check_plot
    from msinet_core.system.files import write_text

    for path in plot_files:
        check_plot(path)
    if bool(files) != from_files:
        raise click.UsageError("To show measured results, use: --from FILE [FILE ...]")
    if from_files:
        ignored = ("names", "resume", "trace", *declared_settings(BenchSettings))
        refuse_options(ignored, "with --from", "--device" if device_name() else "")
        if json_file not in (None, STDOUT) and json_file.exists():
            raise click.UsageError(f"{json_file} already exists. Choose another file.")
        machines = [one for path in dict.fromkeys(files) for one in read_results(path)]
        document = json.dumps([results.to_dict() for results in machines], indent=2)
    else:
        devices = [name for name in (device_name(), *names) if name]
        devices += [baseline] if devices and baseline else []
        output = None if json_file == STDOUT else json_file
        measured = msinet.bench(
            devices, output=output, resume=resume, trace=trace, progress=True, **settings
        )
        machines, document = [measured], measured.to_json()
    _print(machines, baseline, to_stderr=json_file == STDOUT)
    if json_file == STDOUT:
        click.echo(document)
    elif json_file and from_files:
        write_text(json_file, document + "\n")
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
