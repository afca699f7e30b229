"""Score maps of images, beside baselines and other observers."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from msinet_core.data.images import MAP_PADDING, content_digest, read_image, to_gray
from msinet_core.data.resize import fit
from msinet_core.data.sample import Sample, check_shapes
from msinet_core.errors import DataError
from msinet_core.evaluation import baselines
from msinet_core.evaluation.baselines import CENTER, CENTER_BIAS, HALF, MODEL, OTHERS, UNIFORM
from msinet_core.evaluation.fixation_bank import FixationBank
from msinet_core.evaluation.result import Evaluation, ImageScores
from msinet_core.metrics import standard
from msinet_core.metrics.likelihood import Cells, calibrated, to_cells
from msinet_core.metrics.table import METRICS, Target
from msinet_core.prediction.stream import Done, Failed, Prediction
from msinet_core.system.interrupt import InterruptFlag
from msinet_core.system.progress import Progress
from msinet_core.system.threads import in_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msinet_core.metrics.maps import Map
    from msinet_core.network.ops import Size
    from msinet_core.prediction.predictor import Predictor

THUMBNAIL_PIXELS = 240
"""The longer side in pixels of the maps that are kept for a report."""

CONTENT_DIGITS = 12
"""Hexadecimal digits of an image's SHA-256 that are kept, to recognize it."""

LOO_METRICS = ("nss", "information_gain")
"""What is scored for each single observer, whose few fixations make no map."""


@dataclass(frozen=True)
class Scorer:
    """Scores the map of one image against its true map and fixations.

    Args:
        bank: The fixations of the whole dataset.
        sigma: Standard deviation of the Gaussian of observers' maps in pixels; None: a share of
            the image's width.
        with_baselines: Score the baselines and the observers, too.
        with_thumbnails: Keep a small map for a report.
    """

    bank: FixationBank
    sigma: float | None = None
    with_baselines: bool = True
    with_thumbnails: bool = False

    def score(
        self, sample: Sample, saliency: Map, output: NDArray[np.float32] | None = None
    ) -> tuple[ImageScores, Mapping[str, Cells]]:
        """Return the scores of one image, and what its log-likelihoods are computed from.

        Args:
            sample: The image.
            saliency: ``(H, W)``, its predicted map, not negative, at the image's size.
            output: ``(h, w)``, the network's output, for the training loss; None for maps.

        Raises:
            DataError: Its true map or its fixations cannot be read.
        """
        size = saliency.shape[0], saliency.shape[1]
        truth = sample.read_map() if sample.has_map else None
        if truth is not None:
            check_shapes(sample, size, (truth.shape[0], truth.shape[1]))
        observers = self.bank.observers(sample)
        known = observers is not None
        target = Target(
            None if truth is None else fit(truth, size, MAP_PADDING)[..., 0],
            np.concatenate([np.empty((0, 2), np.int64), *observers]) if observers else None,
            *(self.bank.others(sample, size) if known else (None, None)),
            baselines.center_gaussian(size),
        )
        maps: dict[str, Map] = {MODEL: saliency}
        if self.with_baselines:
            maps |= {UNIFORM: np.ones(size), CENTER: baselines.center_gaussian(size)}
            if target.center_bias is not None:
                maps[CENTER_BIAS] = target.center_bias
        scores = {source: _scores(map, target) for source, map in maps.items()}
        if output is not None and truth is not None:
            small = fit(truth, (output.shape[0], output.shape[1]), MAP_PADDING)[..., 0]
            scores[MODEL]["loss"] = standard.training_loss(output, small)
        observed = [points for points in observers or () if len(points)]
        if self.with_baselines and len(observed) > 1:
            scores |= self._observers(observed, size, target)
        points = target.fixations
        cells = {} if points is None else {one: to_cells(map, points) for one, map in maps.items()}
        thumbnail = _thumbnail(saliency) if self.with_thumbnails else None
        content = content_digest(sample.stimulus).hex()[:CONTENT_DIGITS]
        fits = math.nan if target.map is None else METRICS["nss"].score(target.map, target)
        return ImageScores(sample.file, content, size, scores, sample, thumbnail, fits), cells

    def _observers(
        self, observers: Sequence[NDArray[np.int64]], size: Size, target: Target
    ) -> dict[str, dict[str, float]]:
        sigma = self.sigma or baselines.OBSERVER_SIGMA * size[1]
        both = baselines.halves(observers)
        maps = [baselines.observer_map(points, size, sigma) for points in both]
        scored = [
            _scores(map, replace(target, map=true, fixations=points))
            for map, true, points in zip(maps, maps[::-1], both[::-1], strict=True)
        ]
        alone = [
            _scores(map, replace(target, map=None, fixations=points), LOO_METRICS)
            for map, points in baselines.leave_one_out(observers, size, sigma)
        ]
        return {HALF: _mean(scored), OTHERS: _mean(alone)}


