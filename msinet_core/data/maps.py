"""Draw saliency maps from fixations when they are first needed, and keep them in the cache."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from msinet_core.data.fixations import Fixations
from msinet_core.data.images import read_map, to_gray, write_map
from msinet_core.errors import DataError, MsinetError, os_reason
from msinet_core.system.files import cache_folder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msinet_core.network.ops import Size

MAP_VERSION = 1
"""Part of the cache's key; increase it when `saliency_map` changes."""

MAPS_FILE = "maps.json"
"""Beside maps that were drawn with `draw_maps`; records their sigma and size in bytes."""

_write_lock = threading.Lock()
_log = logging.getLogger(__name__)


def saliency_map(fixations: Fixations, size: Size, sigma: float) -> NDArray[np.float32]:
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


def drawn_map(fixations: Fixations, size: Size, sigma: float) -> NDArray[np.float32]:
    """Return the map of fixations from the cache, or draw it; the bits are the same either way.

    Args:
        fixations: The fixations.
        size: The image's height and width in pixels.
        sigma: The Gaussian's standard deviation in pixels.

    Returns:
        ``(*size, 1)`` float32 in 0..1.
    """
    path = cache_folder() / "maps" / f"{_key(fixations, size, sigma)}.png"
    if path.exists():
        with suppress(DataError):  # damaged: drawn again
            return read_map(path)
    map = saliency_map(fixations, size, sigma)
    try:
        with _write_lock:
            write_map(path, map[..., 0], "png")
    except MsinetError as error:
        _warn_once(path.parent, os_reason(error.__cause__ or error))
    return map


def _key(fixations: Fixations, size: Size, sigma: float) -> str:
    digest = hashlib.sha256(f"v{MAP_VERSION} {size} {sigma!r}".encode())
    for pixels in fixations.observers:
        digest.update(pixels.tobytes())
    return digest.hexdigest()[:32]


def recorded_sigma(folder: Path) -> float | None:
    """Return the sigma of maps that `draw_maps` wrote; None for others, or if they were changed.

    Args:
        folder: The folder with the maps.
    """
    try:
        record = json.loads((folder / MAPS_FILE).read_text(encoding="utf-8"))
        sigma, size = float(record["sigma"]), int(record["bytes"])
        return sigma if size == size_of_maps(folder) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def size_of_maps(folder: Path) -> int:
    """Return the bytes of all maps in a folder.

    Args:
        folder: The folder with the maps.
    """
    return sum(path.stat().st_size for path in folder.rglob("*.png"))


@cache
def _warn_once(folder: Path, reason: str) -> None:
    _log.warning(
        "Could not cache maps in %s (%s); they are created again each time.", folder, reason
    )
