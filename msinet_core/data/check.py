"""Check every file of a dataset."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from msinet_core.data.dataset import Dataset, survey
from msinet_core.data.fixations import Fixations
from msinet_core.data.images import read_image
from msinet_core.data.sample import Sample, check_shapes
from msinet_core.errors import DataError
from msinet_core.system.progress import Progress

Result = TypeVar("Result")


@dataclass
class Report:
    """The result of a check.

    Args:
        dataset: The usable part of the dataset.
        problems: A sentence for every file that cannot be used.
        images: The number of images that were checked.
        fixations: The number of fixations on the images; None if the dataset has none.
        outside: The number of fixations outside their image, which are ignored.
    """

    dataset: Dataset
    problems: list[str] = field(default_factory=list)
    images: int = 0
    fixations: int | None = None
    outside: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a JSON document."""
        return {
            "name": self.dataset.name,
            "image_size": list(self.dataset.image_size),
            "train": len(self.dataset.train),
            "valid": len(self.dataset.valid),
            "images": self.images,
            "fixations": self.fixations,
            "fixations_outside": self.outside,
            "problems": self.problems,
        }


def check_dataset(
    name_or_folder: str, root: Path | None = None, progress: Progress | None = None
) -> Report:
    """Decode every image and map of a dataset, and read all fixations.

    Args:
        name_or_folder: As for `open_dataset`.
        root: As for `open_dataset`.
        progress: Shows progress.

    Raises:
        UsageError: No such dataset.
        DataError: A file of all images, such as OSIE's fixations, cannot be read.
    """
    report = Report(*survey(name_or_folder, root))
    dataset = report.dataset
    # Sorted, since a dataset without train/ and val/ is in random order.
    samples = sorted(dataset.train + dataset.valid, key=lambda sample: sample.stimulus)
    with (
        (progress or Progress()).task(f"check {dataset.name}", len(samples)) as task,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        try:
            for problems, fixations in pool.map(_check_sample, samples):
                report.images += 1
                report.problems += problems
                if fixations is not None:
                    count = sum(len(pixels) for pixels in fixations.observers)
                    report.fixations = (report.fixations or 0) + count
                    report.outside += fixations.outside
                task.advance()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return report


def _check_sample(sample: Sample) -> tuple[list[str], Fixations | None]:
    problems: list[str] = []
    image = _attempt(problems, lambda: read_image(sample.stimulus))
    map = _attempt(problems, sample.read_map)
    if image is not None and map is not None:
        shapes = [(array.shape[0], array.shape[1]) for array in (image, map)]
        _attempt(problems, lambda: check_shapes(sample, *shapes))
    if map is not None and not map.any():
        problems.append(
            f"The map of {sample.stimulus} is black. Replace it, or remove it and the image."
        )
    fixations = None if image is None else _attempt(problems, sample.truth.read_fixations)
    return problems, fixations


def _attempt(problems: list[str], read: Callable[[], Result]) -> Result | None:
    try:
        return read()
    except DataError as error:
        problems.append(str(error))
        return None
