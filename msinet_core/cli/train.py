"""``msinet-run train``: train MSI-Net, or go on training it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from msinet_core.cli.options import (
    ChoiceType,
    SizeType,
    data_root_option,
    device_name,
    device_option,
    device_options_option,
    naming,
    precision_option,
    select_device,
    workers_option,
)
from msinet_core.device.processes import DISTRIBUTIONS


def _read_loggers(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[str, ...] | None:
    if value is None:
        return None
    from msinet_core.training.loggers import parse_loggers

    return parse_loggers(value)


@click.command()
@click.option(
    "--data", metavar="NAME|DIR", help="Data set by name, or a folder with stimuli/ and saliency/."
)
@data_root_option
@click.option(
    "--run",
    "run_dir",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Run folder. Default: a new one under runs/, or the newest with --resume.",
)
@click.option(
    "--init",
    metavar="auto|vgg16|random|FILE",
    help="Initial weights. vgg16 is downloaded if it is not here, and published:salicon (or "
    "another data set) too. FILE brings its network, and its image size unless the data set has "
    "one of its own or --image-size says another. auto: VGG16 if its file is here, else random. "
    "[default: auto]",
)
@click.option("--resume", is_flag=True, help="Continue a run exactly where it stopped.")
@click.option("--epochs", type=int, help="Passes over the training images. [default: 10]")
@click.option("--batch-size", type=int, help="Images in a batch. [default: 1]")
@click.option("--learning-rate", type=float, help="Adam's learning rate. [default: 1e-5]")
@click.option("--accumulate", type=int, help="Batches in one optimizer step. [default: 1]")
@precision_option
@device_options_option
@click.option(
    "--image-size",
    type=SizeType(),
    metavar="HxW",
    help="Height and width of the network's input. [default: the data set's own, if it has one; "
    "else that of --init FILE, if it tells; else 240x320]",
)
@click.option(
    "--seed", type=int, help="Decides random weights, image order and split. [default: 42]"
)
@click.option(
    "--shuffle/--no-shuffle", default=None, help="A new order in each epoch. [default: shuffle]"
)
@click.option("--limit-train", type=int, metavar="N", help="Use the first N training images only.")
@click.option(
    "--limit-valid", type=int, metavar="N", help="Use the first N validation images only."
)
@click.option(
    "--width", type=float, help="Scale the channels; 1 is the published network. [default: 1]"
)
@click.option(
    "--resize",
    type=ChoiceType(["asymmetric", "half_pixel"]),
    help="Resize coordinates; the published weights need asymmetric. [default: asymmetric]",
)
@workers_option
@click.option(
    "--distribute",
    type=ChoiceType(DISTRIBUTIONS),
    default="auto",
    show_default=True,
    help="Spread each batch over the device's several units (mirrored), or over the processes that "
    "TF_CONFIG or torchrun names (multiworker). auto: multiworker, else mirrored, where there are "
    "several.",
)
@click.option(
    "--log",
    metavar="csv,tensorboard,wandb",
    callback=_read_loggers,
    help="Report losses also to TensorBoard (event files in RUN/tensorboard) or Weights & Biases "
    "(WANDB_MODE=offline works without an account), by the packages tensorboardX and wandb. The "
    "tables are always written. [default: csv]",
)
@device_option
def train(run_dir: Path | None, resume: bool, **options: Any) -> None:
    """Train MSI-Net on a data set.

    Writes a run folder: config.toml, history.csv (a row per epoch), steps.csv (a row per step),
    curve.png, log.txt, checkpoints/latest.msinet.h5 and checkpoints/best.msinet.h5 (the lowest
    validation loss). Ctrl-C saves the state and ends with exit code 130; --resume continues with
    the same losses as an uninterrupted run, on this device or another.

    \b
    msinet-run --device cpu train --data demo --init random --epochs 3 --learning-rate 1e-4
    msinet-run --device cpu train --data osie --data-root datasets
    msinet-run --device metal train --resume --run runs/osie-cpu-20260101-120000
    """  # noqa: D301  -- click reads \b as "do not wrap"
    from msinet_core.errors import UsageError
    from msinet_core.system.progress_bars import progress_bars
    from msinet_core.training.config import TrainConfig
    from msinet_core.training.run_folder import RunFolder, new_run_path, newest_run_path
    from msinet_core.training.start import train as start

    given = _given(options)
    if resume:
        run = RunFolder(run_dir or newest_run_path())
        config = TrainConfig.read(run.config).resumed_with(given)
        spec = select_device(config.device, training=True)
    else:
        spec = select_device(training=True)
        if "data" not in given:
            raise UsageError(
                "Missing option --data: the name of a data set (msinet-run data list shows them), "
                "or a folder with stimuli/ and saliency/. --data demo makes its own images."
            )
        config = TrainConfig(**{**given, "device": spec.name})
        run = RunFolder(run_dir or new_run_path(config.data, config.device))
        run.check_new()
    progress = progress_bars()
    start(config, run, spec, resume=resume, progress=progress)
    progress.message(
        f"Done. Weights: {run.best}; learning curve: {run.curve}. Predict with: "
        f"msinet-run{naming(spec)} predict IMAGES --weights {run.best}"
    )


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """Keep what the user said, so that a resumed run can tell it from defaults."""
    source = click.get_current_context().get_parameter_source
    given = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in options.items()
        if value not in (None, {}) and source(name) is not click.core.ParameterSource.DEFAULT
    }
    if device_name() is not None:
        given["device"] = device_name()
    return given
