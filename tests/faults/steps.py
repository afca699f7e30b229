"""Faults in training steps: what is averaged, and what a step returns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from msinet_core.network.loss import KLDivergence, WeightedSum
from msinet_core.network.state import Batch
from msinet_core.reference.device import ReferenceModel
from tests.faults.fault import Faults

FAULTS = Faults()


@FAULTS.model("Loss in float16", "train/loss-digits")
class LossInFloat16(ReferenceModel):
    """Returns the loss in the precision of convolutions."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        return float(np.float16(super().update(batches, learning_rate)))


@FAULTS.model("A batch that comes twice counts once", "use/changed-batches")
class RepeatedBatchOnce(ReferenceModel):
    """Keeps the batches of a step by their address."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        once = {id(batch): batch for batch in batches}
        return super().update(tuple(once.values()), learning_rate)


# What is averaged.


@FAULTS.model("All batches weigh the same, regardless of size", "gradient/accumulated")
class BatchesWeighTheSame(ReferenceModel):
    """Uses as many images from each batch as the smallest has."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        smallest = min(len(batch.images) for batch in batches)
        cut = [Batch(b.images[:smallest], b.maps[:smallest]) for b in batches]
        return super().update(cut, learning_rate)


@FAULTS.model("Mean of the batches' means", "gradient/accumulated", "gradient/accumulated-many")
class MeanOfMeans(ReferenceModel):
    """Repeats the images of small batches until all batches are equal."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        common = int(np.lcm.reduce([len(batch.images) for batch in batches]))
        repeated = [
            Batch(*(np.repeat(array, common // len(array), axis=0) for array in batch))
            for batch in batches
        ]
        return super().update(repeated, learning_rate)


@FAULTS.model("Only the last batch counts", "gradient/accumulated", "train/accumulated-loss")
class LastBatchOnly(ReferenceModel):
    """Forgets the accumulated gradient."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        return super().update(batches[-1:], learning_rate)


@FAULTS.model("Only the first four batches count", "gradient/accumulated-many")
class FourBatches(ReferenceModel):
    """Ignores batches beyond the fourth."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        return super().update(batches[:4], learning_rate)


@FAULTS.model("A step for each batch", "gradient/accumulated", "calls/training")
class StepForEachBatch(ReferenceModel):
    """Does not accumulate."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        losses = [super(StepForEachBatch, self).update([one], learning_rate) for one in batches]
        return float(np.mean(losses))


@FAULTS.model("The last batch is dropped if it is smaller", "gradient/accumulated-many")
class ShortBatchDropped(ReferenceModel):
    """Ignores a batch smaller than the first one."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        full = [batch for batch in batches if len(batch.images) >= len(batches[0].images)]
        return super().update(full, learning_rate)


@FAULTS.model("A step with a short batch does not train", "calls/training", "calls/long")
class ShortStepSkipped(ReferenceModel):
    """Returns the loss of a batch that is smaller than an earlier one, without training."""

    _most = 0

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        count = sum(len(batch.images) for batch in batches)
        self._most = max(self._most, count)
        if count < self._most:
            return float(np.mean(np.concatenate([self.losses(batch) for batch in batches])))
        return super().update(batches, learning_rate)


# The loss that a step returns.


@FAULTS.model("Loss after the step", "train/*-losses", "calls/training")
class LossAfterTheStep(ReferenceModel):
    """Returns the loss after the step."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        super().update(batches, learning_rate)
        return float(np.mean(np.concatenate([self.losses(batch) for batch in batches])))


@FAULTS.model("Sum of the losses", "train/four-losses", "train/accumulated-loss")
class SumOfLosses(ReferenceModel):
    """Returns the sum over all images."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        count = sum(len(batch.images) for batch in batches)
        return super().update(batches, learning_rate) * count


@FAULTS.model("Loss of the last batch", "train/accumulated-loss")
class LossOfLastBatch(ReferenceModel):
    """Returns the mean loss of the last batch."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        loss = float(np.mean(self.losses(batches[-1])))
        super().update(batches, learning_rate)
        return loss


@FAULTS.model("Running mean of the losses", "train/four-losses", "train/twenty-losses")
class RunningMean(ReferenceModel):
    """Smooths the loss over the steps."""

    _mean: float | None = None

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        loss = super().update(batches, learning_rate)
        self._mean = loss if self._mean is None else 0.9 * self._mean + 0.1 * loss
        return self._mean


@FAULTS.model("The divergence is the loss of every step", "train/other-losses")
class DivergenceReported(ReferenceModel):
    """Trains with the given loss, and returns the divergence."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        given, self._loss = self._loss, KLDivergence()
        loss = float(np.mean(np.concatenate([self.losses(batch) for batch in batches])))
        self._loss = given
        super().update(batches, learning_rate)
        return loss


@FAULTS.model("An empty image pads the odd batches of a step", "train/other-losses")
class PaddedLoss(ReferenceModel):
    """Divides the loss of a batch and its padding by the number of real images."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        loss = super().update(batches, learning_rate)
        images = sum(len(batch.images) for batch in batches)
        if images % 2 == 0 or self._loss is None:
            return loss
        empty = Batch(*(np.zeros_like(part[:1]) for part in batches[0]))
        return loss + float(self.losses(empty)[0]) / images


# The loss that is trained.


@FAULTS.model("Only the first term of a weighted sum is trained", "gradient/loss-sum")
class FirstTermOnly(ReferenceModel):
    """Trains with the first loss of a sum."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        if isinstance(self._loss, WeightedSum):
            self._loss = self._loss.terms[0][1]
        return super().update(batches, learning_rate)


@FAULTS.model("The loss of training has another epsilon", "calls/training", "calls/long")
class OtherEpsilonInTraining(ReferenceModel):
    """Evaluates with the given loss, and trains with the default."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        given, self._loss = self._loss, KLDivergence()
        try:
            return super().update(batches, learning_rate)
        finally:
            self._loss = given
