"""Score a network's maps on a data set, beside those of a Gaussian in the middle of each image."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from msinet_core.data import fit, read_image
from msinet_core.data.images import MAP_PADDING, image_size
from msinet_core.data.sample import Sample, check_shapes
from msinet_core.errors import DataError
from msinet_core.evaluation import metrics
from msinet_core.prediction.predictor import Failed, Prediction, Predictor
from msinet_core.system.interrupt import InterruptFlag
from msinet_core.system.progress import Progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msinet_core.network.ops import Size

OTHER_IMAGES = 10
"""The images whose fixations are AUC-shuffled's negatives, as many as in the benchmark's code."""

FEWEST_OTHER_IMAGES = 3
"""AUC-shuffled is not defined with fewer: two or three points tell next to nothing apart."""

NETWORK, CENTER = "network", "center"


@dataclass(frozen=True)
class Metric:
    """One column of numbers.

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
    """A metric over many images; those where it is not defined are left out.

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
            values: One for each image; NaN where the metric is not defined.
        """
        known = np.array([value for value in values if not math.isnan(value)])
        n = known.size
        error = float(known.std(ddof=1) / math.sqrt(n)) if n > 1 else math.nan
        return cls(float(known.mean()) if n else math.nan, error, n)


@dataclass(frozen=True)
class ImageScores:
    """One image's scores by the keys of `METRICS`.

    Args:
        name: The image's file under ``stimuli/``, with its ending.
        network: Of the network's map.
        center: Of the centered Gaussian.
    """

    name: str
    network: Mapping[str, float]
    center: Mapping[str, float]


@dataclass(frozen=True)
class Evaluation:
    """What a data set says about a network.

    Args:
        images: The scores of each image, in the data set's order.
        failures: The name of each image that could not be used, and why.
        with_fixations: The number of images whose fixations are known.
    """

    images: tuple[ImageScores, ...]
    failures: tuple[tuple[str, str], ...]
    with_fixations: int

    def summary(self) -> dict[str, dict[str, Summary]]:
        """Summarize each metric for the network and for the center."""
        return {
            metric.key: {
                NETWORK: Summary.of([image.network[metric.key] for image in self.images]),
                CENTER: Summary.of([image.center[metric.key] for image in self.images]),
            }
            for metric in METRICS
        }

    def to_csv(self) -> str:
        """Write a row for each image; what is not defined stays empty."""
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


def evaluate(
    predictor: Predictor,
    samples: Sequence[Sample],
    progress: Progress | None = None,
    interrupt: InterruptFlag | None = None,
) -> Evaluation:
    """Score the network on samples; an image that cannot be used does not stop the others.

    The loss is computed at the network's size, as in training; all other metrics at the image's.

    Args:
        predictor: The network on its device.
        samples: Images with their true maps, and fixations where they are known.
        progress: Shows what happens.
        interrupt: Lets the caller stop; its signals are handled while this runs.

    Raises:
        InterruptedRunError: Interrupted.
        MsinetError: The device failed.
    """
    progress = progress or Progress()
    scored: dict[int, ImageScores] = {}
    failures: list[tuple[str, str]] = []
    with interrupt or InterruptFlag() as flag:
        fixations = _Fixations(samples)

        def finish(index: int, prediction: Prediction) -> None:
            scored[index] = _score(samples[index], prediction, index, fixations)

        stream = predictor.stream(
            range(len(samples)), lambda index: read_image(samples[index].stimulus), finish
        )
        with progress.task("evaluate", len(samples)) as task, closing(stream) as outcomes:
            for outcome in outcomes:
                if isinstance(outcome, Failed):
                    name = _file_name(samples[outcome.item])
                    failures.append((name, outcome.reason))
                    about = "" if name in outcome.reason else f" {name}"
                    progress.message(f"Skipped{about}: {outcome.reason}")
                task.advance()
                flag.raise_if_set("Interrupted; nothing was written.")
    images = tuple(scored[index] for index in sorted(scored))
    known = sum(fixations.known(index) for index in scored)
    return Evaluation(images, tuple(failures), known)


class _Fixations:
    """The fixations of all samples, each read once: AUC-shuffled compares an image with others."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples
        self._read: dict[int, tuple[NDArray[np.int64], Size] | None] = {}
        # A seeded ring in which each image meets the ten after it: every image serves as often.
        self._ring = np.random.RandomState(0).permutation(len(samples)).tolist()
        self._place = {index: place for place, index in enumerate(self._ring)}

    def known(self, index: int) -> bool:
        return self._read[index] is not None

    def of(self, index: int) -> NDArray[np.int64] | None:
        found = self._get(index)
        return None if found is None else found[0]

    def of_others(self, index: int, size: Size) -> NDArray[np.int64]:
        """Return fixations on other images, moved to an image's size; none where too few have."""
        moved = [np.empty((0, 2), np.int64)]
        for step in range(1, min(OTHER_IMAGES, len(self._ring) - 1) + 1):
            try:
                found = self._get(self._ring[(self._place[index] + step) % len(self._ring)])
            except DataError:  # reported when that image's own turn comes
                continue
            if found is not None and len(found[0]):
                points, own_size = found
                moved.append(((points + 0.5) * np.array(size) / own_size).astype(np.int64))
        return np.concatenate(moved if len(moved) > FEWEST_OTHER_IMAGES else moved[:1])

    def _get(self, index: int) -> tuple[NDArray[np.int64], Size] | None:
        if index not in self._read:  # two threads may both read it, to the same end
            sample = self._samples[index]
            observers = sample.read_fixations()
            self._read[index] = (
                None
                if observers is None
                else (
                    np.concatenate([np.empty((0, 2), np.int64), *observers]),
                    image_size(sample.stimulus),
                )
            )
        return self._read[index]


def _score(
    sample: Sample, prediction: Prediction, index: int, fixations: _Fixations
) -> ImageScores:
    truth, size = sample.read_map(), prediction.original
    check_shapes(sample, size, (truth.shape[0], truth.shape[1]))
    baseline = _center(size)
    network_size = prediction.output.shape[0], prediction.output.shape[1]
    small_truth = fit(truth, network_size, MAP_PADDING)[..., 0]
    small_baseline = fit(baseline[..., None], network_size, MAP_PADDING)[..., 0]
    full_truth = fit(truth, size, MAP_PADDING)[..., 0]
    points = fixations.of(index)
    others = None if points is None else fixations.of_others(index, size)

    def scores(small: NDArray[np.float32], full: NDArray[np.float32]) -> Mapping[str, float]:
        values = {
            "loss": metrics.training_loss(small, small_truth),
            "kld": metrics.kl_divergence(full, full_truth),
            "cc": metrics.correlation(full, full_truth),
            "sim": metrics.similarity(full, full_truth),
        }
        if points is not None and others is not None:
            values |= {
                "nss": metrics.nss(full, points),
                "auc_judd": metrics.auc_judd(full, points),
                "auc_shuffled": metrics.auc_shuffled(full, points, others),
                "ig": metrics.information_gain(full, points, baseline),
            }
        return {metric.key: values.get(metric.key, math.nan) for metric in METRICS}

    return ImageScores(
        _file_name(sample),
        network=scores(prediction.output, prediction.restored()),
        center=scores(small_baseline, baseline),
    )


def _file_name(sample: Sample) -> str:
    return (PurePosixPath(sample.name).parent / sample.stimulus.name).as_posix()


@lru_cache(maxsize=16)
def _center(size: Size) -> NDArray[np.float32]:
    return metrics.center_gaussian(size).astype(np.float32)
