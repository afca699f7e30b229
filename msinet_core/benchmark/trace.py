"""Let a device write its framework's own profile of a few steps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from msinet_core.benchmark.loops import Load, bare_predict_rate, bare_train_rate
from msinet_core.errors import UsageError
from msinet_core.network.adam import Adam
from msinet_core.network.loss import KLDivergence
from msinet_core.training.initial_weights import random_state

if TYPE_CHECKING:
    from msinet_core.device import Device
    from msinet_core.network.graph import Graph

STEPS = 3


def write_trace(device: Device, graph: Graph, load: Load, folder: Path) -> str:
    """Profile some training steps, or predictions if the device does not train.

    Args:
        device: The device.
        graph: The network.
        load: The batch.
        folder: The folder to write to; created if it is missing.

    Returns:
        The folder, or why there is no profile.
    """
    batch, images = load.batch(), STEPS * load.batch_size
    trains = device.spec.capabilities.training
    rate = bare_train_rate if trains else bare_predict_rate
    model = device.compile(
        graph,
        random_state(graph, seed=0),
        loss=KLDivergence() if trains else None,
        optimizer=Adam() if trains else None,
    )
    rate(model, batch, images)  # compile
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with device.trace(folder):
            rate(model, batch, images)
    except UsageError as error:
        folder.rmdir()
        return str(error)
    return str(folder)
