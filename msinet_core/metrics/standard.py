"""Compute how well a saliency map predicts where people looked.

Every metric takes one map at the size of its image. All are deterministic: where the benchmark's
code breaks ties or picks negatives at random, the expected value is computed instead.

A constant saliency map is scored as chance (NSS 0, CC 0, AUC 0.5, otherwise as the uniform
distribution), so that a network that predicts nothing lowers a mean instead of being left out. If
the truth is missing (no fixation, a constant true map for CC, an empty true map for SIM and KLD)
the metric is NaN. A pixel that several observers fixated counts once, except among the negatives of
shuffled AUC, whose center bias would be lost otherwise.

Source: Bylinskii, Judd, Oliva, Torralba, Durand: What do different evaluation metrics tell us about
    saliency models?, PAMI 41(3), 2019, and its code, https://github.com/cvzoya/saliency; Le Meur
    and Baccino: Methods for comparing scanpaths and saliency maps, Behavior Research Methods 45,
    2013; Kuemmerer, Wallis, Bethge: Information-theoretic model comparison unifies saliency
    metrics, PNAS 112(52), 2015.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from msinet_core.metrics.maps import (
    EPSILON,
    Floats,
    Map,
    Points,
    check_map,
    check_pair,
    fixated_pixels,
    standardize,
    stretch,
    to_distribution,
)
from msinet_core.network.loss import KLDivergence

UNIFORM_SHARE = 0.01
"""The part of the uniform distribution in every density that fixations are predicted with, so that
a fixation where a map is 0 costs a finite number of bits."""


def nss(saliency: Map, fixations: Points) -> float:
    """Compute the normalized scanpath saliency: the mean standardized value at fixated pixels.

    Args:
        saliency: ``(H, W)``, any scale.
        fixations: ``(K, 2)`` rows and columns; a pixel counts once.

    Returns:
        Standard deviations above the map's mean, chance 0; NaN without fixations.

    Source: Peters, Iyer, Itti, Koch: Components of bottom-up gaze allocation in natural images,
        Vision Research 45(18), 2005.
    """
    values = check_map(saliency)
    index = fixated_pixels(values, fixations)
    return float(standardize(values).ravel()[index].mean()) if index.size else float("nan")


def correlation(saliency: Map, truth: Map) -> float:
    """Compute CC, Pearson's linear correlation of two maps.

    Args:
        saliency: ``(H, W)``, any scale.
        truth: ``(H, W)``, the blurred fixations.

    Returns:
        -1 to 1, chance 0; NaN when the truth is constant.

    Source: Le Meur and Baccino 2013.
    """
    predicted, true = check_pair(saliency, truth)
    if np.ptp(true) == 0:
        return float("nan")
    score = float((standardize(predicted) * standardize(true)).mean())
    return min(1.0, max(-1.0, score))


def similarity(saliency: Map, truth: Map) -> float:
    """Compute SIM, the intersection of two maps as histograms.

    Both are scaled to 0..1 first, as the benchmark does, then to the sum 1.

    Args:
        saliency: ``(H, W)``, any scale.
        truth: ``(H, W)``, the blurred fixations.

    Returns:
        0 to 1; NaN when the truth is empty.

    Source: Judd, Durand, Torralba: A benchmark of computational models of saliency, 2012.
    """
    predicted, true = check_pair(saliency, truth)
    if not true.any():
        return float("nan")
    overlap = np.minimum(to_distribution(stretch(predicted)), to_distribution(stretch(true)))
    return float(overlap.sum())


def kl_divergence(saliency: Map, truth: Map) -> float:
    """Compute KLD, the divergence of the predicted distribution from the true one, in nats.

    Args:
        saliency: ``(H, W)``, not negative.
        truth: ``(H, W)``, the blurred fixations.

    Returns:
        0 for equal distributions, else more; NaN when the truth is empty.

    Source: Bylinskii et al. 2019; formula and epsilon of KLdiv.m in the benchmark's code.
    """
    predicted, true = check_pair(saliency, truth)
    if not true.any():
        return float("nan")
    p, t = to_distribution(predicted), to_distribution(true)
    return float((t * np.log(EPSILON + t / (EPSILON + p))).sum())


def training_loss(saliency: Map, truth: Map, loss: KLDivergence | None = None) -> float:
    """Compute the loss of one image as a device's evaluation step does, in float64.

    Args:
        saliency: ``(h, w)``, the network's output at the network's own size.
        truth: ``(h, w)``, the true map fitted to that size.
        loss: Its constants; None: those of the training.

    Source: `msinet_core.network.loss.KLDivergence`.
    """
    predicted, true = check_pair(saliency, truth)
    epsilon = (loss or KLDivergence()).epsilon
    p, t = (values / (epsilon + values.sum()) for values in (predicted, true))
    return float((t * np.log(epsilon + t / (epsilon + p))).sum())


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
    return _gain(saliency, fixations, baseline, density)


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
    return _gain(
        saliency, fixations, baseline, lambda values: EPSILON + to_distribution(stretch(values))
    )


def _gain(
    saliency: Map, fixations: Points, baseline: Map, density: Callable[[Floats], Floats]
) -> float:
    """Return the mean gain in bits, with maps that are read as `density` returns them."""
    predicted, prior = check_pair(saliency, baseline)
    index = fixated_pixels(predicted, fixations)
    if index.size == 0:
        return float("nan")
    gain = np.log2(density(predicted).ravel()[index] / density(prior).ravel()[index])
    return float(gain.mean())
