"""``msinet-run bench``: measure the speed of this machine's devices."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from msinet_core.benchmark.settings import BenchSettings
from msinet_core.cli.options import device_name, setting_options


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
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write all measurements to a JSON file; - prints them.",
)
@click.option(
    "--plot",
    "plot_file",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw the rates: *.png, *.svg or *.pdf.",
)
def bench(
    names: tuple[str, ...], json_file: Path | None, plot_file: Path | None, **settings: Any
) -> None:
    """Measure images per second of training and prediction.

    For each device, the bare compiled step on an image in memory alternates with the trainer on
    JPEG files and with the prediction of a folder (decoding, resizing, writing). The share is the
    part of the bare rate that remains; it is computed per round because machines are noisy.
    """
    from msinet_core.benchmark import bench as front_door

    if plot_file is not None:
        from msinet_core.benchmark.chart import draw_rates, plot_format

        plot_format(plot_file)  # fails now instead of after minutes of measuring
    devices = [name for name in (device_name(), *names) if name]
    results = front_door.bench(devices, progress=True, **settings)
    _print_table(results, to_stderr=str(json_file) == "-")
    if json_file is not None:
        _write_json(results, json_file)
    if plot_file is not None:
        draw_rates(results, plot_file)


def _print_table(results: list[dict[str, Any]], *, to_stderr: bool) -> None:
    from msinet_core.cli.tables import print_table

    numbers = ("bare images/s", "whole images/s", "share", "GFLOP/s bare")
    rows = [row for result in results for row in _rows(result)]
    print_table(("device", "work", *numbers), rows, right=numbers, to_stderr=to_stderr)


def _rows(result: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for work, factor in (("predict", 1), ("train", 3)):
        if work in result:
            rates = result[work]
            gflops = factor * result["gflop_per_image"] * rates["bare_images_per_s"]
            yield (
                f"{result['device']} {result['precision']}",
                work,
                f"{rates['bare_images_per_s']:.2f}",
                f"{rates['whole_images_per_s']:.2f}",
                f"{100 * rates['share']:.0f} %",
                f"{gflops:.0f}",
            )


def _write_json(results: list[dict[str, Any]], path: Path) -> None:
    from msinet_core.system.files import write_text

    text = json.dumps({"results": results}, indent=2)
    if str(path) == "-":
        click.echo(text)
    else:
        write_text(path, text + "\n")
