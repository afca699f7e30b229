"""What foreign files say of their network and provenance."""

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


def test_a_text_that_is_no_description_is_not_parsed() -> None:
    graph = msinet_graph(0.02)
    long = {"note": "x" * 2**24}
    texts = origin_texts(Checkpoint(graph, random_state(graph, 1), None, long), "HWIO")
    with pytest.raises(CheckpointError, match=r"they are longer than 16,777,216 characters"):
        read_origin(texts, Path("x"))
