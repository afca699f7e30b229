"""Check every file of a dataset, and whether maps, fixations and splits fit each other."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from msinet_core.data.dataset import SPLIT_NAMES, Dataset, survey
from msinet_core.data.fixations import Coverage, Fixations
from msinet_core.data.images import read_image
from msinet_core.data.sample import Sample, check_shapes
from msinet_core.errors import DataError
from msinet_core.network.ops import Size
from msinet_core.system.progress import Progress
from msinet_core.system.threads import in_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

Result = TypeVar("Result")

LOWEST_FIT = 1.0
"""The lowest mean NSS of true maps at their own fixations. On OSIE it is 3.1; 0.41 with maps that
are shifted by one file, and 0.30 with x and y swapped."""

_GROUPED = 3
"""Up to this many problems of the same kind are listed one by one."""


@dataclass
class DataReport:
    """The result of a check.

    Args:
        dataset: The usable part of the dataset.
        problems: A sentence for every problem.
        images: The number of images that were checked.
        fixations: The number of fixations on the images; None if the dataset has none.
        outside: The number of fixations outside their image, which are ignored.
        observers: The smallest and the largest number of observers of an image; None if the dataset
            has no fixations. One if its files do not tell them apart.
        fit: The mean NSS of the true maps at their own fixations; None if it is not known.
    """

    dataset: Dataset
    problems: list[str] = field(default_factory=list)
    images: int = 0
    fixations: int | None = None
    outside: int = 0
    observers: tuple[int, int] | None = None
    fit: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a JSON document."""
        return {
            "name": self.dataset.name,
            "image_size": list(self.dataset.image_size),
            **{name: len(self.dataset.part(name)) for name in SPLIT_NAMES},
            "images": self.images,
            "fixations": self.fixations,
            "fixations_outside": self.outside,
            "observers_per_image": self.observers and list(self.observers),
            "nss_of_maps_at_fixations": self.fit,
            "sigma": self.dataset.sigma,
            "problems": self.problems,
            "unused": list(self.dataset.unused),
        }


@dataclass(frozen=True)
class _Checked:
    """What is known about one image.

    Args:
        problems: With its image and its map.
        unread: With its fixations, which all images may have in common.
        pixels: A digest of the image's pixels.
        size: The image's height and width in pixels.
        fixations: Its fixations.
        map: The standardized map, ``(H, W)``, if it did not come from these fixations.
    """

    problems: tuple[str, ...]
    unread: tuple[str, ...] = ()
    pixels: bytes = b""
    size: Size = (0, 0)
    fixations: Fixations | None = None
    map: NDArray[np.float32] | None = None


def check_dataset(
    name_or_folder: str, root: Path | None = None, progress: Progress | None = None
) -> DataReport:
    """Decode every image and map of a dataset, read all fixations, and compare them.

    Args:
        name_or_folder: As for `open_dataset`.
        root: As for `open_dataset`.
        progress: Shows progress.

    Raises:
        UsageError: No such dataset.
        DataError: A file of all images, such as OSIE's fixations, cannot be read.
    """
    dataset, problems = survey(name_or_folder, root)
    report = DataReport(dataset, list(problems))
    # Sorted, since a dataset without train/ and val/ is in random order.
    samples = sorted(dataset.samples, key=lambda sample: sample.stimulus)
    unread: list[tuple[Sample, str]] = []
    pictures: defaultdict[bytes, list[Sample]] = defaultdict(list)
    fits, coverage, observers = _Fits(), Coverage(), set()
    results = in_threads(_check_sample, samples, f"check {dataset.name}", progress)
    for sample, checked in zip(samples, results, strict=True):
        report.images += 1
        report.problems += checked.problems
        unread += [(sample, text) for text in checked.unread]
        pictures[checked.pixels].append(sample)
        if checked.fixations is not None:
            coverage.add(checked.fixations, checked.size)
            observers.add(len(checked.fixations.observers))
        fits.add(checked)
    pictures.pop(b"", None)
    report.fixations, report.outside, report.fit = coverage.count, coverage.outside, fits.own
    report.observers = (min(observers), max(observers)) if observers else None
    report.problems += _grouped(unread)
    report.problems += _repeated(dataset, pictures.values())
    report.problems += fits.problems() + coverage.problems()
    return report


