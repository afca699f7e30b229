"""Write the training step as an XLA program, with TensorFlow, in a separate process.

`main` traces the step on any machine, without running it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from msinet_core import msinet_graph, ops, untrained_program


def lower(precision: str, width: float, size: ops.Size, batch: int, steps: int = 1) -> bytes:
    """Return the training program of MSI-Net as serialized HLO.

    Weights and moments are its arguments, which it updates in place.

    Args:
        precision: The dtype of convolutions.
        width: Scales the channels.
        size: Height and width of the images in pixels.
        batch: The number of images in a step.
        steps: The number of steps per execution.
    """
    from msinet_tpu import SPEC, STEPS_PER_EXECUTION
    from msinet_tpu.device import XlaDevice

    graph = msinet_graph(width)
    device = XlaDevice(SPEC, precision, {STEPS_PER_EXECUTION: str(steps)})
    model = device.build(untrained_program(graph))
    return model.training_program((batch, *size, graph.channels[graph.input.name]))


def main(arguments: Sequence[str]) -> None:
    """Write the program to a file.

    Args:
        arguments: The path, and the arguments of `lower` as JSON.
    """
    path, parameters = arguments
    Path(path).write_bytes(lower(**json.loads(parameters)))
