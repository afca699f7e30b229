"""Prove that a conversion lost nothing: the same weights, and the same map of an image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from msinet_core.checkpoint.read import read_weights
from msinet_core.network.state import State
from msinet_core.reference import SPEC

if TYPE_CHECKING:
    from msinet_core.checkpoint.convert import Conversion
    from msinet_core.network.ops import Size

_MIN_SIZE = 64
"""Pixels of the image that both networks see: every dilation still reaches its neighbors."""


@dataclass(frozen=True)
class Verification:
    """How the converted file compares with what was converted.

    Args:
        tensors: The number of tensors.
        different: Names of those that are not equal bit for bit.
        largest_difference: Between the maps of the two.
        size: Height and width of the image in pixels.
    """

    tensors: int
    different: tuple[str, ...]
    largest_difference: float
    size: Size


def verify_conversion(conversion: Conversion, target: str | Path) -> Verification:
    """Read a converted file again, and compare its tensors and its map of an image.

    Args:
        conversion: The result of `msinet_core.convert`.
        target: The file that it wrote.

    Raises:
        CheckpointError: The target cannot be read.
    """
    written = conversion.checkpoint
    graph, weights = written.graph, written.state.weights
    found = read_weights(Path(target), graph).state.weights
    side = -(-_MIN_SIZE // graph.size_multiple) * graph.size_multiple
    shape = (1, side, side, graph.channels[graph.input.name])
    image = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    device = SPEC.open()
    first, second = (
        np.asarray(device.compile(graph, State(tensors)).predict(image))
        for tensors in (weights, found)
    )
    return Verification(
        len(weights),
        tuple(name for name in weights if weights[name].tobytes() != found[name].tobytes()),
        float(np.max(np.abs(first - second))),
        (side, side),
    )
