"""OSIE as its authors publish it: one file of fixations, and maps made from it."""

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
from msinet_core.data.folder import SALIENCY, STIMULI, Scan, clashes, index
from msinet_core.data.images import read_map, to_gray, write_map
from msinet_core.data.sample import Sample
from msinet_core.errors import DataError, MsinetError, os_reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Observers = tuple[NDArray[np.float64], ...]

FIXATIONS_FILE = "fixations.mat"
OSIE_LAYOUT = f"""\
It needs {STIMULI}/1001.jpg to {STIMULI}/1700.jpg and {FIXATIONS_FILE}, which are in the archive;
maps are made from the fixations."""

SIGMA = 16.0
"""Standard deviation in pixels of the Gaussian that each fixation becomes in a map."""

MAP_VERSION = 1
"""Part of the cache's key; to be raised when `saliency_map` comes to compute something else."""

_write_lock = threading.Lock()
_warned: set[Path] = set()
_log = logging.getLogger(__name__)


def is_osie(folder: Path) -> bool:
    """Tell whether a folder holds OSIE as published.

    Args:
        folder: The data set.
    """
    return (folder / STIMULI).is_dir() and (folder / FIXATIONS_FILE).is_file()


def scan_osie(folder: Path, cache: Path) -> Scan:
    """Pair OSIE's images with their fixations.

    A map in ``saliency/`` is used as it is; what is not there is made from the fixations.

    Args:
        folder: The data set.
        cache: Where maps that are made from fixations are kept.

    Raises:
        DataError: The file of fixations cannot be read.
    """
    source = folder / FIXATIONS_FILE
    fixations = read_osie(source)
    stimuli = index(folder, STIMULI, SUFFIXES)
    maps = index(folder, SALIENCY, SUFFIXES)
    key = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    made = cache / "osie" / f"{key}-sigma{SIGMA:g}-v{MAP_VERSION}"
    problems = clashes(stimuli) + clashes(maps)
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
                made / f"{name}.png",
                folder / maps[name][0] if name in maps else None,
            ),
        )
        for name, files in stimuli.items()
        if name in fixations
    ]
    return Scan(samples, None, problems)


@dataclass(frozen=True, eq=False)
class FixationTruth:
    """A map that is made from fixations when it is first needed, and kept.

    Args:
        stimulus: The image that was looked at.
        observers: For each observer ``(n, 2)`` float64, row and column in pixels from 0.
        made: Where the map is kept; the image's size is added to the name.
        map: A map that is there already and is used instead.
    """

    stimulus: Path
    observers: Observers = field(repr=False)
    made: Path
    map: Path | None = None

    def read_fixations(self) -> Fixations:
        """Return the fixations that are on the image."""
        return Fixations.from_points(self.observers, image_size(self.stimulus))

    def read_map(self) -> NDArray[np.float32]:
        """Read or make the map, ``(H, W, 1)`` in 0..1; the bits are the same either way."""
        if self.map is not None:
            return read_map(self.map)
        height, width = image_size(self.stimulus)
        kept = self.made.with_name(f"{self.made.stem}-{height}x{width}.png")
        if kept.exists():
            with suppress(DataError):  # damaged from outside: made anew
                return read_map(kept)
        map = saliency_map(self.read_fixations(), (height, width))
        try:
            with _write_lock:
                write_map(kept, map[..., 0], "png")
        except MsinetError as error:
            _warn_once(kept.parent, error)
        return map


def saliency_map(
    fixations: Fixations, size: tuple[int, int], sigma: float = SIGMA
) -> NDArray[np.float32]:
    """Blur fixations into a map whose highest value is 1, in steps of 1/255.

    Beyond the image's edge the blur is mirrored back, so that a fixation there counts as much as
    one in the middle.

    Args:
        fixations: Those of all observers are taken together.
        size: The image's height and width in pixels.
        sigma: The Gaussian's standard deviation in pixels.

    Returns:
        ``(*size, 1)`` float32 in 0..1; zeros if there is no fixation.

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
    """Read OSIE's file of fixations; a second call for the same file costs nothing.

    Args:
        path: ``fixations.mat``.

    Returns:
        For each image's name without ending the fixations of its observers, each ``(n, 2)``
        float64, row and column in pixels from 0.

    Raises:
        DataError: The file is not there, damaged, or not arranged as OSIE's.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {os_reason(error)}.") from error
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
            f"{path} is not arranged as OSIE's fixations.mat (for each image 'img' and 'subjects', "
            f"for each of these 'fix_x' and 'fix_y' of one length): {error!r}. Copy or download it "
            f"again."
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
            "Maps cannot be kept in %s (%s); they are made anew each time.", folder, reason
        )
