"""Intervals of means by resampling images."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESAMPLES = 2000
LEVEL = 0.95
SEED = 0


def intervals(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the percentile bootstrap interval of each column's mean, over the rows.

    All columns are resampled together, so that the intervals belong to the same images.

    Args:
        scores: ``(images, columns)``; NaN where a score is not defined.

    Returns:
        ``(columns, 2)``, the limits of the interval of 95%; NaN with fewer than two scores.

    Source: Efron and Tibshirani: An introduction to the bootstrap, 1993, section 13.3.
    """
    known = ~np.isnan(scores)
    weights = _weights(len(scores))
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (weights @ np.where(known, scores, 0)) / (weights @ known.astype(np.float64))
    outer = (1 - LEVEL) / 2
    limits = np.full((scores.shape[1], 2), np.nan)
    for column in np.flatnonzero(known.sum(axis=0) > 1):
        limits[column] = np.nanquantile(means[:, column], [outer, 1 - outer])
    return limits


@lru_cache(maxsize=2)
def _weights(count: int) -> NDArray[np.float64]:
    """Return how often each image is drawn in each resample, ``(RESAMPLES, count)``."""
    if count == 0:
        return np.zeros((RESAMPLES, 0))
    rng = np.random.Generator(np.random.PCG64(SEED))
    draws = rng.multinomial(count, np.full(count, 1 / count), RESAMPLES)
    return draws.astype(np.float64)
