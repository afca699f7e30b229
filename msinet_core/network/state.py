"""Batches, and the state of training in canonical form: weights and the optimizer's moments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from msinet_core.network.graph import Graph


Tensors: TypeAlias = "Mapping[str, NDArray[np.float32]]"
"""Weights, or a moment of each, by the parameter's name; float32."""


class Batch(NamedTuple):
    """Images with their true saliency maps.

    Args:
        images: ``(N, H, W, 3)`` float32, RGB in 0..255.
        maps: ``(N, H, W, 1)`` float32 in 0..1.
    """

    images: NDArray[np.float32]
    maps: NDArray[np.float32]


@dataclass(frozen=True)
class OptimizerState:
    """Adam's moments.

    Args:
        step: The number of steps so far.
        m: First moment of each parameter, canonical, float32.
        v: Second moment of each parameter, canonical, float32.
    """

    step: int
    m: Tensors
    v: Tensors

    @classmethod
    def zeros(cls, weights: Tensors) -> OptimizerState:
        """Return Adam's moments before the first step.

        Args:
            weights: The weights, for their names and shapes.
        """
        import numpy as np

        return cls(
            step=0,
            m={name: np.zeros_like(value) for name, value in weights.items()},
            v={name: np.zeros_like(value) for name, value in weights.items()},
        )


@dataclass(frozen=True)
class State:
    """Everything that a training step changes.

    Args:
        weights: Each parameter of the graph by name: kernels HWIO, biases ``(filters,)``, float32.
        optimizer: Adam's moments; None before training and for prediction.
    """

    weights: Tensors = field(default_factory=dict)
    optimizer: OptimizerState | None = None

    def mismatches(self, graph: Graph) -> list[str]:
        """List all differences between the tensors and a graph's parameters; empty if they fit.

        A weight's moments are left out if they differ just as the weight does.

        Args:
            graph: The network.
        """
        return find_mismatches(graph, *state_groups(self).values())


KINDS = ("weight", "first moment", "second moment")
"""The tensors of each parameter, in the order of `find_mismatches`."""


def state_groups(state: State) -> dict[str, Tensors]:
    """Return the weights, and Adam's moments if there are any, in groups named as in a checkpoint.

    Args:
        state: Any state.
    """
    groups = {"weights": state.weights}
    if state.optimizer is not None:
        groups |= {"optimizer/m": state.optimizer.m, "optimizer/v": state.optimizer.v}
    return groups


def state_arrays(state: State) -> Tensors:
    """Return every array of a state by a name for messages.

    Args:
        state: Any state.
    """
    return {
        f"{kind} {name}": value
        for kind, group in zip(KINDS, state_groups(state).values(), strict=False)
        for name, value in group.items()
    }


class _Shaped(Protocol):
    @property
    def shape(self) -> tuple[int, ...]: ...


def find_mismatches(graph: Graph, *tensors: Mapping[str, _Shaped]) -> list[str]:
    """Compare names and shapes of tensors with a graph's parameters.

    Args:
        graph: The network.
        tensors: Anything with shapes, by name: the weights, then Adam's first and second moments
            if there are any.

    Returns:
        A line for each difference. A weight's moments are left out if they differ just as the
        weight does.
    """
    shapes = {parameter.name: parameter.shape for parameter in graph.parameters}
    found: list[str] = []
    of_weights: set[str] = set()
    for kind, group in zip(KINDS, tensors, strict=False):
        for name in (*shapes, *sorted(group.keys() - shapes)):
            if name not in group:
                difference = f"{name}: missing, expected shape {shapes[name]}"
            elif name not in shapes:
                difference = f"{name}: not in the network"
            elif (shape := tuple(group[name].shape)) != shapes[name]:
                difference = f"{name}: has shape {shape}, expected {shapes[name]}"
            else:
                continue
            if kind == KINDS[0]:
                of_weights.add(difference)
            elif difference in of_weights:
                continue
            found.append(f"{kind} {difference}")
    return found
