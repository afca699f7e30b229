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

    def mismatches(self, graph: Graph) -> list[Mismatch]:
        """List all differences between the tensors and a graph's parameters; empty if they fit.

        Args:
            graph: The network.
        """
        moments = None if self.optimizer is None else (self.optimizer.m, self.optimizer.v)
        return find_mismatches(graph, self.weights, moments)


def state_arrays(state: State) -> Tensors:
    """Return every array of a state by a name for messages.

    Args:
        state: Any state.
    """
    groups = {"weight": state.weights}
    if state.optimizer is not None:
        groups |= {"first moment": state.optimizer.m, "second moment": state.optimizer.v}
    return {
        f"{group} {name}": value
        for group, tensors in groups.items()
        for name, value in tensors.items()
    }


class Mismatch(NamedTuple):
    """A tensor that does not fit a network; as text, a line for messages.

    Args:
        group: ``"weight"``, ``"first moment"`` or ``"second moment"``.
        name: The parameter.
        problem: What is wrong with it.
        has_other_shape: Whether that is its shape; otherwise it is missing or unknown.
    """

    group: str
    name: str
    problem: str
    has_other_shape: bool = False

    def __str__(self) -> str:
        return f"{self.group} {self.name}: {self.problem}"


WEIGHT = "weight"
"""The group of mismatches of weights."""


class _Shaped(Protocol):
    @property
    def shape(self) -> tuple[int, ...]: ...


def find_mismatches(
    graph: Graph,
    weights: Mapping[str, _Shaped],
    moments: tuple[Mapping[str, _Shaped], Mapping[str, _Shaped]] | None,
) -> list[Mismatch]:
    """Compare names and shapes of tensors with a graph's parameters.

    Args:
        graph: The network.
        weights: Anything with shapes, by name.
        moments: Adam's first and second moments, if there are any.
    """
    groups = {WEIGHT: weights}
    if moments is not None:
        groups |= {"first moment": moments[0], "second moment": moments[1]}
    shapes = {parameter.name: parameter.shape for parameter in graph.parameters}
    found = []
    for group, tensors in groups.items():
        for name, shape in shapes.items():
            if name not in tensors:
                found.append(Mismatch(group, name, f"missing, expected shape {shape}"))
            elif (actual := tuple(tensors[name].shape)) != shape:
                text = f"has shape {actual}, expected {shape}"
                found.append(Mismatch(group, name, text, has_other_shape=True))
        unknown = sorted(tensors.keys() - shapes)
        found += [Mismatch(group, name, "not in the network") for name in unknown]
    return found
