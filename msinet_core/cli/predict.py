"""``msinet-run predict``: predict saliency maps of images and folders."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from msinet_core.cli.options import PathType, device_name, device_option, weights_option
from msinet_core.cli.setting_options import (
    FOLDER,
    device_options_option,
    kind_option,
    precision_option,
    resize_option,
    workers_option,
)
from msinet_core.network.msinet import IMAGE_SIZE
from msinet_core.prediction.shards import SHARD
from msinet_core.system.kinds import choice, integer

_SIZE = replace(
    IMAGE_SIZE,
    expected=f"{IMAGE_SIZE.expected}, or 'original'",
    metavar="HxW|original",
    standard=lambda value: value if value == "original" else IMAGE_SIZE.standard(value),
)


@click.command()
@click.argument("paths", nargs=-1, required=True, type=PathType(), metavar="PATH...")
@weights_option()
@kind_option("out", FOLDER, "Folder for the maps; subfolders of the images are preserved.", "maps")
@kind_option(
    "format",
    choice(("jpeg", "png", "npy"), {"jpg": "jpeg"}),
    "jpeg and png are 8-bit grayscale; npy is float32 in 0..1.",
    "jpeg",
)
@click.option(
    "--overlay",
    is_flag=True,
    help="Also write NAME_overlay.jpeg, a heat map over the image, and overview.png, a sheet of at "
    "most 24 images with their maps.",
)
@click.option(
    "--skip-existing",
    is_flag=True,
    help="Skip images whose results exist, to continue a large job.",
)
@kind_option(
    "shard",
    SHARD,
    "Predict only part I of N, counted from 0, to use several processes or machines.",
    unset="from the variables of torchrun or srun, else all",
)
@kind_option(
    "image_size",
    _SIZE,
    "Fit images to this height and width, or 'original': keep each image's own size, which is "
    "slower and needs more memory.",
    unset="as in training, else 240x320",
)
@kind_option("batch_size", integer(), "Images in a batch.", unset="8, or 1 with original")
@resize_option
@precision_option
@device_options_option
@workers_option
@device_option
def predict(
    paths: tuple[Path, ...],
    weights: Path,
    out: Path,
    format: str,
    overlay: bool,
    skip_existing: bool,
    shard: tuple[int, int] | None,
    **options: Any,
) -> None:
    """Predict saliency maps of images.

    PATH is an image or a folder, which is searched recursively; of a dataset only the stimuli are
    predicted, not the maps beside them. Each map has the size of its image. An image that cannot be
    read is reported and does not stop the others; the exit code is then 1.

    \b
    msinet-run predict photo.jpg --weights best.msinet.h5
    msinet-run --device cpu predict photos/ --weights best.msinet.h5 --out maps --overlay
    """  # noqa: D301  -- click reads \b as "do not wrap"
    from msinet_core.data.images import find_images, unread_formats
    from msinet_core.errors import MsinetError, counted
    from msinet_core.prediction.files import predict_files
    from msinet_core.prediction.outputs import plan_outputs
    from msinet_core.prediction.predictor import load
    from msinet_core.prediction.shards import launched_shard
    from msinet_core.system.allocator import keep_freed_memory
    from msinet_core.system.files import check_writable_folder
    from msinet_core.system.progress_bars import progress_bars

    # Images first: importing the device's framework takes seconds.
    plan = plan_outputs(find_images(paths), out, format=format, overlay=overlay)
    shard = shard or launched_shard(os.environ)
    if shard is not None:
        plan = plan.shard(*shard)
    if skip_existing:
        plan = plan.without_existing()
    progress = progress_bars()
    for note in (*unread_formats(paths), *plan.notes):
        progress.message(note)
    if not plan.jobs:
        progress.message("There is nothing to predict.")
        return
    check_writable_folder(out)
    keep_freed_memory()
    predictor = load(weights, device_name(), progress=progress, **options)
    report = predict_files(predictor, plan, progress)
    total = len(plan.jobs)
    overview = f" Overview: {report.overview}" if report.overview else ""
    progress.message(
        f"Wrote {len(report.written)} of {counted(total, 'map')} to {out} in "
        f"{report.seconds:.1f} s on {predictor.device}.{overview}"
    )
    if report.failures:
        raise MsinetError(
            f"{len(report.failures)} of {counted(total, 'image')} could not be used, as listed "
            f"above. Fix or remove them, and run the command again for them."
        )
