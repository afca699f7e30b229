"""``msinet-run evaluate``: how well a checkpoint predicts where people looked."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from msinet_core.cli.options import (
    ChoiceType,
    CountType,
    SizeType,
    data_root_option,
    device_option,
    device_options_option,
    json_option,
    open_device,
    precision_option,
    weights_option,
    workers_option,
)

if TYPE_CHECKING:
    from msinet_core.evaluation.evaluator import Evaluation, Summary
    from msinet_core.network.ops import Size


@click.command()
@click.option(
    "--data",
    required=True,
    metavar="NAME|DIR",
    help="Data set by name, or a folder with stimuli/ and saliency/.",
)
@data_root_option
@weights_option
@click.option(
    "--split",
    type=ChoiceType(["valid", "train"], synonyms={"val": "valid", "validation": "valid"}),
    default="valid",
    show_default=True,
    help="Which part of the data set; valid is what lies in the folders named val/.",
)
@click.option("--limit", type=CountType(), metavar="N", help="Use the first N images only.")
@click.option(
    "--seed",
    type=int,
    metavar="N",
    default=42,
    show_default=True,
    help="The seed of the training run, which splits a folder without train/ and val/.",
)
@click.option(
    "--image-size",
    type=SizeType(),
    metavar="HxW",
    help="Height and width that images are fitted to. [default: as in training, else the data "
    "set's]",
)
@click.option(
    "--batch-size",
    type=CountType(),
    metavar="N",
    default=8,
    show_default=True,
    help="Images in a batch.",
)
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
    data_root: Path | None,
    weights: Path,
    split: str,
    limit: int | None,
    seed: int,
    image_size: Size | None,
    batch_size: int,
    precision: str,
    device_options: dict[str, str],
    workers: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Score a checkpoint on a data set with the field's metrics.

    Beside the network stands a Gaussian in the middle of each image: what can be known without
    looking at it. NSS, AUC and IG need fixations and are given where the data set has them.

    \b
    msinet-run evaluate --data osie --data-root datasets --weights best.msinet.h5
    """  # noqa: D301  -- click's mark for lines to keep
    from msinet_core.checkpoint import read_weights
    from msinet_core.checkpoint.published import resolve_weights
    from msinet_core.data import open_dataset
    from msinet_core.errors import DataError, MsinetError
    from msinet_core.evaluation.evaluator import FEWEST_OTHER_IMAGES, NETWORK
    from msinet_core.evaluation.evaluator import evaluate as run
    from msinet_core.prediction.predictor import Predictor, trained_image_size
    from msinet_core.system.files import write_text
    from msinet_core.system.progress_bars import progress_bars

    # What can be wrong without the device is found first: its framework takes seconds to import.
    dataset = open_dataset(data, data_root, seed=seed)
    samples = (dataset.valid if split == "valid" else dataset.train)[:limit]
    if not samples:
        raise DataError(f"Data set {dataset.name} has no images in the part '{split}'.")
    progress = progress_bars()
    checkpoint = read_weights(resolve_weights(weights, progress))
    size = image_size or trained_image_size(checkpoint, default=dataset.image_size)
    checkpoint.graph.check_image_size(size)
    device = open_device(precision, device_options)
    model = device.compile(checkpoint.graph, checkpoint.state)
    predictor = Predictor(model, checkpoint.graph, size, batch_size, workers)
    evaluation = run(predictor, samples, progress)
    if evaluation.with_fixations < len(evaluation.images):
        progress.message(
            f"Fixations are known for {evaluation.with_fixations} of {len(evaluation.images)} "
            f"images; NSS, AUC and IG are about these alone."
        )
    scored = {key: sources[NETWORK].n for key, sources in evaluation.summary().items()}
    if scored["auc_shuffled"] == 0 < scored["auc_judd"]:
        progress.message(
            f"AUC-shuffled is left out: it compares an image with at least {FEWEST_OTHER_IMAGES} "
            f"others whose fixations are known."
        )
    if out is not None:
        write_text(out, evaluation.to_csv())
        progress.message(f"The scores of each image are in {out}.")
    facts = {
        "data": dataset.name,
        "split": split,
        "images": len(evaluation.images),
        "weights": str(weights),
        "device": device.spec.name,
        "precision": device.precision,
        "image_size": list(size),
    }
    if as_json:
        click.echo(json.dumps(_document(evaluation, facts), indent=2, allow_nan=False))
    else:
        _print_table(evaluation, facts)
    if evaluation.failures:
        raise MsinetError(
            f"{len(evaluation.failures)} of {len(samples)} images could not be used; each is named "
            f"above. The scores are about the others."
        )


def _document(evaluation: Evaluation, facts: dict[str, Any]) -> dict[str, Any]:
    def values(summary: Summary) -> dict[str, Any]:
        return {
            "mean": _number(summary.mean),
            "standard_error": _number(summary.standard_error),
            "n": summary.n,
        }

    return {
        **facts,
        "images_with_fixations": evaluation.with_fixations,
        "metrics": {
            key: {source: values(summary) for source, summary in sources.items()}
            for key, sources in evaluation.summary().items()
        },
        "failures": [{"image": name, "reason": why} for name, why in evaluation.failures],
    }


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value


def _print_table(evaluation: Evaluation, facts: dict[str, Any]) -> None:
    from msinet_core.cli.tables import print_table
    from msinet_core.evaluation.evaluator import CENTER, METRICS, NETWORK

    height, width = facts["image_size"]
    click.echo(f"{facts['data']}, {facts['split']}: {facts['images']} images at {height}x{width}")
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
