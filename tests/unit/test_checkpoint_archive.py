"""Checkpoints in memory, and how the mismatches of an open file are counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from msinet_core.checkpoint import Checkpoint, read_weights, save_checkpoint
from msinet_core.checkpoint.archive import Archive, StoredTensor
from msinet_core.checkpoint.catalog import find_format
from msinet_core.errors import CheckpointError
from msinet_core.network.graph import GraphBuilder
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.ops import Conv2D
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


def test_a_weight_is_counted_once_with_its_moments(path: Path) -> None:
    archive = find_format(path).open(path)
    found = archive.mismatches(WIDER)
    assert found == archive.weights_only().mismatches(WIDER)
    with pytest.raises(CheckpointError, match=rf"and {len(found) - 3} more"):
        read_weights(path, WIDER)
    with pytest.raises(CheckpointError, match=f"46 weights; {len(found)} tensors differ"):
        archive.read_state(WIDER)


def test_moments_that_differ_alone_are_counted() -> None:
    weights = random_state(GRAPH, 1).weights
    moments = {**weights, "decoder/conv4/bias": np.zeros(9, np.float32)}
    (found,) = State(weights, OptimizerState(1, moments, weights)).mismatches(GRAPH)
    assert found == "first moment decoder/conv4/bias: has shape (9,), expected (1,)"


def test_the_image_size_comes_from_the_metadata() -> None:
    assert Checkpoint(GRAPH, State(), metadata={"image_size": [360, 368]}).image_size == (360, 368)
    assert Checkpoint(GRAPH, State()).image_size is None


@pytest.mark.parametrize("size", [[240], "wide", 240, [None, 3], [0, 8], [-8, -8], [40_000] * 2])
def test_an_invalid_image_size_is_refused(size: object) -> None:
    with pytest.raises(CheckpointError, match="--image-size"):
        _ = Checkpoint(GRAPH, State(), metadata={"image_size": size}).image_size


def test_tensors_that_repeat_a_small_file_are_refused_before_they_are_read(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"x")
    net = GraphBuilder()
    net.add("end", Conv2D(1), net.add("wide", Conv2D(2**20), net.input))
    graph = net.build()

    def read() -> np.ndarray:
        raise AssertionError("nothing is to be read")

    stored = {
        item.name: StoredTensor(item.shape, "float32", False, read) for item in graph.parameters
    }
    with pytest.raises(CheckpointError, match="small"):
        Archive(tmp_path / "small", stored).read_state(graph)
