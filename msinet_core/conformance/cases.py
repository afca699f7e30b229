"""Small graphs with weights and data, made from seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from msinet_core.network.graph import Graph, GraphBuilder
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.ops import Conv2D, Coordinates, Op, SubtractMean
from msinet_core.network.state import Batch, State

Float32 = NDArray[np.float32]

LIFT = 5.0
"""Added to maps of images in -1..1 so that they stay above zero, where the loss is smooth."""

LIFTED = SubtractMean((-LIFT,))
"""Adds it."""

MIX = Conv2D(1, 1, activation="linear", use_bias=False)
"""Makes a map of any number of channels."""


def chain(channels: int = 3, /, **ops: Op) -> Graph:
    """Return a graph of ops one after another.

    Args:
        channels: Of the images.
        ops: The ops by the names of their nodes.
    """
    net = GraphBuilder(channels)
    last = net.input
    for name, op in ops.items():
        last = net.add(name, op, last)
    return net.build()


def random_weights(graph: Graph, seed: int, scale: float = 1.0) -> dict[str, Float32]:
    """Return random kernels that keep the scale of their input, and nonzero biases.

    Args:
        graph: The graph.
        seed: Any integer.
        scale: Multiplies every weight.
    """
    random = np.random.default_rng(seed)
    weights = {}
    for parameter in graph.parameters:
        fan_in = parameter.size / parameter.shape[-1]
        deviation = np.sqrt(2 / fan_in) if parameter.role == "kernel" else 0.5
        values = random.standard_normal(parameter.shape) * deviation * scale
        weights[parameter.name] = values.astype(np.float32)
    return weights


@dataclass(frozen=True)
class Case:
    """A graph with weights, images and true maps.

    Args:
        graph: The graph.
        shape: ``(N, H, W)`` of the images.
        low: The smallest value of an image.
        high: The largest value of an image.
        fixed: The value of weights that are not random, by parameter name.
        scale: Multiplies the random weights.
    """

    graph: Graph
    shape: tuple[int, int, int] = (2, 7, 10)
    low: float = -1.0
    high: float = 1.0
    fixed: Mapping[str, float] = field(default_factory=dict)
    scale: float = 1.0

    @cached_property
    def state(self) -> State:
        """The weights."""
        weights = random_weights(self.graph, 1, self.scale)
        for name, value in self.fixed.items():
            weights[name] = np.full_like(weights[name], value)
        return State(weights)

    @cached_property
    def images(self) -> Float32:
        """``(N, H, W, C)``, uniform between `low` and `high`."""
        channels = self.graph.channels[self.graph.input.name]
        random = np.random.default_rng(2)
        return random.uniform(self.low, self.high, (*self.shape, channels)).astype(np.float32)

    @cached_property
    def batch(self) -> Batch:
        """The images, with true maps of the output's shape, uniform in 0..1."""
        shape = self.graph.shapes(self.images.shape)[self.graph.output.name]
        random = np.random.default_rng(3)
        return Batch(self.images, random.uniform(0, 1, shape).astype(np.float32))


def narrow_network(
    coordinates: Coordinates = "asymmetric", count: int = 2, size: tuple[int, int] = (40, 56)
) -> Case:
    """Return MSI-Net with a sixteenth of its channels, on images that no dilation divides.

    Args:
        coordinates: The coordinates of its resizes.
        count: The number of images.
        size: Height and width of the images.
    """
    graph = msinet_graph(width=1 / 16, resize=coordinates)
    return Case(graph, shape=(count, *size), low=0.0, high=255.0)
