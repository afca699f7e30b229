"""Check every file of a dataset."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from msinet_core.data.dataset import Dataset
from msinet_core.data.images import read_image
from msinet_core.data.sample import Sample, check_shapes
from msinet_core.errors import DataError
from msinet_core.system.progress import Progress

Result = TypeVar("Result")


@dataclass
class Report:
    """The result of a check.

    Args:
        problems: A sentence for every file that cannot be used.
        images: The number of images that were checked.
        fixations: The number of fixations on the images; None if the dataset has none.
        outside: The number of fixations outside their image, which are ignored.
    """

    problems: list[str] = field(default_factory=list)
    images: int = 0
    fixations: int | None = None
    outside: int = 0


def check_dataset(
    dataset: Dataset, problems: Iterable[str] = (), progress: Progress | None = None
) -> Report:
    """Decode every image and map, and read all fixations.

    Args:
        dataset: The dataset.
        problems: Known problems; they come first in the report.
        progress: Shows progress.
    """
    # Sorted, since a dataset without train/ and val/ is in random order.
    samples = sorted(dataset.train + dataset.valid, key=lambda sample: sample.stimulus)
    report = Report(list(problems))
    with (
        (progress or Progress()).task(f"check {dataset.name}", len(samples)) as task,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        try:
            for found in pool.map(_check_sample, samples):
                report.images += found.images
                report.problems += found.problems
                report.outside += found.outside
                if found.fixations is not None:
                    report.fixations = (report.fixations or 0) + found.fixations
                task.advance()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return report


def _check_sample(sample: Sample) -> Report:
    report = Report(images=1)
    image = _attempt(report, lambda: read_image(sample.stimulus))
    map = _attempt(report, sample.read_map)
    if image is not None and map is not None:
        shapes = [(array.shape[0], array.shape[1]) for array in (image, map)]
        _attempt(report, lambda: check_shapes(sample, *shapes))
    if map is not None and not map.any():
        report.problems.append(
            f"The map of {sample.stimulus} is black. Replace it, or remove it and the image."
        )
    if image is not None:
        fixations = _attempt(report, sample.truth.read_fixations)
        if fixations is not None:
            report.fixations = sum(len(pixels) for pixels in fixations.observers)
            report.outside = fixations.outside
    return report


def _attempt(report: Report, read: Callable[[], Result]) -> Result | None:
    try:
        return read()
    except DataError as error:
        report.problems.append(str(error))
        return None
