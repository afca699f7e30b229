"""``msinet-run data``: list, download, check and create datasets, and draw their maps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from msinet_core.cli.options import CommandGroup, PathType, json_option, print_json
from msinet_core.cli.setting_options import SettingType, data_root_option, kind_option
from msinet_core.errors import command, counted
from msinet_core.network.msinet import IMAGE_SIZE
from msinet_core.system.kinds import SIGMA, integer

if TYPE_CHECKING:
    from msinet_core.data.check import DataReport
    from msinet_core.network.ops import Size


@click.group(cls=CommandGroup)
def data() -> None:
    """List, download, check and create datasets."""


@data.command("list")
@data_root_option
@json_option
def list_command(data_root: Path | None, as_json: bool) -> None:
    """List the named datasets and where they are.

    Any folder with stimuli/ and saliency/ is a dataset too; its path is its name.
    """
    from msinet_core.data.catalog import list_datasets

    rows = list_datasets(data_root)
    if as_json:
        print_json(rows)
    else:
        _print_table(rows, data_root)


@data.command()
@click.argument("name")
@data_root_option
@click.option(
    "--from",
    "source",
    metavar="PATH",
    type=PathType(),
    help="Unpack what was obtained by hand: the archive, or a folder of archives or their files.",
)
@click.option(
    "--any-checksum",
    is_flag=True,
    help="With --from: use an archive whose checksum is not the published one.",
)
@click.option("--keep", is_flag=True, help="Keep downloaded archives after unpacking.")
def fetch(
    name: str, data_root: Path | None, source: Path | None, any_checksum: bool, keep: bool
) -> None:
    """Download a named dataset to the folder where train and evaluate look for it.

    A download that broke is resumed when the command is run again. The datasets belong to their
    authors, whose terms apply.

    Example: msinet-run data fetch mit1003 --data-root datasets
    """
    from msinet_core.data.fetch import fetch_dataset
    from msinet_core.system.progress_bars import progress_bars

    fetched = fetch_dataset(
        name,
        data_root,
        source=source,
        any_checksum=any_checksum,
        keep=keep,
        progress=progress_bars(),
    )
    if fetched.images:
        done = "Downloaded" if source is None else "Unpacked"
        images = counted(fetched.images, "image")
        click.echo(f"{done} {name} to {fetched.folder}: {images} with maps.")
    else:
        click.echo(
            f"{fetched.folder} exists already; nothing was changed. Check its files with: "
            f"{command('data', 'check', name, data_root=data_root)}"
        )
    for archive in fetched.archives:
        click.echo(f"Kept {archive}")
    click.echo(f"Train on it with: {command('train', data=name, data_root=data_root)}")


@data.command()
@click.argument("name", metavar="NAME|DIR")
@data_root_option
@json_option
def check(name: str, data_root: Path | None, as_json: bool) -> None:
    """Open every image, map and file of fixations, and list all that cannot be used.

    The exit code is 1 if there are problems.

    Example: msinet-run data check osie --data-root datasets
    """
    from msinet_core.data.check import check_dataset
    from msinet_core.errors import DataError, bullet_list
    from msinet_core.system.progress_bars import progress_bars

    report = check_dataset(name, data_root, progress_bars())
    count = len(report.problems)
    if as_json:
        print_json(report.to_dict())
        click.get_current_context().exit(1 if count else 0)
    for line in report.dataset.unused:
        click.echo(line, err=True)
    if count:
        raise DataError(
            f"Dataset '{name}' has {counted(count, 'problem')}:\n"
            f"{bullet_list(report.problems, count)}"
        )
    click.echo(_summary(report))
    if not all(sample.has_map for sample in report.dataset.samples):
        click.echo(
            f"It has no maps, which training needs; draw them with: "
            f"{command('data', 'maps', name, data_root=data_root, sigma='PX')}"
        )


@data.command()
@click.argument("name", metavar="NAME|DIR")
@data_root_option
@click.option(
    "--sigma",
    required=True,
    type=SettingType(SIGMA),
    help="Standard deviation of the Gaussian at each fixation, in pixels: about one degree of "
    "visual angle.",
)
def maps(name: str, data_root: Path | None, sigma: float) -> None:
    """Draw the map of every image from its fixations, into saliency/.

    Example: msinet-run data maps own --sigma 24
    """
    from msinet_core.data.draw import draw_maps
    from msinet_core.system.progress_bars import progress_bars

    folder, count = draw_maps(name, sigma, data_root, progress_bars())
    click.echo(f"Drew {counted(count, 'map')} with a Gaussian of {sigma:g} pixels in {folder}.")


@data.group(cls=CommandGroup)
def cache() -> None:
    """Show and clear the cache of fitted images and drawn maps."""


@cache.command("show")
@json_option
def cache_show(as_json: bool) -> None:
    """Show where the cache is and how much space it takes."""
    from msinet_core.data.cache import cache_sizes
    from msinet_core.system.files import cache_folder

    sizes = cache_sizes()
    if as_json:
        print_json({"folder": str(cache_folder()), "bytes": sizes})
        return
    click.echo(f"{cache_folder()}")
    for part, size in sizes.items():
        click.echo(f"  {part}: {size / 1e6:,.1f} MB")


@cache.command("clear")
def cache_clear() -> None:
    """Remove fitted images and drawn maps; downloads and weights are kept."""
    from msinet_core.data.cache import clear_cache
    from msinet_core.system.files import cache_folder

    click.echo(f"Freed {clear_cache() / 1e6:,.1f} MB in {cache_folder()}.")


@data.command()
@click.argument("folder", metavar="DIR", type=PathType())
@kind_option("train", integer(), "Number of training images.", 60)
@kind_option("valid", integer(), "Number of validation images.", 15)
@kind_option("image_size", IMAGE_SIZE, "Height and width in pixels.", (240, 320))
@kind_option("seed", integer(0), "Determines the pictures.", 7)
def demo(folder: Path, train: int, valid: int, image_size: Size, seed: int) -> None:
    """Create a small dataset to try everything with: a bright odd one out among muted shapes.

    The same options give the same pictures. train --data demo creates it by itself.

    Example: msinet-run data demo shapes --train 200 --valid 50
    """
    from msinet_core.data.demo import make_demo
    from msinet_core.system.progress_bars import progress_bars

    make_demo(folder, train, valid, size=image_size, seed=seed, progress=progress_bars())
    path = str(folder) if len(folder.parts) > 1 else f"./{folder}"  # not a dataset's name
    click.echo(f"{folder} has {train} training and {valid} validation images.")
    example = command("train", data=path, init="random", learning_rate="1e-4")
    click.echo(f"Train on them with: {example}")


def _print_table(rows: list[dict[str, Any]], data_root: Path | None) -> None:
    from msinet_core.cli.tables import print_table
    from msinet_core.data.dataset import DEFAULT_ROOT, DEMO

    headings = ("name", "network input", "train/valid", "observers", "folder")
    cells = [
        (
            row["name"],
            "{}x{}".format(*row["image_size"]),
            f"{row['train']}/{row['valid']}",
            f"{row['observers']}, {row['seconds']:g} s" if row["observers"] else "simulated",
            row["folder"] or ("created on first use" if row["name"] == DEMO else "not downloaded"),
        )
        for row in rows
    ]
    print_table(headings, cells, right=("train/valid",))
    click.echo()
    for row in rows:
        for source in row["sources"] if row["folder"] is None else ():
            click.echo(f"{row['title']}, {source['what']}: {source['address']}")
    click.echo(
        f"Download one to {data_root or DEFAULT_ROOT}/NAME with: "
        f"{command('data', 'fetch', 'NAME', data_root=data_root)}. Any folder with stimuli/ and "
        f"saliency/ is a dataset too; use its path as the name."
    )


def _observers(report: DataReport) -> str:
    fewest, most = report.observers or (0, 0)
    if most <= 1:
        return "; the files do not tell observers apart"
    return f" by {fewest} to {most} observers each" if fewest < most else f" by {most} observers"


def _summary(report: DataReport) -> str:
    dataset = report.dataset
    height, width = dataset.image_size
    test = f", {len(dataset.test)} test" if dataset.test else ""
    text = (
        f"Dataset {dataset.name} is valid: {len(dataset.train)} training, {len(dataset.valid)} "
        f"validation{test} images. Network input: {height}x{width}, "
        f"{'as published' if dataset.has_own_size else 'the default'}; change it with --image-size."
    )
    if report.fixations is not None:
        text += (
            f" {counted(report.fixations, 'fixation')} on the images{_observers(report)}; "
            f"{report.outside:,} outside, ignored."
        )
    if report.fit is not None:
        text += f" The maps fit the fixations: mean NSS {report.fit:.2f}."
    return text
