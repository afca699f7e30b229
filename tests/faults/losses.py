"""Faults in the losses, forward or backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from msinet_core.device import Program
from msinet_core.network.loss import (
    Correlation,
    KLDivergence,
    Loss,
    ScanpathSaliency,
    Similarity,
    WeightedSum,
)
from msinet_core.network.state import Batch
from msinet_core.reference.device import ReferenceDevice, ReferenceModel
from msinet_core.reference.tape import Variable, record
from tests.faults.change import (
    VANISHING,
    times,
)
from tests.faults.fault import Build, Faults, Inputs, Roles

FAULTS = Faults()

FAULTS.attribute("Loss without epsilon", KLDivergence, "loss/empty-*", epsilon=VANISHING)
FAULTS.attribute("Epsilon of the loss ignored", KLDivergence, "loss/epsilon", epsilon=1e-7)


@FAULTS.op("Loss summed over the batch", KLDivergence, "loss/random", "loss/constant")
def loss_summed(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Return the sum of all losses for every image."""
    losses = build(op, inputs, roles)
    return record(np.full_like(losses.value, losses.value.sum()), [losses], lambda g: [g])


@FAULTS.op("Mean loss for every image", KLDivergence, "loss/random", "loss/batch-9")
def loss_averaged(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Return the mean of all losses for every image."""
    losses = build(op, inputs, roles)
    return record(np.full_like(losses.value, losses.value.mean()), [losses], lambda g: [g])


@FAULTS.op("Losses in reverse order", KLDivergence, "loss/random", "loss/batch-9")
def losses_reversed(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Return the losses of the batch backwards."""
    losses = build(op, inputs, roles)
    return record(losses.value[::-1], [losses], lambda gradient: [gradient[::-1]])


@FAULTS.op("True and predicted maps swapped", KLDivergence, "loss/random", "loss/empty-*")
def maps_swapped(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Compute the divergence of the true from the predicted map."""
    return build(op, inputs[::-1], roles)


@FAULTS.op("Loss averaged over the pixels", KLDivergence, "loss/random", "train/four-losses")
def loss_over_pixels(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Divide by the number of pixels."""
    _, height, width, _ = inputs[0].value.shape
    return times(build(op, inputs, roles), 1 / (height * width))


@FAULTS.op("Loss in bits", KLDivergence, "loss/random", "train/four-losses")
def loss_in_bits(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Use the binary logarithm."""
    return times(build(op, inputs, roles), 1 / np.log(2))


for _loss, _metric in ((Correlation, "cc"), (Similarity, "sim"), (ScanpathSaliency, "nss")):

    @FAULTS.op(
        f"Losses {_metric} in reverse order",
        _loss,
        *(f"loss/{_metric}{suffix}" for suffix in ("", "-empty-true", "-240x320")),
        "loss/sum" if _metric != "sim" else "loss/sim-constant",
    )
    def losses_backwards(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
        """Return the losses of the batch backwards."""
        return losses_reversed(build, op, inputs, roles)

    @FAULTS.op(f"Gradient of {_metric} doubled", _loss, f"gradient/loss-{_metric}")
    def loss_gradient_doubled(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
        """Multiply the gradient by two."""
        losses = build(op, inputs, roles)
        return record(losses.value, [losses], lambda gradient: [gradient * 2])


for _loss, _metric, _caught in (
    (Correlation, "cc", ("loss/cc-constant", "gradient/loss-constant")),
    (ScanpathSaliency, "nss", ("gradient/loss-constant",)),
):

    @FAULTS.op(f"Loss {_metric} without epsilon", _loss, *_caught)
    def loss_without_epsilon(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
        """Divide by the standard deviation alone; a constant map has none."""
        losses = build(op, inputs, roles)
        spread = np.ptp(inputs[1].value, axis=(1, 2, 3))
        broken = np.where(spread == 0, np.nan, 1).astype(losses.value.dtype)
        return record(losses.value * broken, [losses], lambda gradient: [gradient * broken])


class _OtherSum(ReferenceModel):
    """Changes the weights of a sum."""

    def __init__(self, device: ReferenceDevice, program: Program) -> None:
        super().__init__(device, program)
        if isinstance(self._loss, WeightedSum):
            self._loss = WeightedSum(tuple(map(self.change, self._loss.terms)))

    def change(self, term: tuple[float, Loss]) -> tuple[float, Loss]:
        """Return the wrong weight, and the term."""
        raise NotImplementedError


@FAULTS.model("The similarity in a sum has no weight", "loss/sum", "gradient/loss-sum")
class SimilarityWithoutWeight(_OtherSum):
    """Leaves out the weight of one kind."""

    def change(self, term: tuple[float, Loss]) -> tuple[float, Loss]:
        return (1.0, term[1]) if isinstance(term[1], Similarity) else term


@FAULTS.model("The weight of a sum of one loss is ignored", "loss/sum", "gradient/loss-sum")
class SingleWithoutWeight(ReferenceModel):
    """Takes the loss for the sum."""

    def __init__(self, device: ReferenceDevice, program: Program) -> None:
        super().__init__(device, program)
        if isinstance(self._loss, WeightedSum) and len(self._loss.terms) == 1:
            self._loss = self._loss.terms[0][1]


@FAULTS.model("The weights of a sum are 1 for several batches", "gradient/loss-sum")
class SumOfBatches(ReferenceModel):
    """Has a second program for accumulation."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        given = self._loss
        if len(batches) > 1 and isinstance(given, WeightedSum):
            self._loss = WeightedSum(tuple((1.0, term) for _, term in given.terms))
        try:
            return super().update(batches, learning_rate)
        finally:
            self._loss = given
