"""``msinet-run predict``: saliency maps for images and folders of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from msinet_core.cli.options import (
    ChoiceType,
    CountType,
    SizeType,
    device_option,
    device_options_option,
    open_device,
    precision_option,
    weights_option,
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
        return SizeType().convert(value, param, ctx)


@click.command()
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH..."
)
@weights_option
@click.option(
    "--out",
    default="maps",
    show_default=True,
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the maps; sub-folders of the images are kept in it.",
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
    help="Also write NAME_overlay.jpeg, the map as heat over the image, and overview.png, a sheet "
    "of at most 24 images with their maps.",
)
@click.option(
    "--image-size",
    type=_SizeOrOriginal(),
    metavar=_SizeOrOriginal.name,
    help="Height and width that images are fitted to, or 'original': each image at its own size, "
    "which is slower and needs more memory. [default: as in training, else 240x320]",
)
@click.option(
    "--batch-size",
    type=CountType(),
    metavar="N",
    help="Images in a batch. [default: 8; 1 with original]",
)
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
    image_size: Size | str | None,
    batch_size: int | None,
    precision: str,
    device_options: dict[str, str],
    workers: int | None,
) -> None:
    """Predict saliency maps of images.

    PATH is an image or a folder, which is searched to its depth; of a data set the stimuli alone
    are read, not the maps beside them. Each map has the size of its image. An image that cannot be
    read is reported and does not stop the others; the exit code is 1 in the end.

    \b
    msinet-run predict photo.jpg --weights best.msinet.h5
    msinet-run --device cpu predict photos/ --weights best.msinet.h5 --out maps --overlay
    """  # noqa: D301  -- click's mark for lines to keep
    from msinet_core.checkpoint import read_weights
    from msinet_core.checkpoint.published import resolve_weights
    from msinet_core.data import find_images
    from msinet_core.errors import MsinetError
    from msinet_core.prediction.files import predict_files
    from msinet_core.prediction.outputs import plan_outputs
    from msinet_core.prediction.predictor import DEFAULT_BATCH_SIZE, Predictor, trained_image_size
    from msinet_core.system.progress_bars import progress_bars

    # What can be wrong without the device is found first: its framework takes seconds to import.
    plan = plan_outputs(find_images(paths), out, format=map_format, overlay=overlay)
    progress = progress_bars()
    checkpoint = read_weights(resolve_weights(weights, progress))
    size = None if isinstance(image_size, str) else image_size or trained_image_size(checkpoint)
    if size is not None:
        checkpoint.graph.check_image_size(size)
    for note in plan.notes:
        progress.message(note)
    device = open_device(precision, device_options)
    predictor = Predictor(
        device.compile(checkpoint.graph, checkpoint.state),
        checkpoint.graph,
        image_size=size,
        batch_size=batch_size or (1 if size is None else DEFAULT_BATCH_SIZE),
        workers=workers,
    )
    report = predict_files(predictor, plan, progress)
    progress.message(
        f"{len(report.written)} of {len(plan.jobs)} maps are in {out} "
        f"({report.seconds:.1f} s on {device.spec.name})."
        + (f" At a glance: {report.overview}" if report.overview else "")
    )
    if report.failures:
        raise MsinetError(
            f"{len(report.failures)} of {len(plan.jobs)} images could not be used; each is named "
            f"above. Mend or remove them, and give the command again for them alone."
        )
