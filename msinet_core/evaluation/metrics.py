"""Compute how well a saliency map predicts where people looked.

Every metric takes one map at the size of its image. All are deterministic: where the benchmark's
code breaks ties or picks negatives at random, the expected value is computed instead.

A constant saliency map is scored as chance (NSS 0, CC 0, AUC 0.5, otherwise as the uniform
distribution), so that a network that predicts nothing lowers a mean instead of being left out. If
the truth is missing (no fixation, a constant true map for CC, an empty true map for SIM and KLD)
the metric is NaN.

AUC-Borji is omitted: its exact value is AUC-Judd with the fixated pixels as negatives too, which
differs by less than the sampling noise of the original.

Source: Bylinskii, Judd, Oliva, Torralba, Durand: What do different evaluation metrics tell us about
    saliency models?, PAMI 41(3), 2019, and its code, https://github.com/cvzoya/saliency; Le Meur
    and Baccino: Methods for comparing scanpaths and saliency maps, Behavior Research Methods 45,
    2013; Kuemmerer, Wallis, Bethge: Information-theoretic model comparison unifies saliency
    metrics, PNAS 112(52), 2015.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from msinet_core.errors import DataError
from msinet_core.network.loss import KLDivergence
from msinet_core.network.ops import Size

Map = NDArray[np.floating[Any]]
Points = NDArray[np.integer[Any]]
Floats = NDArray[np.float64]

EPSILON = float(np.finfo(np.float64).eps)
"""Keeps logarithms finite; MATLAB's eps, as in the benchmark's code."""

CENTER_SIGMA = 0.25
"""Standard deviation of the centered baseline as a share of each side."""


def center_gaussian(size: Size, sigma: float = CENTER_SIGMA) -> Floats:
    """Return the baseline that looks at the middle of every image, with its maximum near 1.

    Args:
        size: Height and width in pixels.
        sigma: Standard deviation as a share of the height and of the width.

    Source: Bylinskii et al. 2019, the "center" baseline: a Gaussian stretched to the image's shape.
    """
    axes = [
        np.exp(-0.5 * ((np.arange(length) - (length - 1) / 2) / (sigma * length)) ** 2)
        for length in size
    ]
    return np.asarray(np.outer(*axes), dtype=np.float64)


def auc_judd(saliency: Map, fixations: Points) -> float:
    """Compute the area under the ROC curve of fixated pixels against all the others.

    It is the share of pairs (fixated, other) in which the fixated pixel has the higher value; ties
    count half. The benchmark joins the curve's points at fixations by straight lines, which adds
    at most 1 / (2 * fixations) to it.

    Args:
        saliency: ``(H, W)``, any scale.
        fixations: ``(K, 2)`` rows and columns; a pixel counts once.

    Returns:
        0 to 1, chance 0.5; NaN without fixations or when every pixel is fixated.

    Source: Judd, Ehinger, Durand, Torralba: Learning to predict where humans look, ICCV 2009.
    """
    values = _map(saliency)
    index = _pixels(values, fixations)
    others = np.ones(values.size, dtype=bool)
    others[index] = False
    return _roc_area(values.ravel()[index], values.ravel()[others])


def auc_shuffled(saliency: Map, fixations: Points, others: Points) -> float:
    """Compute the area under the ROC curve of this image's fixations against other images'.

    The center bias that all images have in common does not raise it.

    Args:
        saliency: ``(H, W)``, any scale.
        fixations: ``(K, 2)`` rows and columns; a pixel counts once.
        others: ``(L, 2)`` fixations on other images, scaled to this image's size.

    Returns:
        0 to 1, chance 0.5; NaN without fixations of either kind.

    Source: Zhang, Tong, Marks, Shan, Cottrell: SUN, Journal of Vision 8(7), 2008.
    """
    values = _map(saliency)
    index, negatives = _pixels(values, fixations), _pixels(values, others)
    return _roc_area(values.ravel()[index], values.ravel()[negatives])


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
    values = _map(saliency)
    index = _pixels(values, fixations)
    if index.size == 0:
        return float("nan")
    return float(_standardize(values).ravel()[index].mean())


def correlation(saliency: Map, truth: Map) -> float:
    """Compute CC, Pearson's linear correlation of two maps.

    Args:
        saliency: ``(H, W)``, any scale.
        truth: ``(H, W)``, the blurred fixations.

    Returns:
        -1 to 1, chance 0; NaN when the truth is constant.

    Source: Le Meur and Baccino 2013.
    """
    predicted, true = _pair(saliency, truth)
    if np.ptp(true) == 0:
        return float("nan")
    score = float((_standardize(predicted) * _standardize(true)).mean())
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
    predicted, true = _pair(saliency, truth)
    if not true.any():
        return float("nan")
    overlap = np.minimum(_distribution(_stretch(predicted)), _distribution(_stretch(true)))
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
    predicted, true = _pair(saliency, truth)
    if not true.any():
        return float("nan")
    p, t = _distribution(predicted), _distribution(true)
    return float((t * np.log(EPSILON + t / (EPSILON + p))).sum())


def training_loss(saliency: Map, truth: Map, loss: KLDivergence | None = None) -> float:
    """Compute the loss of one image as a device's evaluation step does, in float64.

    Args:
        saliency: ``(h, w)``, the network's output at the network's own size.
        truth: ``(h, w)``, the true map fitted to that size.
        loss: Its constants; None: those of the training.

    Source: `msinet_core.network.loss.KLDivergence`.
    """
    predicted, true = _pair(saliency, truth)
    epsilon = (loss or KLDivergence()).epsilon
    p, t = (values / (epsilon + values.sum()) for values in (predicted, true))
    return float((t * np.log(epsilon + t / (epsilon + p))).sum())


def information_gain(saliency: Map, fixations: Points, baseline: Map) -> float:
    """Compute IG, the bits by which a fixation is predicted better than by a baseline.

    Args:
        saliency: ``(H, W)``, any scale.
        fixations: ``(K, 2)`` rows and columns; a pixel counts once.
        baseline: ``(H, W)``, a prediction without the image, such as `center_gaussian`.

    Returns:
        Bits per fixation, 0 for the baseline itself; NaN without fixations.

    Source: Kuemmerer et al. 2015; scaled and with the epsilon of the MIT benchmark's code.
    """
    predicted, prior = _pair(saliency, baseline)
    index = _pixels(predicted, fixations)
    if index.size == 0:
        return float("nan")
    bits = [
        np.log2(EPSILON + _distribution(_stretch(values)).ravel()[index])
        for values in (predicted, prior)
    ]
    return float((bits[0] - bits[1]).mean())


def _roc_area(positives: Floats, negatives: Floats) -> float:
    if positives.size == 0 or negatives.size == 0:
        return float("nan")
    # The Mann-Whitney statistic; the few positives are sorted, not the many negatives.
    ordered = np.sort(positives)
    above = positives.size - np.searchsorted(ordered, negatives, side="right")
    at_least = positives.size - np.searchsorted(ordered, negatives, side="left")
    wins = float(above.sum() + at_least.sum()) / 2
    return wins / (positives.size * negatives.size)


def _map(values: Map) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.size == 0:
        raise DataError(f"A saliency map has the shape (H, W). Received: {array.shape}")
    if not np.isfinite(array).all():
        raise DataError("A saliency map has a value that is not finite.")
    return array


def _pair(first: Map, second: Map) -> tuple[Floats, Floats]:
    one, other = _map(first), _map(second)
    if one.shape != other.shape:
        raise DataError(
            f"Two maps of an image must have the same size. Received: {one.shape} and {other.shape}"
        )
    return one, other


def _pixels(values: Floats, points: Points) -> NDArray[np.intp]:
    """Return the flat index of each fixated pixel, each once."""
    points = np.asarray(points)
    if points.size == 0:
        return np.empty(0, dtype=np.intp)
    if points.ndim != 2 or points.shape[1] != 2 or not np.issubdtype(points.dtype, np.integer):
        raise DataError(
            f"Fixations are integers of the shape (K, 2). "
            f"Received: {points.dtype} of the shape {points.shape}"
        )
    if (points < 0).any() or (points >= values.shape).any():
        raise DataError(
            f"A fixation is outside its image of {values.shape[0]}x{values.shape[1]} pixels; "
            f"fixations are rows and columns, counted from 0."
        )
    return np.unique(np.ravel_multi_index((points[:, 0], points[:, 1]), values.shape))


def _standardize(values: Floats) -> Floats:
    if np.ptp(values) == 0:  # by its range: the deviation of equal values is rarely exactly 0
        return np.zeros_like(values)
    stretched = _stretch(values)  # first, so that a tiny scale loses no digits
    standardized: Floats = (stretched - stretched.mean()) / stretched.std()
    return standardized


def _stretch(values: Floats) -> Floats:
    """Scale to 0..1; a constant map becomes the uniform one."""
    lowest, extent = values.min(), np.ptp(values)
    if extent == 0:
        return np.ones_like(values)
    stretched: Floats = (values - lowest) / extent
    return stretched


def _distribution(values: Floats) -> Floats:
    if (values < 0).any():
        raise DataError("A map with negative values is not a distribution; scale it to 0..1 first.")
    total = values.sum()
    if total == 0:
        return np.full_like(values, 1 / values.size)
    distribution: Floats = values / total
    return distribution
