"""``msinet-run evaluate``: score how well a checkpoint, or maps, predict where people look."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from msinet_core.cli.options import (
    device_name,
    device_option,
    json_option,
    print_json,
    refuse_options,
    weights_option,
)
from msinet_core.cli.setting_options import (
    FILE,
    FOLDER,
    SHARED,
    data_root_option,
    device_options_option,
    kind_option,
    resize_option,
    setting_option,
    sigma_option,
    workers_option,
)
from msinet_core.network.msinet import IMAGE_SIZE
from msinet_core.system.kinds import FLAG, SPLIT, integer

if TYPE_CHECKING:
    from msinet_core.evaluation.result import Evaluation, Summary


@click.command()
@click.option(
    "--data",
    required=True,
    metavar="NAME|DIR",
    help="Dataset by name, or a folder with stimuli/ and saliency/, fixations/ or both.",
)
@data_root_option
@weights_option(required=False)
@kind_option(
    "maps",
    FOLDER,
    "Instead of --weights: score the maps in this folder, named like the images.",
)
@kind_option(
    "split",
    SPLIT,
    "Part of the dataset; valid is what the folders named val/ contain.",
    "valid",
)
@setting_option(
    "split_seed", replace(SHARED["split_seed"], default=None, unset="the checkpoint's, else 42")
)
@sigma_option
@kind_option("limit", integer(), "Use the first N images only.")
@kind_option(
    "baselines",
    FLAG,
    "Also score center bias, uniform map and observers, which takes time.",
    True,
)
@kind_option(
    "image_size",
    IMAGE_SIZE,
    "Fit images to this height and width.",
    unset="as in training, else the dataset's",
)
@kind_option("batch_size", integer(), "Images in a batch.", unset="8")
@resize_option
@setting_option("precision", replace(SHARED["precision"], default="float32"))
@device_options_option
@workers_option
@kind_option(
    "out",
    FILE,
    "Also write a CSV file with the scores of each image; msinet-run compare reads two.",
)
@kind_option(
    "report",
    FILE,
    "Also write an HTML page with table, distributions, best and worst images.",
)
@json_option
@device_option
def evaluate(
    data: str,
    weights: Path | None,
    out: Path | None,
    report: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Score a checkpoint, or anyone's maps, on a dataset with the metrics of the field.

    Baselines are scored too: a uniform map, a centered Gaussian, the center bias of the other
    images and, where observers are known, the observers as predictions of each other. NSS, AUC and
    IG need fixations; KLD, CC and SIM need maps, or --sigma. A checkpoint knows its training
    images: they are never scored unless --split train is given.

    \b
    msinet-run evaluate --data osie --data-root datasets --weights best.msinet.h5
    msinet-run evaluate --data osie --maps their-maps --sigma 24 --report report.html
    """  # noqa: D301  -- click reads \b as "do not wrap"
    import msinet_core as msinet
    from msinet_core.data.dataset import check_output
    from msinet_core.errors import EvaluationError, MsinetError, counted
    from msinet_core.evaluation.evaluate import WEIGHTS_ONLY
    from msinet_core.system.allocator import keep_freed_memory

    if options["maps"] is not None:
        refuse_options(WEIGHTS_ONLY, "on maps", "--device" if device_name() else "")
    if out is not None:
        check_output(out, (".csv",), data, options["data_root"])
    keep_freed_memory()
    problems = []
    try:
        evaluation = msinet.evaluate(
            weights, data, report=report, device=device_name(), progress=True, **options
        )
    except EvaluationError as error:
        evaluation = error.evaluation
        problems += [error.cause] if evaluation.images else []
    for note in evaluation.notes:
        click.echo(note, err=True)
    if report is not None and evaluation.images and not problems:
        click.echo(f"Wrote the report to {report}.", err=True)
    if out is not None and evaluation.images:
        problems += _write_scores(out, evaluation)
    if as_json:
        print_json(evaluation.to_dict())
    elif evaluation.images:
        _print_table(evaluation)
    if evaluation.failures:
        total = len(evaluation.images) + len(evaluation.failures)
        rest = "The scores are of the others." if evaluation.images else "Nothing was scored."
        problems.append(
            f"{len(evaluation.failures)} of {counted(total, 'image')} could not be used, as listed "
            f"above. {rest}"
        )
    if problems:
        raise MsinetError("\n".join(problems))


def _write_scores(out: Path, evaluation: Evaluation) -> list[str]:
    """Write the CSV file, and return why it could not be written, if so."""
    from msinet_core.errors import MsinetError
    from msinet_core.system.files import write_text

    try:
        write_text(out, evaluation.to_csv())
    except MsinetError as error:
        return [str(error)]
    click.echo(f"Wrote the scores of each image to {out}.", err=True)
    return []


def _print_table(evaluation: Evaluation) -> None:
    from msinet_core.cli.tables import print_table
    from msinet_core.errors import counted
    from msinet_core.evaluation.baselines import HALF, LIMIT, SOURCES
    from msinet_core.evaluation.result import percent
    from msinet_core.metrics.table import METRICS

    conditions = [f"{name} {value}" for name, value in evaluation.conditions().items() if value]
    images = counted(len(evaluation.images), "image")
    click.echo(f"{evaluation.data}, {evaluation.split}: {', '.join([images, *conditions])}")
    summary = evaluation.summary()
    headings = tuple(SOURCES[source] for source in evaluation.sources)
    limited = HALF in evaluation.sources
    rows = []
    for key, metric in METRICS.items():
        cells = list(summary[key].values())
        if any(cell.n for cell in cells):
            direction = "higher" if metric.higher_is_better else "lower"
            numbers = [_cell(cell, interval=not number) for number, cell in enumerate(cells)]
            if limited:
                numbers.insert(1, percent(evaluation.share_of_limit(key)))
            rows.append((metric.title, direction, *numbers))
    right = (*headings[:1], *["of limit"] * limited, *headings[1:])
    print_table(("metric", "better", *right), rows, right=right)
    click.echo(f"mean [95% bootstrap interval over the images]{f'; {LIMIT}' if limited else ''}")


def _cell(summary: Summary, *, interval: bool) -> str:
    if not summary.n:
        return ""
    from msinet_core.cli.tables import fixed

    mean, low, high = map(fixed, (summary.mean, summary.low, summary.high))
    return f"{mean} [{low}, {high}]" if interval and not math.isnan(summary.low) else mean
