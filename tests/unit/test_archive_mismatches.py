"""What does not fit is counted by weights: their moments say nothing new."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from msinet_core.checkpoint import Checkpoint, read_weights, save_checkpoint
from msinet_core.checkpoint.archive import summarize
from msinet_core.checkpoint.catalog import find_format
from msinet_core.errors import CheckpointError
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.state import OptimizerState, State
from msinet_core.training.initial_weights import random_state

GRAPH = msinet_graph(0.02)
WIDER = msinet_graph(0.04)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    state = random_state(GRAPH, 1)
    path = tmp_path / "a.msinet.h5"
    save_checkpoint(
        path, Checkpoint(GRAPH, State(state.weights, OptimizerState.zeros(state.weights)))
    )
    return path


def test_with_and_without_moments_the_count_is_the_same(path: Path) -> None:
    with find_format(path).open(path) as archive:
        found = archive.mismatches(WIDER)
        assert found == archive.weights_only().mismatches(WIDER)
    assert summarize(found, WIDER) == f"{len(found)} of 46 weights have other shapes."
    with pytest.raises(CheckpointError, match=rf"and {len(found) - 3} more"):
        read_weights(path, WIDER)


def test_moments_that_differ_alone_are_counted() -> None:
    weights = random_state(GRAPH, 1).weights
    moments = {**weights, "decoder/conv4/bias": np.zeros(9, np.float32)}
    found = State(weights, OptimizerState(1, moments, weights)).mismatches(GRAPH)
    assert summarize(found, GRAPH) == "1 of the optimizer's moments differ."
