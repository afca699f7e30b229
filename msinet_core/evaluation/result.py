"""The result of an evaluation: scores of images, their summary, and files of them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from msinet_core.evaluation.baselines import HALF, MODEL, SOURCES, UNIFORM
from msinet_core.metrics.auc import BORJI_STEP
from msinet_core.metrics.maps import EPSILON
from msinet_core.metrics.standard import UNIFORM_SHARE
from msinet_core.metrics.table import METRICS
from msinet_core.network.ops import Size
from msinet_core.system.finite import finite
from msinet_core.system.kinds import choice
from msinet_core.system.settings import check_argument

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msinet_core.data.sample import Sample

CONSTANTS: Mapping[str, float] = {
    "kld_epsilon": EPSILON,
    "uniform_share": UNIFORM_SHARE,
    "auc_borji_step": BORJI_STEP,
}
"""The numbers in the metrics' formulas that scores depend on."""


_CONDITIONS = ("image", "content", "height", "width", "sigma", "device", "precision")
"""The first columns of a CSV file: what was scored, and how."""


@dataclass(frozen=True)
class Summary:
    """The mean of a metric over images, without those for which it is undefined.

    Args:
        mean: NaN without images.
        low: Lower limit of the bootstrap interval of 95%; NaN with fewer than two images.
        high: Its upper limit.
        n: The number of images.
    """

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class ImageScores:
    """The scores of one image.

    Args:
        name: The image's path in ``stimuli/``, for example ``"val/a.jpg"``.
        content: The beginning of the file's SHA-256, hexadecimal.
        size: Height and width in pixels at which it was scored.
        scores: By the keys of `SOURCES` and `METRICS`; NaN if a metric is undefined.
        sample: The image in its dataset; None if it is not known.
        thumbnail: ``(h, w)`` uint8, the model's map, small; None unless a report needs it.
        fit: The NSS of the true map at the fixations; NaN without either.
    """

    name: str
    content: str
    size: Size
    scores: Mapping[str, Mapping[str, float]]
    sample: Sample | None = field(repr=False, compare=False, default=None)
    thumbnail: NDArray[np.uint8] | None = field(repr=False, compare=False, default=None)
    fit: float = field(repr=False, compare=False, default=math.nan)

    @property
    def model(self) -> Mapping[str, float]:
        """The scores of the model's map by the keys of `METRICS`."""
        return self.scores[MODEL]


