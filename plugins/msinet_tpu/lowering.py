"""Write the training step down as a program for XLA: TensorFlow, in a process of its own.

``python -m msinet_tpu.lowering FILE JSON`` traces the step on any machine and computes nothing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from msinet_core import Adam, KLDivergence, Program, State, msinet_graph, ops


def lower(precision: str, width: float, size: ops.Size, batch: int, steps: int = 1) -> bytes:
    """Return what one execution trains of MSI-Net as serialized HLO.

    Weights and moments are its arguments, which it updates in place.

    Args:
        precision: The dtype of convolutions.
        width: Scales the channels.
        size: Height and width of the images in pixels.
        batch: The number of images of a step.
        steps: The number of steps per execution.
    """
    import numpy as np

    from msinet_tpu import SPEC, STEPS_PER_EXECUTION
    from msinet_tpu.device import XlaDevice

    graph = msinet_graph(width)
    device = XlaDevice(SPEC, precision, {STEPS_PER_EXECUTION: str(steps)})
    weights = {item.name: np.zeros(item.shape, np.float32) for item in graph.parameters}
    model = device.build(Program(graph, State(weights), KLDivergence(), Adam()))
    return model.training_program((batch, *size, graph.channels[graph.input.name]))


def main(arguments: Sequence[str]) -> None:
    """Write the file.

    Args:
        arguments: The file, and what `lower` takes, as JSON.
    """
    path, parameters = arguments
    Path(path).write_bytes(lower(**json.loads(parameters)))


if __name__ == "__main__":
    main(sys.argv[1:])