def score_samples(
    samples: Sequence[Sample],
    outcomes: Iterable[Outcome],
    scorer: Scorer,
    progress: Progress | None = None,
    interrupt: InterruptFlag | None = None,
) -> Evaluation:
    """Score samples; an image that cannot be used does not stop the others.

    Args:
        samples: Images with true maps, fixations or both.
        outcomes: From `predicted` or `read_maps`, with the same samples and scorer.
        scorer: Scores each map.
        progress: Shows progress.
        interrupt: Stops the work when set; signals are handled while this runs.

    Raises:
        InterruptedRunError: Interrupted.
        MsinetError: The device failed.
    """
    progress = progress or Progress()
    images: list[ImageScores] = []
    cells: list[Mapping[str, Cells]] = []
    failures: list[tuple[str, str]] = []
    with interrupt or InterruptFlag() as flag, progress.task("evaluate", len(samples)) as task:
        for outcome in outcomes:
            if isinstance(outcome, Failed):
                sample = outcome.item
                failures.append((sample.file, outcome.reason))
                about = "" if sample.stimulus.name in outcome.reason else f" {sample.file}"
                progress.message(f"Skipped{about}: {outcome.reason}")
            else:
                images.append(outcome.result[0])
                cells.append(outcome.result[1])
            task.advance()
            flag.raise_if_set("Interrupted; nothing was written.")
    with_fixations = sum(bool(one) for one in cells)
    return Evaluation(tuple(_with_likelihoods(images, cells)), tuple(failures), with_fixations)


Scored = tuple[ImageScores, Mapping[str, Cells]]
Outcome = Done[Sample, Scored] | Failed[Sample]


def predicted(
    predictor: Predictor, samples: Sequence[Sample], scorer: Scorer
) -> Generator[Outcome, None, None]:
    """Predict and score samples; the loss is computed at the network's size, as in training.

    Args:
        predictor: The network on its device.
        samples: The images.
        scorer: Scores each map.
    """

    def finish(sample: Sample, prediction: Prediction) -> Scored:
        return scorer.score(sample, prediction.restored(), prediction.output)

    return predictor.stream(samples, lambda sample: read_image(sample.stimulus), finish)


def read_maps(
    read: Callable[[Sample], Map], samples: Sequence[Sample], scorer: Scorer, workers: int | None
) -> Generator[Outcome, None, None]:
    """Read and score maps of samples.

    Args:
        read: Returns a sample's map at the size of its image; called in threads.
        samples: The images.
        scorer: Scores each map.
        workers: Threads; None: by the number of cores.
    """

    def score(sample: Sample) -> Outcome:
        try:
            return Done(sample, scorer.score(sample, read(sample)))
        except DataError as error:
            return Failed(sample, error)

    return in_threads(score, samples, "", workers=workers)


def _scores(saliency: Map, target: Target, keys: Iterable[str] = METRICS) -> dict[str, float]:
    return {key: METRICS[key].score(saliency, target) for key in keys}


def _mean(scored: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each metric, which all have or none has."""
    keys = scored[0] if scored else ()
    return {key: float(np.mean([one[key] for one in scored])) for key in keys}


def _with_likelihoods(
    images: Sequence[ImageScores], cells: Sequence[Mapping[str, Cells]]
) -> Iterator[ImageScores]:
    """Add the likelihoods, calibrated on every second image in the order of names.

    The order of a split depends on its seed, which must not change a score.
    """
    sources = {source for one in cells for source in one}
    order = sorted(range(len(images)), key=lambda number: images[number].name)
    bits = {
        source: dict(zip(order, calibrated([cells[n].get(source) for n in order]), strict=True))
        for source in sources
    }
    for number, image in enumerate(images):
        added = {
            source: {**image.scores[source], "log_likelihood": bits[source][number]}
            for source in cells[number]
        }
        yield replace(image, scores={**image.scores, **added})


def _thumbnail(saliency: Map) -> NDArray[np.uint8]:
    height, width = saliency.shape
    scale = min(1.0, THUMBNAIL_PIXELS / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    peak = saliency.max() or 1
    return to_gray(fit((saliency / peak)[..., None], size, MAP_PADDING)[..., 0])
