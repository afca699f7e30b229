"""Compute information gain: bits by which fixations are predicted better than by a baseline."""

from __future__ import annotations

import numpy as np

from msinet_core.metrics.maps import (
    EPSILON,
    Floats,
    Map,
    Points,
    check_map,
    check_pair,
    fixated_pixels,
    stretch,
    to_distribution,
)

UNIFORM_SHARE = 0.01
"""The part of the uniform distribution in every density that fixations are predicted with, so that
a fixation where a map is 0 costs a finite number of bits."""


def density(saliency: Map) -> Floats:
    """Return a map as a probability distribution over pixels, with a share of the uniform one.

    Args:
        saliency: ``(H, W)``, not negative.

    Returns:
        ``(H, W)``, positive, with the sum 1.
    """
    values = check_map(saliency)
    return (1 - UNIFORM_SHARE) * to_distribution(values) + UNIFORM_SHARE / values.size


def information_gain(saliency: Map, fixations: Points, baseline: Map) -> float:
    """Compute IG, the bits by which a fixation is predicted better than by a baseline.

    Args:
        saliency: ``(H, W)``, not negative; read as a distribution, see `density`.
        fixations: ``(K, 2)`` rows and columns; a pixel counts once.
        baseline: ``(H, W)``, not negative: a prediction without the image, such as the center bias
            of the other images.

    Returns:
        Bits per fixation, 0 for the baseline itself; NaN without fixations.

    Source: Kuemmerer et al. 2015.
    """
    predicted, prior = check_pair(saliency, baseline)
    index = fixated_pixels(predicted, fixations)
    if index.size == 0:
        return float("nan")
    bits = [np.log2(density(values).ravel()[index]) for values in (predicted, prior)]
    return float((bits[0] - bits[1]).mean())


def mit_information_gain(saliency: Map, fixations: Points, baseline: Map) -> float:
    """Compute IG with the formula of the MIT benchmark: maps are scaled to 0..1 first.

    Without a uniform share, one fixation where a map has its lowest value costs 52 bits.

    Args:
        saliency: ``(H, W)``, any scale.
        fixations: ``(K, 2)`` rows and columns; a pixel counts once.
        baseline: ``(H, W)``, any scale, such as a centered Gaussian.

    Returns:
        Bits per fixation, 0 for the baseline itself; NaN without fixations.

    Source: InfoGain.m in the benchmark's code.
    """
    predicted, prior = check_pair(saliency, baseline)
    index = fixated_pixels(predicted, fixations)
    if index.size == 0:
        return float("nan")
    bits = [
        np.log2(EPSILON + to_distribution(stretch(values)).ravel()[index])
        for values in (predicted, prior)
    ]
    return float((bits[0] - bits[1]).mean())
