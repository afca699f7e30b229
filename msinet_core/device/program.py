"""What a device builds: a network, its weights, its loss and its optimizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from msinet_core.network.state import OptimizerState

if TYPE_CHECKING:
    from msinet_core.network.adam import Adam
    from msinet_core.network.graph import Graph
    from msinet_core.network.loss import Loss
    from msinet_core.network.state import State


@dataclass(frozen=True)
class Program:
    """Everything that `Device.build` needs.

    Args:
        graph: The network.
        state: Canonical weights, and Adam's moments to continue from if there are any.
        loss: None for prediction only.
        optimizer: None for evaluation or prediction.
    """

    graph: Graph
    state: State
    loss: Loss | None = None
    optimizer: Adam | None = None

    @property
    def optimizer_state(self) -> OptimizerState:
        """Adam's moments to start from; zeros unless the state has some."""
        return self.state.optimizer or OptimizerState.zeros(self.state.weights)
