"""Read OSIE's format, in which one file has the fixations of all images."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

import numpy as np

from msinet_core.data.decode import SUFFIXES
from msinet_core.data.digest import content_digest
from msinet_core.data.fixations import Fixations, load_mat
from msinet_core.data.folder import SALIENCY, STIMULI, Scan, conflicts, index
from msinet_core.data.maps import DrawnTruth
from msinet_core.data.sample import MapFile, Sample
from msinet_core.errors import DataError, os_reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Observers = tuple[NDArray[np.float64], ...]

FIXATIONS_FILE = "fixations.mat"
OSIE_LAYOUT = f"""\
It needs {STIMULI}/1001.jpg to {STIMULI}/1700.jpg and {FIXATIONS_FILE} from the archive; maps are
created from the fixations."""

OSIE_SIGMA = 16.0
"""Standard deviation in pixels of the Gaussian at each fixation of a map."""


def is_osie(folder: Path) -> bool:
    """Return whether a folder has OSIE's format, which its authors use for other datasets too.

    Args:
        folder: The dataset.
    """
    stimuli = folder / STIMULI
    is_flat = stimuli.is_dir() and not (stimuli / "train").is_dir()
    return is_flat and (folder / FIXATIONS_FILE).is_file()


def scan_osie(folder: Path, sigma: float = OSIE_SIGMA) -> Scan:
    """Pair images with their fixations in OSIE's format.

    A map in ``saliency/`` is used unchanged; missing ones are drawn from the fixations.

    Args:
        folder: The dataset.
        sigma: Standard deviation in pixels of the Gaussian at each fixation of a drawn map.

    Raises:
        DataError: The file of fixations cannot be read.
    """
    source = folder / FIXATIONS_FILE
    fixations = read_osie(source)
    stimuli = index(folder, STIMULI, SUFFIXES)
    maps = index(folder, SALIENCY, SUFFIXES)
    problems = conflicts(stimuli) + conflicts(maps)
    problems += [
        f"{files[0]}: no fixations for it in {FIXATIONS_FILE}"
        for name, files in stimuli.items()
        if name not in fixations
    ]
    problems += [
        f"{FIXATIONS_FILE}, '{name}': no image {STIMULI}/{name}.jpg"
        for name in fixations
        if name not in stimuli
    ]
    samples = []
    for name, files in stimuli.items():
        if name in fixations:
            stimulus = folder / files[0]
            map = folder / maps[name][0] if name in maps else None
            truth = TableTruth(stimulus, map, fixations[name])
            file = files[0].removeprefix(f"{STIMULI}/")
            samples.append(Sample(name, file, stimulus, truth if map else DrawnTruth(truth, sigma)))
    return Scan(samples, None, problems)


@dataclass(frozen=True, eq=False)
class TableTruth(MapFile):
    """The fixations of an image in the file of all fixations, and perhaps a map.

    Args:
        stimulus: The image.
        map: The map.
        observers: For each observer ``(n, 2)`` float64, row and column in pixels from 0.
    """

    observers: Observers = field(repr=False)

    def content(self) -> str:
        """Return a text that stands for the content of the map, or of the fixations."""
        if self.map is not None:
            return content_digest(self.map).hex()
        points = [one.tobytes() for one in self.observers]
        return hashlib.sha256(b"|".join(points)).hexdigest()

    def read_fixations(self) -> Fixations:
        """Return the fixations that are on the image."""
        return Fixations.from_points(self.observers, self.stimulus_size)


def read_osie(path: Path) -> Mapping[str, Observers]:
    """Read OSIE's file of fixations; a second call for the same file is free.

    Args:
        path: ``fixations.mat``.

    Returns:
        For each image's name without suffix the fixations of its observers, each ``(n, 2)``
        float64, row and column in pixels from 0.

    Raises:
        DataError: The file is missing or damaged, or does not have OSIE's structure.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"Could not read {path}: {os_reason(error)}.") from error
    return _parse(path.resolve(), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4)
def _parse(path: Path, modified: int, size: int) -> Mapping[str, Observers]:
    content = load_mat(path, ["fixations"])
    try:
        return {
            PureWindowsPath(str(image.img)).stem: tuple(
                _points(observer) for observer in np.atleast_1d(image.subjects)
            )
            for image in np.atleast_1d(content["fixations"])
        }
    except (KeyError, AttributeError, ValueError, TypeError) as error:
        raise DataError(
            f"{path} does not have the structure of OSIE's fixations.mat (for each image 'img' and "
            f"'subjects', for each subject 'fix_x' and 'fix_y' of equal length): {error!r}. Copy "
            f"or download it again."
        ) from error


def _points(observer: Any) -> NDArray[np.float64]:
    x, y = (np.atleast_1d(axis).astype(np.float64) for axis in (observer.fix_x, observer.fix_y))
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"fix_x has shape {x.shape} and fix_y {y.shape}")
    return np.stack([y, x], axis=1) - 1  # MATLAB counts pixels from 1
