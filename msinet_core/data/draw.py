"""Draw the maps of a whole dataset from its fixations, as files."""

from __future__ import annotations

import json
from pathlib import Path

from msinet_core.data.dataset import survey
from msinet_core.data.decode import SUFFIXES
from msinet_core.data.fixations import Coverage, Fixations
from msinet_core.data.folder import SALIENCY, STIMULI
from msinet_core.data.images import list_files, write_map
from msinet_core.data.maps import MAP_VERSION, MAPS_FILE, saliency_map, size_of_maps
from msinet_core.data.sample import Sample
from msinet_core.errors import DataError, UsageError, bullet_list
from msinet_core.network.ops import Size
from msinet_core.system.files import atomic_folder, write_text
from msinet_core.system.progress import Progress
from msinet_core.system.threads import in_threads


def draw_maps(
    name_or_folder: str,
    sigma: float,
    root: Path | None = None,
    progress: Progress | None = None,
) -> tuple[Path, int]:
    """Draw the map of every image of a dataset into ``saliency/``, which appears when complete.

    Args:
        name_or_folder: As for `open_dataset`.
        sigma: Standard deviation in pixels of the Gaussian at each fixation.
        root: As for `open_dataset`.
        progress: Shows progress.

    Returns:
        The folder of the maps, and their number.

    Raises:
        UsageError: No such dataset, or it has maps.
        DataError: An image has no fixations, or all of them are in a corner.
        MsinetError: The folder cannot be created.
    """
    dataset, problems = survey(name_or_folder, root)
    target, progress = dataset.folder / SALIENCY, progress or Progress()
    if list_files(target, SUFFIXES):
        raise UsageError(
            f"{target} has maps already. To score with maps of another sigma, use --sigma; to draw "
            f"new ones, move or remove {target} first."
        )
    if target.is_dir() and (others := sorted(path.name for path in target.iterdir())):
        raise UsageError(
            f"{target} has files that are not maps, such as {others[0]}. Move or remove {target} "
            f"first."
        )
    if problems:
        raise DataError(
            f"No maps were drawn:\n{bullet_list(problems)}\nFix these files, and run the command "
            f"again."
        )
    stimuli, coverage = dataset.folder / STIMULI, Coverage()
    with atomic_folder(target) as new:

        def draw(sample: Sample) -> tuple[Fixations, Size]:
            name = sample.stimulus.relative_to(stimuli).with_suffix(".png")
            return _draw(new / name, sample, sigma)

        for fixations, size in in_threads(draw, dataset.samples, "draw maps", progress):
            coverage.add(fixations, size)
        if problem := coverage.useless():
            raise DataError(f"No maps were drawn. {problem}")
        record = {"sigma": sigma, "version": MAP_VERSION, "bytes": size_of_maps(new)}
        write_text(new / MAPS_FILE, json.dumps(record) + "\n")
    if problem := coverage.far_outside():
        progress.warn(problem)
    return target, len(dataset.samples)


def _draw(path: Path, sample: Sample, sigma: float) -> tuple[Fixations, Size]:
    fixations = sample.read_fixations()
    if fixations is None or not fixations.count:
        raise DataError(
            f"{sample.stimulus} has no fixations on the image, so its map would be black. Add "
            f"them, or remove the image. No maps were written."
        )
    size = sample.size
    write_map(path, saliency_map(fixations, size, sigma)[..., 0], "png")
    return fixations, size
