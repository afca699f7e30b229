"""Faults in the losses, forward or backward."""

from __future__ import annotations

from typing import Any

import numpy as np

from msinet_core.network.loss import Correlation, KLDivergence, ScanpathSaliency, Similarity
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