@dataclass(frozen=True)
class Evaluation:
    """Scores of a model on a dataset, beside those of baselines and of other observers.

    Args:
        images: The scores of each image, in the dataset's order.
        failures: The name of each image that could not be used, and why.
        with_fixations: The number of images with known fixations.
        data: The dataset's name.
        split: ``"train"``, ``"valid"`` or ``"test"``.
        weights: The weights or the folder of maps that were evaluated.
        device: The device's name; empty for maps.
        precision: The device's arithmetic; empty for maps.
        image_size: Height and width of the network's input in pixels; None for maps.
        sigma: Standard deviation in pixels of the Gaussian at each fixation of the true maps; None
            if it is not known.
        notes: Sentences about the choice of images.
    """

    images: tuple[ImageScores, ...] = field(repr=False)
    failures: tuple[tuple[str, str], ...] = ()
    with_fixations: int = 0
    data: str = ""
    split: str = ""
    weights: str = ""
    device: str = ""
    precision: str = ""
    image_size: Size | None = None
    sigma: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """The keys of `SOURCES` that were scored."""
        return tuple(source for source in SOURCES if any(source in i.scores for i in self.images))

    def values(self, metric: str, source: str = MODEL) -> NDArray[np.float64]:
        """Return a metric of each image; NaN where it is undefined.

        Args:
            metric: A key of `METRICS`.
            source: "model", or a baseline: "uniform", "center", "center_bias", "observers" (one
                half of them) or "observers_loo" (each one).

        Raises:
            UsageError: There is no such metric or source.
        """
        check_argument("metric", choice(tuple(METRICS)), metric)
        check_argument("source", choice(tuple(SOURCES)), source)
        return np.array([i.scores.get(source, {}).get(metric, math.nan) for i in self.images])

    def summary(self) -> dict[str, dict[str, Summary]]:
        """Summarize each metric for each source: ``summary()["nss"]["model"].mean``."""
        sources = self.sources or (MODEL,)
        columns = [(metric, source) for metric in METRICS for source in sources]
        table = np.stack([self.values(*column) for column in columns], axis=1)
        result: dict[str, dict[str, Summary]] = {metric: {} for metric in METRICS}
        for (metric, source), scores, limits in zip(
            columns, table.T, intervals(table), strict=True
        ):
            known = scores[~np.isnan(scores)]
            mean = float(known.mean()) if known.size else math.nan
            low, high = map(float, limits)
            result[metric][source] = Summary(mean, low, high, known.size)
        return result

    def conditions(self) -> dict[str, str]:
        """Return what the scores depend on: device, sizes and the sigma of the true maps."""
        sizes = sorted({image.size for image in self.images})
        return {
            "device": f"{self.device} in {self.precision}" if self.device else "",
            "network input": "x".join(map(str, self.image_size or ())),
            "scored at": "x".join(map(str, sizes[0])) if len(sizes) == 1 else "each image's size",
            "sigma of the true maps": "unknown" if self.sigma is None else f"{self.sigma:g} px",
        }

    def share_of_limit(self, metric: str) -> float:
        """Return how far the model gets from the uniform map to the observers' agreement.

        1 is the score of one half of the observers as a prediction of the other half.

        Args:
            metric: A key of `METRICS`.

        Returns:
            NaN if the observers are not known.
        """
        table = np.stack([self.values(metric, one) for one in (MODEL, UNIFORM, HALF)], axis=1)
        table = table[~np.isnan(table).any(axis=1)]
        model, uniform, limit = table.mean(axis=0) if len(table) else (math.nan,) * 3
        return float((model - uniform) / (limit - uniform)) if limit != uniform else math.nan

    def to_csv(self) -> str:
        """Return a table with a row for each image; undefined scores are empty."""
        text = io.StringIO()
        columns = [(source, metric) for source in self.sources for metric in METRICS]
        names = [m if s == MODEL else f"{s}_{m}" for s, m in columns]
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*_CONDITIONS, *CONSTANTS, *names])
        sigma = "" if self.sigma is None else f"{self.sigma:g}"
        shared = [sigma, self.device, self.precision, *map(repr, CONSTANTS.values())]
        for image in self.images:
            values = [image.scores.get(s, {}).get(m, math.nan) for s, m in columns]
            cells = ["" if math.isnan(value) else f"{value:.9g}" for value in values]
            writer.writerow([image.name, image.content, *image.size, *shared, *cells])
        return text.getvalue()

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as a JSON document; undefined values are None."""
        return {
            "data": self.data,
            "split": self.split,
            "images": len(self.images),
            "weights": self.weights,
            "device": self.device,
            "precision": self.precision,
            "image_size": self.image_size and list(self.image_size),
            "scored_at": [list(size) for size in sorted({image.size for image in self.images})],
            "sigma": self.sigma,
            "constants": dict(CONSTANTS),
            "images_with_fixations": self.with_fixations,
            "notes": list(self.notes),
            "metrics": {
                key: {source: finite(asdict(one)) for source, one in sources.items()}
                for key, sources in self.summary().items()
            },
            "share_of_limit": finite({key: self.share_of_limit(key) for key in METRICS}),
            "failures": [{"image": name, "reason": reason} for name, reason in self.failures],
        }


def percent(share: float) -> str:
    """Format a share as a percentage, never as minus zero; empty if it is not known.

    Args:
        share: 1 is 100%.
    """
    return "" if math.isnan(share) else f"{round(share, 2) + 0.0:.0%}"


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
