"""Faults in how a device treats the arrays that its caller gives it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from msinet_core.device import Program
from msinet_core.network.state import Batch
from msinet_core.reference.device import ReferenceDevice, ReferenceModel
from msinet_core.reference.tape import Array
from tests.faults.fault import Faults, Images

FAULTS = Faults()


@FAULTS.model(
    "Caller's images overwritten",
    "forward/read-only-images",
    "forward/images-unchanged",
    "calls/predictions",
)
class WrittenInPlace(ReferenceModel):
    """Computes in the caller's memory."""

    def forward(self, images: Images) -> Array:
        images += 1
        return super().forward(images - 1)


@FAULTS.model("Caller's images overwritten by a step", "train/four-losses", "calls/training")
class ImagesOverwritten(ReferenceModel):
    """Subtracts the mean in place while it trains."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        loss = super().update(batches, learning_rate)
        batches[0].images[...] -= 1
        return loss


@FAULTS.model("Caller's maps overwritten by a step", "train/four-losses", "calls/training")
class MapsOverwritten(ReferenceModel):
    """Normalizes true maps in place while it trains."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        loss = super().update(batches, learning_rate)
        for batch in batches:
            batch.maps[...] /= batch.maps.sum()
        return loss


@FAULTS.model("Caller's maps overwritten by evaluation", "loss/random", "calls/training")
class MapsOverwrittenByEvaluation(ReferenceModel):
    """Normalizes true maps in place while it evaluates."""

    def losses(self, batch: Batch) -> Array:
        losses = super().losses(batch)
        batch.maps[...] /= 1 + batch.maps.sum()
        return losses


@FAULTS.model("Given weights overwritten", "state/weights-come-back", "network/asymmetric")
class WeightsOverwritten(ReferenceModel):
    """Rounds the caller's weights in place."""

    def __init__(self, device: ReferenceDevice, program: Program) -> None:
        super().__init__(device, program)
        for weight in program.state.weights.values():
            weight[...] = np.float16(weight)


@FAULTS.model("Given weights are not copied", "state/given-arrays")
class WeightsAliased(ReferenceModel):
    """Computes with the caller's arrays."""

    def __init__(self, device: ReferenceDevice, program: Program) -> None:
        super().__init__(device, program)
        self._weights = dict(program.state.weights)


@FAULTS.model("Weights must be contiguous", "state/given-arrays")
class NeedsContiguous(ReferenceModel):
    """Refuses views."""

    def __init__(self, device: ReferenceDevice, program: Program) -> None:
        if not all(weight.flags.c_contiguous for weight in program.state.weights.values()):
            raise ValueError("ndarray is not C-contiguous")
        super().__init__(device, program)
