"""``msinet-run train``: train MSI-Net, or resume a training run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from msinet_core.cli.options import PathType, device_name, device_option
from msinet_core.cli.setting_options import FOLDER, kind_option, setting_options
from msinet_core.errors import command
from msinet_core.training.config import TrainConfig


@click.command()
@kind_option("run", FOLDER, "Run folder.", unset="a new one in runs/, or the newest with --resume")
@click.option(
    "--config",
    metavar="FILE",
    type=PathType(),
    help="Settings of the run, such as the config.toml of a run to repeat; options override them.",
)
@click.option("--resume", is_flag=True, help="Continue a run exactly where it stopped.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Check settings, data and weights, show the memory by batch size, and train nothing.",
)
@setting_options(TrainConfig, without=["device"])
@device_option
@click.pass_context
def train(
    ctx: click.Context,
    /,
    run: Path | None,
    config: Path | None,
    resume: bool,
    dry_run: bool,
    **settings: Any,
) -> None:
    """Train MSI-Net on a dataset.

    Writes a run folder: config.toml, history.csv (a row per epoch), steps.csv (a row per step),
    curve.png, log.txt, checkpoints/latest.msinet.h5 and checkpoints/best.msinet.h5 (the best
    epoch). Ctrl-C saves the state and exits with code 130; --resume continues with the same losses
    as an uninterrupted run, on this device or another.

    \b
    msinet-run --device cpu train --data demo --init random --epochs 3 --learning-rate 1e-4
    msinet-run --device cpu train --data osie --data-root datasets
    msinet-run --device metal train --resume --run runs/osie-cpu-20260101-120000
    msinet-run train --config runs/osie-cpu-20260101-120000/config.toml --seed 7
    """  # noqa: D301  -- click reads \b as "do not wrap"
    import msinet_core as msinet
    from msinet_core.system.allocator import keep_freed_memory

    keep_freed_memory()
    default = click.core.ParameterSource.DEFAULT
    given = {
        name: value
        for name, value in settings.items()
        if ctx.get_parameter_source(name) is not default
    }
    result = msinet.train(
        device=device_name(),
        run=run,
        config=config,
        resume=resume,
        dry_run=dry_run,
        progress=True,
        **given,
    )
    if dry_run:
        return
    predict = command("--device", result.device, "predict", "IMAGES", weights=result.best)
    click.echo(
        f"Done. Weights: {result.best}; learning curve: {result.curve}. Predict with: {predict}",
        err=True,
    )
