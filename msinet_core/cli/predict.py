"""``msinet-run predict``: predict saliency maps of images and folders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from msinet_core.cli.options import device_name, device_option, weights_option
from msinet_core.cli.setting_options import (
    ChoiceType,
    CountType,
    SizeType,
    device_options_option,
    precision_option,
    resize_option,
    workers_option,
)

if TYPE_CHECKING:
    from msinet_core.network.ops import Size

ORIGINAL = "original"


class _SizeOrOriginal(click.ParamType):  # type: ignore[type-arg]  # as SizeType
    name = f"HxW|{ORIGINAL}"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Size | str:
        if value == ORIGINAL:
            return ORIGINAL
        try:
            return SizeType().convert(value, param, ctx)
        except click.BadParameter as error:
            self.fail(f"{error.message.rstrip('.')}, or '{ORIGINAL}'.", param, ctx)


class _ShardType(click.ParamType):  # type: ignore[type-arg]  # as SizeType
    name = "I/N"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        from msinet_core.errors import UsageError
        from msinet_core.prediction.shards import parse_shard

        try:
            return parse_shard(value)
        except UsageError as error:
            self.fail(str(error))


@click.command()
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH..."
)
@weights_option()
@click.option(
    "--out",
    default="maps",
    show_default=True,
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the maps; subfolders of the images are preserved.",
)
@click.option(
    "--format",
    "map_format",
    type=ChoiceType(["jpeg", "png", "npy"], synonyms={"jpg": "jpeg"}),
    default="jpeg",
    show_default=True,
    help="jpeg and png are 8-bit grayscale; npy is float32 in 0..1.",
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
@click.option(
    "--shard",
    type=_ShardType(),
    metavar=_ShardType.name,
    help="Predict only part I of N, counted from 0, to use several processes or machines. "
    "[default: from the variables of torchrun or srun, else all]",
)
@click.option(
    "--image-size",
    type=_SizeOrOriginal(),
    metavar=_SizeOrOriginal.name,
    help="Fit images to this height and width, or 'original': keep each image's own size, which is "
    "slower and needs more memory. [default: as in training, else 240x320]",
)
@click.option(
    "--batch-size",
    type=CountType(),
    metavar="N",
    help="Images in a batch. [default: 8, or 1 with original]",
)
@resize_option
@precision_option
@device_options_option
@workers_option
@device_option
def predict(
    paths: tuple[Path, ...],
    weights: Path,
    out: Path,
    map_format: str,
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
    from msinet_core.errors import MsinetError
    from msinet_core.prediction.files import predict_files
    from msinet_core.prediction.outputs import plan_outputs
    from msinet_core.prediction.predictor import load
    from msinet_core.prediction.shards import launched_shard
    from msinet_core.system.allocator import keep_freed_memory
    from msinet_core.system.files import check_writable_folder
    from msinet_core.system.progress_bars import progress_bars

    # Images first: importing the device's framework takes seconds.
    plan = plan_outputs(find_images(paths), out, format=map_format, overlay=overlay)
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
    overview = f" Overview: {report.overview}" if report.overview else ""
    progress.message(
        f"Wrote {len(report.written)} of {len(plan.jobs)} maps to {out} in {report.seconds:.1f} s "
        f"on {predictor.device}.{overview}"
    )
    if report.failures:
        raise MsinetError(
            f"{len(report.failures)} of {len(plan.jobs)} images could not be used, as listed "
            f"above. Fix or remove them, and run the command again for them."
        )
