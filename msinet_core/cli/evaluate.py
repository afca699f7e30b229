"""``msinet-run evaluate``: score how well a checkpoint predicts where people look."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from msinet_core.cli.options import (
    ChoiceType,
    CountType,
    SizeType,
    data_root_option,
    device_name,
    device_option,
    device_options_option,
    json_option,
    precision_option,
    resize_option,
    weights_option,
    workers_option,
)

if TYPE_CHECKING:
    from msinet_core.evaluation.report import Evaluation, Summary


@click.command()
@click.option(
    "--data",
    required=True,
    metavar="NAME|DIR",
    help="Dataset by name, or a folder with stimuli/ and saliency/.",
)
@data_root_option
@weights_option
@click.option(
    "--split",
    type=ChoiceType(["valid", "train"], synonyms={"val": "valid", "validation": "valid"}),
    default="valid",
    show_default=True,
    help="Part of the dataset; valid is what the folders named val/ contain.",
)
@click.option("--limit", type=CountType(), metavar="N", help="Use the first N images only.")
@click.option(
    "--seed",
    type=int,
    metavar="N",
    default=42,
    show_default=True,
    help="Seed of the training run, which splits a folder without train/ and val/.",
)
@click.option(
    "--image-size",
    type=SizeType(),
    metavar="HxW",
    help="Fit images to this height and width. [default: as in training, else the dataset's]",
)
@click.option(
    "--batch-size",
    type=CountType(),
    metavar="N",
    default=8,
    show_default=True,
    help="Images in a batch.",
)
@resize_option
@precision_option
@device_options_option
@workers_option
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write a CSV file with the scores of each image.",
)
@json_option
@device_option
def evaluate(
    data: str,
    weights: Path,
    out: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Score a checkpoint on a dataset with the metrics of the field.

    A Gaussian in the middle of each image is scored too: what can be predicted without looking at
    the image. NSS, AUC and IG need fixations and are shown if the dataset has them.

    \b
    msinet-run evaluate --data osie --data-root datasets --weights best.msinet.h5
    """  # noqa: D301  -- click reads \b as "do not wrap"
    from msinet_core.errors import MsinetError
    from msinet_core.evaluation import evaluate as front_door
    from msinet_core.system.files import write_text

    evaluation = front_door.evaluate(weights, data, device=device_name(), progress=True, **options)
    for note in _notes(evaluation):
        click.echo(note, err=True)
    if out is not None:
        write_text(out, evaluation.to_csv())
        click.echo(f"Wrote the scores of each image to {out}.", err=True)
    if as_json:
        click.echo(json.dumps(evaluation.to_dict(), indent=2, allow_nan=False))
    else:
        _print_table(evaluation)
    if evaluation.failures:
        total = len(evaluation.images) + len(evaluation.failures)
        raise MsinetError(
            f"{len(evaluation.failures)} of {total} images could not be used, as listed above. The "
            f"scores are of the others."
        )


def _notes(evaluation: Evaluation) -> Iterator[str]:
    from msinet_core.evaluation.report import NETWORK
    from msinet_core.evaluation.scoring import FEWEST_OTHER_IMAGES

    if evaluation.with_fixations < len(evaluation.images):
        yield (
            f"{evaluation.with_fixations} of {len(evaluation.images)} images have fixations; NSS, "
            f"AUC and IG are computed from these only."
        )
    scored = {key: sources[NETWORK].n for key, sources in evaluation.summary().items()}
    if scored["auc_shuffled"] == 0 < scored["auc_judd"]:
        yield (
            f"AUC-shuffled is omitted: it needs at least {FEWEST_OTHER_IMAGES} other images with "
            f"fixations."
        )


def _print_table(evaluation: Evaluation) -> None:
    from msinet_core.cli.tables import print_table
    from msinet_core.evaluation.report import CENTER, METRICS, NETWORK

    height, width = evaluation.image_size or (0, 0)
    click.echo(
        f"{evaluation.data}, {evaluation.split}: {len(evaluation.images)} images at "
        f"{height}x{width}"
    )
    numbers = ("network", "centered Gaussian", "images")
    rows = []
    summary = evaluation.summary()
    for metric in METRICS:
        network, center = summary[metric.key][NETWORK], summary[metric.key][CENTER]
        if network.n:
            better = "higher" if metric.higher_is_better else "lower"
            rows.append((metric.title, better, _cell(network), _cell(center), str(network.n)))
    print_table(("metric", "better", *numbers), rows, right=numbers)
    click.echo("mean ± standard error over the images")


def _cell(summary: Summary) -> str:
    if math.isnan(summary.standard_error):
        return f"{summary.mean:.3f}"
    return f"{summary.mean:.3f} ± {summary.standard_error:.3f}"
