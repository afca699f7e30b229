"""``msinet-run bench``: how fast this machine's devices are."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from msinet_core.cli.options import (
    DEVICE_KEY,
    CountType,
    SizeType,
    WidthType,
    device_options_option,
    precision_option,
)

if TYPE_CHECKING:
    from msinet_core.device import DeviceSpec


@click.command()
@click.option(
    "--device",
    "-d",
    "names",
    metavar="NAME",
    multiple=True,
    help="Device to measure; several are measured after one another. Default: all that are ready.",
)
@precision_option
@device_options_option
@click.option(
    "--image-size",
    type=SizeType(),
    metavar="HxW",
    default="240x320",
    show_default=True,
    help="Height and width of the network's input.",
)
@click.option(
    "--batch-size", type=CountType(), default=1, show_default=True, help="Images in a batch."
)
@click.option(
    "--width",
    type=WidthType(),
    default=1.0,
    show_default=True,
    help="Scale the channels; 1 is the published network.",
)
@click.option(
    "--images", type=CountType(), default=24, show_default=True, help="Images in each round."
)
@click.option(
    "--rounds",
    type=CountType(),
    default=5,
    show_default=True,
    help="Rounds; medians are shown.",
)
@click.option(
    "--json",
    "json_file",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write everything that was measured; - prints it.",
)
@click.option(
    "--plot",
    "plot_file",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw the rates: *.png, *.svg or *.pdf.",
)
def bench(
    names: tuple[str, ...], json_file: Path | None, plot_file: Path | None, **options: Any
) -> None:
    """Measure images per second of training and prediction.

    For each device: the bare compiled step on an image in memory, and in turn with it the trainer
    on JPEG files and the prediction of a folder (decoding, resizing, writing). The share says how
    much of the bare rate is left; it is taken round by round, since machines are noisy.
    """
    from msinet_core.benchmark.measure import Settings, benchmark
    from msinet_core.system.progress_bars import progress_bars

    if plot_file is not None:
        from msinet_core.pictures import draw_rates, plot_format

        plot_format(plot_file)  # known before minutes of measuring
    settings = Settings(**options)
    results = []
    for spec in _chosen(names):
        with tempfile.TemporaryDirectory() as folder:
            results.append(benchmark(spec, settings, Path(folder), progress_bars()))
    _print_table(results, to_stderr=str(json_file) == "-")
    if json_file is not None:
        _write_json(results, json_file)
    if plot_file is not None:
        draw_rates(results, plot_file)


def _chosen(names: tuple[str, ...]) -> list[DeviceSpec]:
    from msinet_core.errors import DeviceUnavailableError
    from msinet_core.registry.registry import load_registry, run_probe

    registry = load_registry()
    before_command = click.get_current_context().meta.get(DEVICE_KEY)
    wanted = (before_command, *names) if before_command else names
    if wanted:
        return [registry.select(name) for name in dict.fromkeys(wanted)]
    ready = [
        registration.spec
        for registration in registry.registrations
        if registration.spec.priority >= 0 and run_probe(registration.spec).ready
    ]
    if not ready:
        raise DeviceUnavailableError(
            "No device is ready to be measured. Run: msinet-run devices, to see what each needs."
        )
    return ready


def _print_table(results: list[dict[str, Any]], *, to_stderr: bool) -> None:
    from msinet_core.cli.tables import print_table

    names = ("device", "work")
    numbers = ("bare images/s", "whole images/s", "share", "GFLOP/s bare")
    rows = []
    for result in results:
        for work, factor in (("predict", 1), ("train", 3)):
            if work in result:
                rates = result[work]
                gflops = factor * result["gflop_per_image"] * rates["bare_images_per_s"]
                rows.append(
                    (
                        f"{result['device']} {result['precision']}",
                        work,
                        f"{rates['bare_images_per_s']:.2f}",
                        f"{rates['whole_images_per_s']:.2f}",
                        f"{100 * rates['share']:.0f} %",
                        f"{gflops:.0f}",
                    )
                )
    print_table((*names, *numbers), rows, right=numbers, to_stderr=to_stderr)


def _write_json(results: list[dict[str, Any]], path: Path) -> None:
    from msinet_core.system.files import write_text

    text = json.dumps({"results": results}, indent=2)
    if str(path) == "-":
        click.echo(text)
    else:
        write_text(path, text + "\n")
