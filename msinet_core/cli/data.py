"""``msinet-run data``: which data sets there are, whether one is sound, and one to try."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from msinet_core.cli.options import CommandGroup, CountType, SizeType, data_root_option, json_option

if TYPE_CHECKING:
    from msinet_core.data.check import Report
    from msinet_core.data.dataset import Dataset
    from msinet_core.network.ops import Size


@click.group(cls=CommandGroup)
def data() -> None:
    """List, download, check and make data sets."""


@data.command("list")
@data_root_option
@json_option
def list_command(data_root: Path | None, as_json: bool) -> None:
    """List the data sets that have a name, and where they are.

    Any folder with stimuli/ and saliency/ is a data set too; its path is its name.
    """
    from msinet_core.data.dataset import find_folder
    from msinet_core.data.published import PUBLISHED

    rows: list[dict[str, Any]] = [_demo_row(data_root)]
    rows += [
        {
            "name": known.name,
            "title": known.title,
            "image_size": list(known.image_size),
            "train": known.train,
            "valid": known.valid,
            "observers": known.observers,
            "seconds": known.seconds,
            "folder": _text(find_folder(known.name, data_root)),
            "sources": [
                {"what": source.what, "address": source.address} for source in known.sources
            ],
        }
        for known in PUBLISHED.values()
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    _print_table(rows, data_root)


@data.command()
@click.argument("name")
@data_root_option
@click.option("--keep", is_flag=True, help="Keep the archives after unpacking.")
def fetch(name: str, data_root: Path | None, keep: bool) -> None:
    """Download a data set that has a name, and put it where train and evaluate look for it.

    A broken download goes on where it broke off when the command is given again. The data sets
    belong to their authors, whose terms hold.

    Example: msinet-run data fetch mit1003 --data-root datasets
    """
    from msinet_core.data.fetch import fetch_dataset
    from msinet_core.system.progress_bars import progress_bars

    fetched = fetch_dataset(name, data_root, keep=keep, progress=progress_bars())
    root = f" --data-root {data_root}" if data_root else ""
    if fetched.is_new:
        click.echo(f"{name} is in {fetched.folder}: {fetched.images:,} images with maps.")
    else:
        click.echo(
            f"{fetched.folder} is there already; nothing was downloaded. To look at every file in "
            f"it: msinet-run data check {name}{root}"
        )
    for archive in fetched.archives:
        click.echo(f"Kept: {archive}")
    click.echo(f"Train on it with: msinet-run train --data {name}{root}")


@data.command()
@click.argument("name", metavar="NAME|DIR")
@data_root_option
@json_option
def check(name: str, data_root: Path | None, as_json: bool) -> None:
    """Open every image, map and file of fixations, and list all that cannot be used.

    Ends with exit code 1 if there is anything to mend.

    Example: msinet-run data check osie --data-root datasets
    """
    from msinet_core.data.check import check_dataset
    from msinet_core.data.dataset import survey
    from msinet_core.errors import DataError, bullet_list
    from msinet_core.system.progress_bars import progress_bars

    dataset, problems = survey(name, data_root)
    report = check_dataset(dataset, problems, progress_bars())
    if as_json:
        click.echo(json.dumps(_document(dataset, report), indent=2))
        click.get_current_context().exit(1 if report.problems else 0)
    if report.problems:
        count = len(report.problems)
        raise DataError(
            f"Data set '{name}' has {count} problem{'s' if count > 1 else ''}:\n"
            f"{bullet_list(report.problems, count)}"
        )
    click.echo(_summary(dataset, report))


@data.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--train",
    type=CountType(),
    metavar="N",
    default=60,
    show_default=True,
    help="Number of training images.",
)
@click.option(
    "--valid",
    type=CountType(),
    metavar="N",
    default=15,
    show_default=True,
    help="Number of validation images.",
)
@click.option(
    "--image-size",
    type=SizeType(),
    default="240x320",
    show_default=True,
    help="Height and width in pixels.",
)
@click.option(
    "--seed",
    type=CountType(0),
    default=7,
    show_default=True,
    help="Decides the pictures.",
)
def demo(folder: Path, train: int, valid: int, image_size: Size, seed: int) -> None:
    """Make a small data set to try everything with: bright odd ones out among muted shapes.

    The same options give the same pictures. train --data demo makes it by itself.

    Example: msinet-run data demo shapes --train 200 --valid 50
    """
    from msinet_core.data.demo import make_demo
    from msinet_core.system.progress_bars import progress_bars

    make_demo(folder, train, valid, size=image_size, seed=seed, progress=progress_bars())
    click.echo(f"{train} training and {valid} validation images are in {folder}.")
    click.echo(
        f"Train on them with: msinet-run train --data {_as_path(folder)} "
        "--init random --learning-rate 1e-4"
    )


def _demo_row(data_root: Path | None) -> dict[str, Any]:
    from msinet_core.data.dataset import DEMO, cache_folder, find_folder
    from msinet_core.data.demo import DEMO_TRAIN, DEMO_VALID, demo_folder

    made = demo_folder(cache_folder())
    return {
        "name": DEMO,
        "title": "Demo",
        "image_size": list(DEFAULT_IMAGE_SIZE),
        "train": DEMO_TRAIN,
        "valid": DEMO_VALID,
        "observers": None,
        "seconds": None,
        "folder": _text(find_folder(DEMO, data_root) or (made if made.is_dir() else None)),
        "sources": [],
    }


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _as_path(folder: Path) -> str:
    """Write a folder so that ``--data`` does not take it for a name."""
    return str(folder) if len(folder.parts) > 1 else f"./{folder}"


def _print_table(rows: list[dict[str, Any]], data_root: Path | None) -> None:
    from msinet_core.cli.tables import print_table
    from msinet_core.data.dataset import DEMO

    headings = ("name", "network input", "train/valid", "observers", "here")
    cells = [
        (
            row["name"],
            "{}x{}".format(*row["image_size"]),
            f"{row['train']}/{row['valid']}",
            f"{row['observers']}, {row['seconds']:g} s" if row["observers"] else "simulated",
            row["folder"] or ("made when asked for" if row["name"] == DEMO else "no"),
        )
        for row in rows
    ]
    print_table(headings, cells, right=("train/valid",))
    click.echo()
    for row in rows:
        if row["folder"] is None:
            for source in row["sources"]:
                text = f"{row['title']}, {source['what']}: {source['address']}"
                click.echo(text)
    click.echo(
        f"Those that are not here belong in {data_root or 'data'}/NAME, where msinet-run data "
        f"fetch NAME puts them; any folder with stimuli/ and saliency/ is a data set too: give "
        f"its path."
    )


def _document(dataset: Dataset, report: Report) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "image_size": list(dataset.image_size),
        "train": len(dataset.train),
        "valid": len(dataset.valid),
        "images": report.images,
        "fixations": report.fixations,
        "fixations_outside": report.outside,
        "problems": report.problems,
    }


def _summary(dataset: Dataset, report: Report) -> str:
    height, width = dataset.image_size
    text = (
        f"Data set {dataset.name} is sound: {len(dataset.train)} training and "
        f"{len(dataset.valid)} validation images. The network sees them at {height}x{width}, "
        f"{'as published' if dataset.has_own_size else 'the default'}; --image-size changes it."
    )
    if report.fixations is not None:
        text += f" {report.fixations:,} fixations on the images, {report.outside:,} outside."
    return text
