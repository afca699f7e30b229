"""The result of an evaluation: scores of images, their summary, and files of them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from msinet_core.network.ops import Size

NETWORK, CENTER = "network", "center"


@dataclass(frozen=True)
class Metric:
    """A metric and its names.

    Args:
        key: Its name in JSON and CSV.
        title: Its name in tables.
        higher_is_better: The direction.
        needs_fixations: Whether it compares with fixations, or with the true map.
    """

    key: str
    title: str
    higher_is_better: bool
    needs_fixations: bool


METRICS = (
    Metric("loss", "training loss (KLD)", False, False),
    Metric("kld", "KLD", False, False),
    Metric("cc", "CC", True, False),
    Metric("sim", "SIM", True, False),
    Metric("nss", "NSS", True, True),
    Metric("auc_judd", "AUC-Judd", True, True),
    Metric("auc_shuffled", "AUC-shuffled", True, True),
    Metric("ig", "IG over center (bits)", True, True),
)


@dataclass(frozen=True)
class Summary:
    """A metric over many images, without those for which it is undefined.

    Args:
        mean: NaN without images.
        standard_error: Of the mean; NaN with fewer than two images.
        n: The number of images.
    """

    mean: float
    standard_error: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Summary:
        """Summarize values.

        Args:
            values: One for each image; NaN if the metric is undefined.
        """
        known = np.array([value for value in values if not math.isnan(value)])
        n = known.size
        error = float(known.std(ddof=1) / math.sqrt(n)) if n > 1 else math.nan
        return cls(float(known.mean()) if n else math.nan, error, n)


@dataclass(frozen=True)
class ImageScores:
    """The scores of one image by the keys of `METRICS`; NaN if a metric is undefined.

    Args:
        name: The image's file in ``stimuli/``.
        network: Of the network's map.
        center: Of the centered Gaussian.
    """

    name: str
    network: Mapping[str, float]
    center: Mapping[str, float]


@dataclass(frozen=True)
class Evaluation:
    """Scores of a network on a dataset, beside those of a centered Gaussian.

    Args:
        images: The scores of each image, in the dataset's order.
        failures: The name of each image that could not be used, and why.
        with_fixations: The number of images with known fixations.
        data: The dataset's name.
        split: ``"valid"`` or ``"train"``.
        weights: The weights that were evaluated.
        device: The device's name.
        precision: The device's arithmetic.
        image_size: Height and width of the network's input in pixels.
    """

    images: tuple[ImageScores, ...]
    failures: tuple[tuple[str, str], ...]
    with_fixations: int
    data: str = ""
    split: str = ""
    weights: str = ""
    device: str = ""
    precision: str = ""
    image_size: Size | None = None

    def summary(self) -> dict[str, dict[str, Summary]]:
        """Summarize each metric for ``"network"`` and for ``"center"``."""
        return {
            metric.key: {
                NETWORK: Summary.of([image.network[metric.key] for image in self.images]),
                CENTER: Summary.of([image.center[metric.key] for image in self.images]),
            }
            for metric in METRICS
        }

    def to_csv(self) -> str:
        """Return a table with a row for each image; undefined scores are empty."""
        text = io.StringIO()
        keys = [metric.key for metric in METRICS]
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["image", *keys, *(f"{CENTER}_{key}" for key in keys)])
        for image in self.images:
            values = [scores[key] for scores in (image.network, image.center) for key in keys]
            writer.writerow(
                [image.name, *("" if math.isnan(value) else f"{value:.6g}" for value in values)]
            )
        return text.getvalue()

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as a JSON document; undefined values are None."""

        def values(summary: Summary) -> dict[str, float | None]:
            return {
                key: None if math.isnan(value) else value for key, value in asdict(summary).items()
            }

        return {
            "data": self.data,
            "split": self.split,
            "images": len(self.images),
            "weights": self.weights,
            "device": self.device,
            "precision": self.precision,
            "image_size": self.image_size and list(self.image_size),
            "images_with_fixations": self.with_fixations,
            "metrics": {
                key: {source: values(summary) for source, summary in sources.items()}
                for key, sources in self.summary().items()
            },
            "failures": [{"image": name, "reason": reason} for name, reason in self.failures],
        }
