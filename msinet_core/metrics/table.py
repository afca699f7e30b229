"""The table of metrics: their names, direction, and how each scores a map."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from msinet_core.metrics import auc, standard
from msinet_core.metrics.maps import Floats, Map, Points


@dataclass(frozen=True)
class Target:
    """What the map of one image is compared with; None for what is not known.

    Args:
        map: ``(H, W)``, the true map.
        fixations: ``(K, 2)`` rows and columns.
        others: ``(H, W)``, the number of fixations of the dataset's other images at each pixel.
        center_bias: ``(H, W)``, the density of the other images' fixations.
        center: ``(H, W)``, a centered Gaussian.
    """

    map: Map | None = None
    fixations: Points | None = None
    others: Floats | None = None
    center_bias: Floats | None = None
    center: Floats | None = None


@dataclass(frozen=True)
class Metric:
    """A metric and its names.

    Args:
        key: Its name in JSON, CSV and options.
        title: Its name in tables.
        higher_is_better: The direction.
        function: Scores a map ``(H, W)`` against the fields of `Target` named in `needs`; None if
            the score needs more than one map.
        needs: What it compares with.
    """

    key: str
    title: str
    higher_is_better: bool
    function: Callable[..., float] | None
    needs: tuple[str, ...]

    @property
    def needs_fixations(self) -> bool:
        """Whether it compares with fixations, or with the true map."""
        return "fixations" in self.needs

    def score(self, saliency: Map, target: Target) -> float:
        """Return the score of a map; NaN if what it compares with is not known.

        Args:
            saliency: ``(H, W)``, the prediction.
            target: What it is compared with.
        """
        values = [getattr(target, name) for name in self.needs]
        if self.function is None or any(value is None for value in values):
            return math.nan
        return self.function(saliency, *values)


_MAP, _POINTS = ("map",), ("fixations",)

METRICS: Mapping[str, Metric] = {
    metric.key: metric
    for metric in (
        Metric("loss", "training loss (KLD)", False, None, _MAP),
        Metric("kld", "KLD", False, standard.kl_divergence, _MAP),
        Metric("cc", "CC", True, standard.correlation, _MAP),
        Metric("sim", "SIM", True, standard.similarity, _MAP),
        Metric("nss", "NSS", True, standard.nss, _POINTS),
        Metric("auc_judd", "AUC-Judd", True, auc.auc_judd, _POINTS),
        Metric("auc_borji", "AUC-Borji", True, auc.auc_borji, _POINTS),
        Metric("shuffled_auc", "shuffled AUC", True, auc.shuffled_auc, (*_POINTS, "others")),
        Metric(
            "information_gain",
            "IG over center bias (bits)",
            True,
            standard.information_gain,
            (*_POINTS, "center_bias"),
        ),
        Metric(
            "mit_information_gain",
            "IG over Gaussian, MIT (bits)",
            True,
            standard.mit_information_gain,
            (*_POINTS, "center"),
        ),
        Metric("log_likelihood", "log-likelihood, calibrated (bits)", True, None, _POINTS),
    )
}
"""Each metric by its key, in the order of tables."""
