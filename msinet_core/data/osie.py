"""Read OSIE as published: one file of all fixations, and maps that are created from it."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

import numpy as np

from msinet_core.data.decode import SUFFIXES, image_size
from msinet_core.data.fixations import Fixations, load_mat
from msinet_core.data.folder import SALIENCY, STIMULI, Scan, conflicts, index
from msinet_core.data.images import read_map, to_gray, write_map
from msinet_core.data.sample import Sample
from msinet_core.errors import DataError, MsinetError, os_reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Observers = tuple[NDArray[np.float64], ...]

FIXATIONS_FILE = "fixations.mat"
OSIE_LAYOUT = f"""\
It needs {STIMULI}/1001.jpg to {STIMULI}/1700.jpg and {FIXATIONS_FILE} from the archive; maps are
created from the fixations."""

SIGMA = 16.0
"""Standard deviation in pixels of the Gaussian at each fixation of a map."""

MAP_VERSION = 1
"""Part of the cache's key; increase it when `saliency_map` changes."""

_write_lock = threading.Lock()
_warned: set[Path] = set()
_log = logging.getLogger(__name__)


def is_osie(folder: Path) -> bool:
    """Return whether a folder contains OSIE as published.

    Args:
        folder: The dataset.
    """
    return (folder / STIMULI).is_dir() and (folder / FIXATIONS_FILE).is_file()


def scan_osie(folder: Path, cache: Path) -> Scan:
    """Pair OSIE's images with their fixations.

    A map in ``saliency/`` is used unchanged; missing ones are created from the fixations.

    Args:
        folder: The dataset.
        cache: The user's cache folder, for maps that are created.

    Raises:
        DataError: The file of fixations cannot be read.
    """
    source = folder / FIXATIONS_FILE
    fixations = read_osie(source)
    stimuli = index(folder, STIMULI, SUFFIXES)
    maps = index(folder, SALIENCY, SUFFIXES)
    key = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    cached = cache / "osie" / f"{key}-sigma{SIGMA:g}-v{MAP_VERSION}"
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
    samples = [
        Sample(
            name,
            folder / files[0],
            FixationTruth(
                folder / files[0],
                fixations[name],
                cached / f"{name}.png",
                folder / maps[name][0] if name in maps else None,
            ),
        )
        for name, files in stimuli.items()
        if name in fixations
    ]
    return Scan(samples, None, problems)


@dataclass(frozen=True, eq=False)
class FixationTruth:
    """A map that is created from fixations when it is first needed, and cached.

    Args:
        stimulus: The image.
        observers: For each observer ``(n, 2)`` float64, row and column in pixels from 0.
        cached: The file in the cache; the image's size is added to the name.
        map: An existing map, which is used instead.
    """

    stimulus: Path
    observers: Observers = field(repr=False)
    cached: Path
    map: Path | None = None

    def read_fixations(self) -> Fixations:
        """Return the fixations that are on the image."""
        return Fixations.from_points(self.observers, image_size(self.stimulus))

    def read_map(self) -> NDArray[np.float32]:
        """Read or create the map, ``(H, W, 1)`` in 0..1; the bits are the same either way."""
        if self.map is not None:
            return read_map(self.map)
        height, width = image_size(self.stimulus)
        path = self.cached.with_name(f"{self.cached.stem}-{height}x{width}.png")
        if path.exists():
            with suppress(DataError):  # damaged: created again
                return read_map(path)
        map = saliency_map(self.read_fixations(), (height, width))
        try:
            with _write_lock:
                write_map(path, map[..., 0], "png")
        except MsinetError as error:
            _warn_once(path.parent, error)
        return map


def saliency_map(
    fixations: Fixations, size: tuple[int, int], sigma: float = SIGMA
) -> NDArray[np.float32]:
    """Blur fixations into a map whose highest value is 1, in steps of 1/255.

    The blur is mirrored at the image's edges, so that a fixation there counts as much as one in the
    middle.

    Args:
        fixations: Those of all observers are combined.
        size: The image's height and width in pixels.
        sigma: The Gaussian's standard deviation in pixels.

    Returns:
        ``(*size, 1)`` float32 in 0..1; zeros without fixations.

    Source: Kroner et al. 2020, section 3.2; the reference implementation's download.py.
    """
    from scipy.ndimage import gaussian_filter

    counts = np.zeros(size)
    for pixels in fixations.observers:
        np.add.at(counts, (pixels[:, 0], pixels[:, 1]), 1)
    blurred = gaussian_filter(counts, sigma)
    peak = blurred.max()
    gray = to_gray(blurred / peak if peak else blurred)
    return gray[..., None].astype(np.float32) / np.float32(255)


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


def _warn_once(folder: Path, error: MsinetError) -> None:
    if folder not in _warned:
        _warned.add(folder)
        reason = error.__cause__ or error
        _log.warning(
            "Could not cache maps in %s (%s); they are created again each time.", folder, reason
        )
