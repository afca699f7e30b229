"""Compute areas under the ROC curve: how well a map tells fixated pixels from others.

All are expected values where the benchmark draws negatives or breaks ties at random.
"""

from __future__ import annotations

import numpy as np

from msinet_core.metrics.maps import (
    Floats,
    Map,
    Points,
    check_map,
    check_pair,
    fixated_pixels,
    stretch,
)

BORJI_STEP = 0.1
"""Distance of the thresholds of AUC-Borji; the benchmark's default."""


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
    values = check_map(saliency)
    index = fixated_pixels(values, fixations)
    others = np.ones(values.size, dtype=bool)
    others[index] = False
    return _roc_area(values.ravel()[index], values.ravel()[others])


def auc_borji(saliency: Map, fixations: Points, step: float = BORJI_STEP) -> float:
    """Compute the area under the ROC curve of fixated against random pixels, at few thresholds.

    The benchmark draws as many random pixels as there are fixations, a hundred times; this is the
    expected value. With steps of 0.1 it is lower than AUC-Judd (0.023 on average on OSIE), since a
    map with few high values passes between two thresholds; with steps of 0.01 they agree.

    Args:
        saliency: ``(H, W)``, any scale; scaled to 0..1 first.
        fixations: ``(K, 2)`` rows and columns; a pixel counts once.
        step: Distance of the thresholds.

    Returns:
        0 to 1, chance 0.5; NaN without fixations.

    Source: Borji, Tavakoli, Sihite, Itti: Analysis of scores, datasets, and models in visual
        saliency prediction, ICCV 2013; AUC_Borji.m in the benchmark's code.
    """
    values = check_map(saliency)
    index = fixated_pixels(values, fixations)
    if index.size == 0:
        return float("nan")
    if np.ptp(values) == 0:
        return 0.5
    stretched = stretch(values).ravel()
    thresholds = np.arange(0, 1 + step / 2, step)[::-1]
    rates = []
    for sample in (stretched, stretched[index]):
        above = sample.size - np.searchsorted(np.sort(sample), thresholds, side="left")
        rates.append(np.concatenate([[0], above / sample.size, [1]]))
    false_rate, true_rate = rates
    return float((np.diff(false_rate) * (true_rate[1:] + true_rate[:-1])).sum() / 2)


def shuffled_auc(saliency: Map, fixations: Points, others: Map) -> float:
    """Compute the area under the ROC curve of this image's fixations against other images'.

    The center bias that all images have in common does not raise it. The benchmark draws from the
    other images at random; this is the expected value over all of them.

    Args:
        saliency: ``(H, W)``, any scale.
        fixations: ``(K, 2)`` rows and columns; a pixel counts once.
        others: ``(H, W)``, the number of fixations of other images at each pixel.

    Returns:
        0 to 1, chance 0.5; NaN without fixations of either kind.

    Source: Zhang, Tong, Marks, Shan, Cottrell: SUN, Journal of Vision 8(7), 2008.
    """
    values, counts = check_pair(saliency, others)
    index, negatives = fixated_pixels(values, fixations), np.flatnonzero(counts)
    return _roc_area(values.ravel()[index], values.ravel()[negatives], counts.ravel()[negatives])


def _roc_area(positives: Floats, negatives: Floats, weights: Floats | None = None) -> float:
    """Return the share of pairs in which the positive is higher; a negative may weigh more."""
    if positives.size == 0 or negatives.size == 0:
        return float("nan")
    # The Mann-Whitney statistic: one sort of the many negatives, one search for each positive.
    if weights is None:
        ordered, below = np.sort(negatives), np.arange(negatives.size + 1)
    else:
        order = np.argsort(negatives)
        ordered, below = negatives[order], np.concatenate([[0], np.cumsum(weights[order])])
    sides = (np.searchsorted(ordered, positives, side) for side in ("left", "right"))
    return float(sum(below[side].sum() for side in sides) / (2 * below[-1] * positives.size))
