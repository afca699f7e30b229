"""The calibrated log-likelihood: how many bits a map tells about a fixation at its best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msinet_core.metrics.maps import Map, Points

CELLS = (48, 64)
"""Maps are compared on a grid of at most as many cells, down and across."""

_START = (0.0, np.log(0.05))


class Cells(NamedTuple):
    """A map and its fixations on a coarse grid.

    Args:
        values: ``(cells,)`` float32, the map's mean in each cell, with the maximum 1.
        counts: ``(cells,)`` uint16, the number of fixated pixels in each cell.
    """

    values: NDArray[np.float32]
    counts: NDArray[np.uint16]


def to_cells(saliency: Map, fixations: Points) -> Cells:
    """Reduce a map and its fixations to a coarse grid.

    Args:
        saliency: ``(H, W)``, any scale.
        fixations: ``(K, 2)`` rows and columns; a pixel counts once.
    """
    size = saliency.shape[0], saliency.shape[1]
    grid = min(CELLS[0], size[0]), min(CELLS[1], size[1])
    starts = [np.arange(cells) * axis // cells for cells, axis in zip(grid, size, strict=True)]
    values = np.asarray(saliency, np.float64) - np.min(saliency)
    sums = np.add.reduceat(np.add.reduceat(values, starts[0], axis=0), starts[1], axis=1)
    lengths = [np.diff([*start, axis]) for start, axis in zip(starts, size, strict=True)]
    means = sums / np.outer(*lengths)
    pixels = np.unique(fixations, axis=0)
    rows, columns = (
        np.searchsorted(start, pixels[:, axis], side="right") - 1
        for axis, start in enumerate(starts)
    )
    counts = np.zeros(grid, np.uint16)
    np.add.at(counts, (rows, columns), 1)
    peak = means.max() or 1.0
    return Cells((means / peak).astype(np.float32).ravel(), counts.ravel())


def calibrated(images: Sequence[Cells | None]) -> list[float]:
    """Return the log-likelihood of each image's fixations under its map, calibrated by the others.

    A map is turned into a density by ``(value + offset) ** exponent``, the same for all images. The
    two numbers are chosen on every second image, where they maximize the likelihood, and applied
    to the others, and the other way round: a map is scored by what it knows, not by its scale.

    Args:
        images: Maps and fixations; None if an image has no fixations.

    Returns:
        Bits per fixation above the uniform density; NaN without fixations, or with fewer than two
        images.

    Source: Kuemmerer et al. 2015, a pointwise monotone nonlinearity fitted for the whole dataset;
        its 20 segments are two parameters here, and its blur and center bias are left out.
    """
    from scipy.optimize import minimize

    known = [(number, cells) for number, cells in enumerate(images) if cells and cells.counts.any()]
    scores = [float("nan")] * len(images)
    for fold in range(2):
        fitted = [cells for _, cells in known[fold::2]]
        if fitted:
            found = minimize(
                lambda parameters, fitted=fitted: (
                    -np.mean([_bits(one, *parameters) for one in fitted])
                ),
                _START,
                method="Nelder-Mead",
                options={"maxfev": 80, "xatol": 1e-2, "fatol": 1e-4},
            )
            for number, cells in known[1 - fold :: 2]:
                scores[number] = float(_bits(cells, *found.x))
    return scores


def _bits(cells: Cells, log_exponent: float, log_offset: float) -> float:
    weights = (cells.values + np.exp(np.clip(log_offset, -12, 5))) ** np.exp(
        np.clip(log_exponent, -6, 3)
    )
    bits = np.log2(weights * (weights.size / weights.sum()))
    return float((bits * cells.counts).sum() / cells.counts.sum())
