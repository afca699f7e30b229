"""`Program`: the frozen argument of `Device.build`."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from msinet_core.device import Program
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.state import OptimizerState, State

GRAPH = msinet_graph(0.02)
WEIGHTS = {parameter.name: np.ones(parameter.shape, np.float32) for parameter in GRAPH.parameters}


def test_it_is_frozen() -> None:
    program = Program(GRAPH, State(WEIGHTS))
    with pytest.raises(FrozenInstanceError):
        program.graph = GRAPH  # type: ignore[misc]
    assert program.loss is None
    assert program.optimizer is None


def test_adams_moments_are_zeros_unless_the_state_has_some() -> None:
    zeros = Program(GRAPH, State(WEIGHTS)).optimizer_state
    assert zeros.step == 0
    for moments in (zeros.m, zeros.v):
        assert {name: value.shape for name, value in moments.items()} == {
            parameter.name: parameter.shape for parameter in GRAPH.parameters
        }
        assert not any(value.any() for value in moments.values())
    given = OptimizerState(3, WEIGHTS, WEIGHTS)
    assert Program(GRAPH, State(WEIGHTS, given)).optimizer_state is given
