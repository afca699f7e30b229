"""Validate after an epoch: the loss, and the metrics of the field."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from msinet_core.data.decode import image_size
from msinet_core.data.images import MAP_PADDING
from msinet_core.data.resize import fit, restore_map
from msinet_core.metrics.table import METRICS, Target
from msinet_core.network.loss import parse_loss
from msinet_core.reference.layers import LAYER_BUILDERS
from msinet_core.reference.tape import Variable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msinet_core.data.pipeline import BatchPipeline
    from msinet_core.data.sample import Sample
    from msinet_core.device import Model
    from msinet_core.device.processes import Processes
    from msinet_core.training.config import TrainConfig

LAG = 8
"""Batches whose losses or scores may be unread; each may hold memory on the device."""


class Validation:
    """Compute the mean loss and the mean of each metric over the validation images.

    As in `evaluate`, the loss is computed at the network's size and the metrics at the image's.
    With metrics, the host computes the loss too, from the maps that they need: the network runs
    once for each image.

    Args:
        model: The network on its device.
        valid: The validation batches.
        config: The run's settings: its metrics and its loss.
        processes: The processes that validate together, each its own part.
    """

    def __init__(
        self, model: Model, valid: BatchPipeline, config: TrainConfig, processes: Processes
    ) -> None:
        self._model = model
        self._valid = valid
        self._names = config.metrics
        self._loss = parse_loss(config.loss)
        self._processes = processes
        self._losses: list[float] = []
        self._unread: deque[Any] = deque()
        self._scores: list[list[float]] = []

    def steps(self) -> Generator[int, None, None]:
        """Validate batch by batch.

        Yields:
            The number of images of each batch, over all processes.
        """
        with (
            closing(self._valid.batches()) as batches,
            ThreadPoolExecutor(self._valid.workers, thread_name_prefix="msinet-score") as pool,
        ):
            for index, batch in enumerate(batches):
                if self._names and len(batch.images):
                    maps = np.asarray(self._model.predict(batch.images))
                    samples = self._valid.samples_in(index)
                    self._unread.append(pool.map(self._score, samples, batch.maps, maps))
                elif len(batch.images):
                    self._unread.append(self._model.eval_step(batch))
                if len(self._unread) > LAG:
                    self._read()
                yield self._valid.images_in(index, 1)
            while self._unread:
                self._read()

    def result(self) -> dict[str, float]:
        """Return the means, by column of ``history.csv``, over all processes.

        A metric is averaged over the images for which it is defined; NaN if there are none.
        """
        scores = np.array(self._scores).reshape(len(self._scores), len(self._names))
        known = ~np.isnan(scores)
        sums = np.where(known, scores, 0).sum(axis=0)
        loss = np.sum(self._losses)
        totals = self._processes.sum(np.array([loss, *sums, *known.sum(axis=0)], np.float64))
        sums, counts = np.split(totals[1:], 2)
        return {"valid_loss": float(totals[0] / self._valid.image_count)} | {
            name: float(total / count) if count else math.nan
            for name, total, count in zip(self._names, sums, counts, strict=True)
        }

    def _read(self) -> None:
        results = self._unread.popleft()
        if self._names:
            for loss, scores in results:
                self._losses.append(loss)
                self._scores.append(scores)
        else:
            self._losses += np.asarray(results).tolist()

    def _score(
        self, sample: Sample, true: NDArray[np.float32], output: NDArray[np.float32]
    ) -> tuple[float, list[float]]:
        maps = (Variable(np.asarray(map[np.newaxis], np.float64)) for map in (true, output))
        loss = self._loss.apply(LAYER_BUILDERS, *maps).value.item()
        size = image_size(sample.stimulus)
        saliency = restore_map(output[..., 0], size)
        chosen = [METRICS[name] for name in self._names]
        truth = points = None
        if not all(metric.needs_fixations for metric in chosen):
            truth = fit(sample.read_map(), size, MAP_PADDING)[..., 0]
        if any(metric.needs_fixations for metric in chosen):
            fixations = sample.read_fixations()
            points = np.empty((0, 2), np.int64) if fixations is None else fixations.points
        target = Target(truth, points)
        return loss, [metric.score(saliency, target) for metric in chosen]