def _check_sample(sample: Sample) -> _Checked:
    problems: list[str] = []
    image = _attempt(problems, lambda: read_image(sample.stimulus))
    map = _attempt(problems, sample.read_map) if sample.has_map else None
    if image is not None and map is not None:
        shapes = [(array.shape[0], array.shape[1]) for array in (image, map)]
        _attempt(problems, lambda: check_shapes(sample, *shapes))
    if map is not None and not map.any():
        problems.append(
            f"The map of {sample.stimulus} is black. Replace it, or remove it and the image."
        )
    unread: list[str] = []
    fixations, pixels, size = None, b"", (0, 0)
    if image is not None:
        fixations = _attempt(unread, sample.read_fixations)
        pixels, size = hashlib.sha256(image.tobytes()).digest(), (image.shape[0], image.shape[1])
    if fixations is not None and not sample.has_map and not fixations.count:
        problems.append(
            f"{sample.stimulus} has neither a map nor fixations on the image. Add them, or remove "
            f"the image."
        )
    own_map = map is not None and np.ptp(map) > 0 and sample.sigma is None
    standardized = (map[..., 0] - map.mean()) / map.std() if map is not None and own_map else None
    return _Checked(tuple(problems), tuple(unread), pixels, size, fixations, standardized)


def _attempt(problems: list[str], read: Callable[[], Result]) -> Result | None:
    try:
        return read()
    except DataError as error:
        problems.append(str(error))
        return None


class _Fits:
    """The mean NSS of maps at their own fixations, and at those of three likely mistakes."""

    def __init__(self) -> None:
        self._scores: defaultdict[str, list[float]] = defaultdict(list)
        self._before: _Checked | None = None

    def add(self, checked: _Checked) -> None:
        """Compare an image's map with its own fixations and with its neighbor's, in file order."""
        before, self._before = self._before, checked
        self._compare("own", checked, checked)
        self._compare("swapped", checked, checked, swapped=True)
        if before is not None:
            self._compare("next", before, checked)
            self._compare("previous", checked, before)

    @property
    def own(self) -> float | None:
        """The mean at their own fixations; None without maps and fixations."""
        return float(np.mean(self._scores["own"])) if self._scores["own"] else None

    def problems(self) -> list[str]:
        """Describe maps that do not fit their fixations."""
        own = self.own
        if own is None or own >= LOWEST_FIT:
            return []
        means = {name: float(np.mean(values)) for name, values in self._scores.items() if values}
        best = max(means, key=lambda name: means[name])
        reason = {
            "own": "Compare the names of maps and fixations, and check the columns x and y.",
            "swapped": "With x and y swapped they fit: exchange the columns.",
            "next": "The maps fit the next image's fixations: their names are shifted by one.",
            "previous": "The maps fit the previous image's fixations: their names are shifted by "
            "one.",
        }[best if means[best] >= LOWEST_FIT else "own"]
        return [
            f"The maps do not fit the fixations: their mean NSS at the fixations is {own:.2f}, "
            f"where maps that were made from them have more than {LOWEST_FIT:g}. {reason}"
        ]

    def _compare(self, name: str, map: _Checked, points: _Checked, swapped: bool = False) -> None:
        if map.map is None or points.fixations is None:
            return
        pixels = points.fixations.points[:, :: -1 if swapped else 1]
        pixels = pixels * map.map.shape // points.size  # a map may be smaller than its image
        pixels = pixels[(pixels < map.map.shape).all(axis=1)]
        if len(pixels):
            self._scores[name].append(float(map.map[tuple(pixels.T)].mean()))


def _repeated(dataset: Dataset, groups: Iterable[Sequence[Sample]]) -> list[str]:
    part_of = {sample: name for name in SPLIT_NAMES for sample in dataset.part(name)}
    problems = []
    for group in groups:
        parts = {part_of[sample] for sample in group}
        if len(parts) > 1:
            files = ", ".join(f"{sample.stimulus} ({part_of[sample]})" for sample in group)
            problems.append(f"{files}: the same picture in several splits; keep one")
    return problems


def _grouped(problems: Iterable[tuple[Sample, str]]) -> list[str]:
    """List problems, but many that differ in their file only once."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for sample, text in problems:
        path = sample.fixations if isinstance(sample.fixations, Path) else sample.stimulus
        groups[text.replace(str(path), "")].append(text)
    return [
        line
        for group in groups.values()
        for line in (
            group
            if len(group) <= _GROUPED
            else [f"{group[0]} The same is true of {len(group) - 1} other files."]
        )
    ]
