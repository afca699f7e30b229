"""Score a network's maps on images, beside those of a Gaussian in the middle of each image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import lru_cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from msinet_core.data.decode import image_size
from msinet_core.data.images import MAP_PADDING, read_image
from msinet_core.data.resize import fit
from msinet_core.data.sample import Sample, check_shapes
from msinet_core.errors import DataError
from msinet_core.evaluation import metrics
from msinet_core.evaluation.report import METRICS, Evaluation, ImageScores
from msinet_core.prediction.stream import Failed, Prediction
from msinet_core.system.interrupt import InterruptFlag
from msinet_core.system.progress import Progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msinet_core.network.ops import Size
    from msinet_core.prediction.predictor import Predictor

OTHER_IMAGES = 10
"""The images whose fixations are AUC-shuffled's negatives, as many as in the benchmark's code."""

FEWEST_OTHER_IMAGES = 3
"""AUC-shuffled is undefined with fewer: the fixations of one or two images mean next to nothing."""


def score_samples(
    predictor: Predictor,
    samples: Sequence[Sample],
    progress: Progress | None = None,
    interrupt: InterruptFlag | None = None,
) -> Evaluation:
    """Score the network on samples; an image that cannot be used does not stop the others.

    The loss is computed at the network's size, as in training; all other metrics at the image's.

    Args:
        predictor: The network on its device.
        samples: Images with their true maps, and fixations if they are known.
        progress: Shows progress.
        interrupt: Stops the work when set; signals are handled while this runs.

    Raises:
        InterruptedRunError: Interrupted.
        MsinetError: The device failed.
    """
    progress = progress or Progress()
    images: list[ImageScores] = []
    failures: list[tuple[str, str]] = []
    known = 0
    fixations = _Fixations(samples)
    stream = predictor.stream(
        range(len(samples)),
        lambda index: read_image(samples[index].stimulus),
        lambda index, prediction: _score(samples[index], prediction, index, fixations),
    )
    with (
        interrupt or InterruptFlag() as flag,
        progress.task("evaluate", len(samples)) as task,
        closing(stream) as outcomes,
    ):
        for outcome in outcomes:
            if isinstance(outcome, Failed):
                name = _file_name(samples[outcome.item])
                failures.append((name, outcome.reason))
                about = "" if name in outcome.reason else f" {name}"
                progress.message(f"Skipped{about}: {outcome.reason}")
            else:
                images.append(outcome.result)
                known += fixations.known(outcome.item)
            task.advance()
            flag.raise_if_set("Interrupted; nothing was written.")
    return Evaluation(tuple(images), tuple(failures), known)


class _Fixations:
    """The fixations of all samples, read once each: AUC-shuffled compares an image with others."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples
        self._read: dict[int, tuple[NDArray[np.int64], Size] | None] = {}
        # Each image is compared with the ten after it in a shuffled ring: all are used equally.
        self._ring = np.random.RandomState(0).permutation(len(samples)).tolist()
        self._position = {index: position for position, index in enumerate(self._ring)}

    def known(self, index: int) -> bool:
        return self._read[index] is not None

    def of(self, index: int) -> NDArray[np.int64] | None:
        found = self._get(index)
        return None if found is None else found[0]

    def of_others(self, index: int, size: Size) -> NDArray[np.int64]:
        """Return fixations on other images, scaled to a size; none if too few are known."""
        scaled = [np.empty((0, 2), np.int64)]
        for step in range(1, min(OTHER_IMAGES, len(self._ring) - 1) + 1):
            try:
                found = self._get(self._ring[(self._position[index] + step) % len(self._ring)])
            except DataError:  # reported for that image itself
                continue
            if found is not None and len(found[0]):
                points, own_size = found
                scaled.append(((points + 0.5) * np.array(size) / own_size).astype(np.int64))
        return np.concatenate(scaled if len(scaled) > FEWEST_OTHER_IMAGES else scaled[:1])

    def _get(self, index: int) -> tuple[NDArray[np.int64], Size] | None:
        if index not in self._read:  # two threads may both read it, with the same result
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
