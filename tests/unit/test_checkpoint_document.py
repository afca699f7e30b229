"""The reader in the documentation of the format reads what we write."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from msinet_core.checkpoint import Checkpoint, save_checkpoint
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.state import OptimizerState, State
from msinet_core.training.initial_weights import random_state

DOCUMENT = Path(__file__).parents[2] / "docs" / "reference" / "checkpoint-format.md"
GRAPH = msinet_graph(0.02)


def blocks(language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.M | re.S
    )


@pytest.fixture
def read() -> Callable[[Path], Any]:
    (code,) = blocks("python")
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    return namespace["read"]  # type: ignore[no-any-return]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "latest.msinet.h5"
    state = random_state(GRAPH, 0)
    state = State(state.weights, OptimizerState.zeros(state.weights))
    save_checkpoint(path, Checkpoint(GRAPH, state, {"history": []}))
    return path


def test_the_reader_in_the_document_reads_our_files(
    read: Callable[[Path], Any], path: Path
) -> None:
    graph, weights = read(path)
    assert graph == json.loads(GRAPH.to_json())
    expected = random_state(GRAPH, 0).weights
    assert weights.keys() == expected.keys()
    for name, tensor in weights.items():
        np.testing.assert_array_equal(tensor, expected[name])


def test_the_reader_in_the_document_finds_damage(read: Callable[[Path], Any], path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["weights/decoder/conv4/bias"][...] = 5
    with pytest.raises(AssertionError, match="/weights/decoder/conv4/bias is damaged"):
        read(path)


def test_the_document_names_every_attribute_and_dataset(path: Path) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    with h5py.File(path, "r") as file:
        for name in file.attrs:
            assert f"`{name}`" in text
        for name in file:
            assert f"`/{name}" in text


def test_the_network_in_the_document_is_the_beginning_of_ours() -> None:
    (example,) = blocks("json")
    document = json.loads(example)
    assert (
        document["nodes"] == json.loads(msinet_graph().to_json())["nodes"][: len(document["nodes"])]
    )
