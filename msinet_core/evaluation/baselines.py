"""What a model is compared with: no knowledge, the center, and other observers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from msinet_core.evaluation.fixation_bank import blur, count

if TYPE_CHECKING:
    from msinet_core.metrics.maps import Floats, Points
    from msinet_core.network.ops import Size

MODEL, UNIFORM, CENTER, CENTER_BIAS = "model", "uniform", "center", "center_bias"
HALF, OTHERS = "observers", "observers_loo"

SOURCES = {
    MODEL: "model",
    UNIFORM: "uniform",
    CENTER: "centered Gaussian",
    CENTER_BIAS: "center bias",
    HALF: "observers, half",
    OTHERS: "observers, one out",
}
"""What makes a prediction: its key in JSON and CSV, and its title in tables."""

LIMIT = (
    "of limit: how far the model gets from the uniform map to the agreement of one half of the "
    "observers with the other"
)
"""What tables say below that column."""

CENTER_SIGMA = 0.25
"""Standard deviation of the centered Gaussian as a share of each side."""

OBSERVER_SIGMA = 0.03
"""Standard deviation of an observer's map as a share of the width, if that of the dataset's maps is
not known; 24 of OSIE's 800 pixels."""


@lru_cache(maxsize=16)
def center_gaussian(size: Size) -> Floats:
    """Return the baseline that looks at the middle of every image, with its maximum near 1.

    Args:
        size: Height and width in pixels.

    Source: Bylinskii et al. 2019, the "center" baseline: a Gaussian stretched to the image's shape.
    """
    axes = [
        np.exp(-0.5 * ((np.arange(length) - (length - 1) / 2) / (CENTER_SIGMA * length)) ** 2)
        for length in size
    ]
    return np.asarray(np.outer(*axes), dtype=np.float64)


def halves(observers: Sequence[Points]) -> tuple[Points, Points]:
    """Divide observers into two groups, alternately, and join the fixations of each.

    Args:
        observers: For each observer ``(n, 2)`` rows and columns; at least two.
    """
    return np.concatenate(observers[::2]), np.concatenate(observers[1::2])


def observer_map(points: Points, size: Size, sigma: float) -> Floats:
    """Return fixations as a prediction: blurred, not rounded.

    Args:
        points: ``(n, 2)`` rows and columns.
        size: Height and width in pixels.
        sigma: Standard deviation of the Gaussian in pixels.
    """
    return np.maximum(blur(count(points, size), (sigma, sigma)), 0)


def leave_one_out(
    observers: Sequence[Points], size: Size, sigma: float
) -> Iterator[tuple[Floats, Points]]:
    """Yield the map of all other observers and the fixations of each one.

    Args:
        observers: For each observer ``(n, 2)`` rows and columns.
        size: Height and width in pixels.
        sigma: Standard deviation of the Gaussian in pixels.
    """
    # float32 halves the time of the many transforms, and is exact to six digits.
    counts = [count(points, size).astype(np.float32) for points in observers]
    total = np.sum(counts, axis=0)
    for points, own in zip(observers, counts, strict=True):
        if len(points) and len(points) < total.sum():
            yield np.maximum(blur(total - own, (sigma, sigma)), 0), points
