"""Compare weight gradients of dilated convolutions in bfloat16 with those in float32.

``python weight_gradients.py PLUGIN CHANNELS...`` prints a JSON list with the relative difference
for each number of input channels. oneDNN reads its environment variable when it is imported, so
tests run this in a process of its own.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from msinet_core import Adam, Batch, DeviceSpec, GraphBuilder, KLDivergence, State
from msinet_core.network.ops import Conv2D

if TYPE_CHECKING:
    from numpy.typing import NDArray

LAYER = "dilated"


def weight_gradient(spec: DeviceSpec, precision: str, channels: int) -> NDArray[Any]:
    """Return Adam's first moment after one step, which is the gradient times a constant."""
    builder = GraphBuilder(channels)
    builder.add(LAYER, Conv2D(8, dilation=2), builder.input)
    graph = builder.build()
    random = np.random.default_rng(0)
    weights = {
        item.name: random.uniform(-0.1, 0.2, item.shape).astype(np.float32)
        for item in graph.parameters
    }
    images = random.uniform(0, 1, (1, 30, 40, channels)).astype(np.float32)
    maps = random.uniform(0, 1, (1, 30, 40, 8)).astype(np.float32) ** 8
    device = spec.open(precision)
    model = device.compile(graph, State(weights), loss=KLDivergence(), optimizer=Adam())
    model.train_step([Batch(images, maps)], 1e-3)
    optimizer = model.state().optimizer
    assert optimizer is not None
    return optimizer.m[f"{LAYER}/kernel"]


def main(plugin: str, *channels: str) -> None:
    """Print the largest difference of each gradient, relative to its largest value."""
    module = importlib.import_module(plugin)
    spec = module.CPU if plugin == "msinet_torch" else module.SPEC
    differences = []
    for count in map(int, channels):
        expected = weight_gradient(spec, "float32", count)
        difference = np.abs(weight_gradient(spec, "bfloat16", count) - expected).max()
        differences.append(float(difference / np.abs(expected).max()))
    print(json.dumps(differences))


if __name__ == "__main__":
    main(*sys.argv[1:])
