"""The network and the provenance in foreign files."""

from __future__ import annotations

from pathlib import Path

import pytest

from msinet_core.checkpoint import Checkpoint
from msinet_core.checkpoint.origin import origin_texts, read_origin
from msinet_core.errors import CheckpointError
from msinet_core.network.msinet import msinet_graph
from msinet_core.training.initial_weights import random_state


def test_network_and_provenance_come_back() -> None:
    graph = msinet_graph(0.02)
    checkpoint = Checkpoint(graph, random_state(graph, 1), None, {"device": "cpu"})
    assert read_origin(origin_texts(checkpoint, "HWIO"), Path("x")) == (graph, {"device": "cpu"})


def test_an_endless_text_is_not_parsed() -> None:
    graph = msinet_graph(0.02)
    long = {"note": "x" * 2**24}
    texts = origin_texts(Checkpoint(graph, random_state(graph, 1), None, long), "HWIO")
    with pytest.raises(CheckpointError, match="16,777,216"):
        read_origin(texts, Path("x"))


@pytest.mark.parametrize("name", ["kernel_layout", "graph", "metadata", "msinet_sha256"])
def test_a_changed_text_is_noticed(name: str) -> None:
    graph = msinet_graph(0.02)
    texts = origin_texts(Checkpoint(graph, random_state(graph, 1)), "HWIO")
    with pytest.raises(CheckpointError):
        read_origin({**texts, name: texts[name] + " "}, Path("x"))
