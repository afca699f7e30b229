"""Validate after an epoch: the loss, and the metrics of the field."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from msinet_core.data.decode import image_size
from msinet_core.data.images import MAP_PADDING
from msinet_core.data.resize import fit, restore_map
from msinet_core.metrics.table import METRICS, Target

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msinet_core.data import BatchPipeline
    from msinet_core.data.sample import Sample
    from msinet_core.device import Model
    from msinet_core.device.processes import Processes

LAG = 8
"""Batches whose losses may be unread; each may hold memory on the device."""


class Validation:
    """Compute the mean loss and the mean of each metric over the validation images.

    As in `evaluate`, the loss is computed at the network's size and the metrics at the image's.

    Args:
        model: The network on its device.
        valid: The validation batches.
        names: The metrics.
        processes: The processes that validate together, each its own part.
    """

    def __init__(
        self, model: Model, valid: BatchPipeline, names: Sequence[str], processes: Processes
    ) -> None:
        self._model = model
        self._valid = valid
        self._names = names
        self._processes = processes
        self._loss = 0.0
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
                if len(batch.images):
                    self._unread.append(self._model.eval_step(batch))
                if len(self._unread) > LAG:
                    self._read_loss()
                if self._names and len(batch.images):
                    maps = np.asarray(self._model.predict(batch.images))[..., 0]
                    self._scores += pool.map(self._score, self._valid.samples(index), maps)
                yield self._valid.images_in(index, 1)

    def result(self) -> dict[str, float]:
        """Return the means, by column of ``history.csv``, over all processes.

        A metric is averaged over the images for which it is defined; NaN if there are none.
        """
        while self._unread:
            self._read_loss()
        scores = np.array(self._scores).reshape(len(self._scores), len(self._names))
        known = ~np.isnan(scores)
        sums = np.where(known, scores, 0).sum(axis=0)
        totals = self._processes.sum(np.array([self._loss, *sums, *known.sum(axis=0)], np.float64))
        sums, counts = np.split(totals[1:], 2)
        return {"valid_loss": float(totals[0] / self._valid.image_count)} | {
            name: float(total / count) if count else math.nan
            for name, total, count in zip(self._names, sums, counts, strict=True)
        }

    def _read_loss(self) -> None:
        self._loss += float(np.asarray(self._unread.popleft()).sum(dtype=np.float64))

    def _score(self, sample: Sample, output: NDArray[np.float32]) -> list[float]:
        size = image_size(sample.stimulus)
        saliency = restore_map(output, size)
        chosen = [METRICS[name] for name in self._names]
        truth = points = None
        if not all(metric.needs_fixations for metric in chosen):
            truth = fit(sample.read_map(), size, MAP_PADDING)[..., 0]
        if any(metric.needs_fixations for metric in chosen):
            observers = sample.read_fixations() or []
            points = np.concatenate([np.empty((0, 2), np.int64), *observers])
        target = Target(truth, points)
        return [metric.score(saliency, target) for metric in chosen]
