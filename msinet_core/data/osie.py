"""Read OSIE's format, in which one file has the fixations of all images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

import numpy as np

from msinet_core.data.decode import SUFFIXES
from msinet_core.data.fixations import load_mat
from msinet_core.data.folder import SALIENCY, STIMULI, Scan, conflicts, index
from msinet_core.data.sample import Sample
from msinet_core.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msinet_core.data.sample import Observers

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
            map = folder / maps[name][0] if name in maps else None
            file, drawn = files[0].removeprefix(f"{STIMULI}/"), None if map else sigma
            samples.append(Sample(name, file, folder / files[0], map, fixations[name], drawn))
    return Scan(samples, None, problems)


def read_osie(path: Path) -> Mapping[str, Observers]:
    """Read OSIE's file of fixations.

    Args:
        path: ``fixations.mat``.

    Returns:
        For each image's name without suffix the fixations of its observers, each ``(n, 2)``
        float64, row and column in pixels from 0.

    Raises:
        DataError: The file is missing or damaged, or does not have OSIE's structure.
    """
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
