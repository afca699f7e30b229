"""Tensors are read and hashed by several threads, in order."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from msinet_core.checkpoint.archive import Archive, StoredTensor
from msinet_core.errors import CheckpointError
from msinet_core.network.graph import GraphBuilder
from msinet_core.network.ops import Conv2D
from msinet_core.system.threads import each


def test_results_come_in_the_order_of_the_items() -> None:
    assert each(lambda number: number * number, range(20)) == [n * n for n in range(20)]
    assert each(str, []) == []


def test_items_are_worked_on_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("msinet_core.system.threads.available_cores", lambda: 2)
    together = threading.Barrier(2, timeout=30)
    assert sorted(each(lambda _: together.wait(), range(2))) == [0, 1]


def test_the_first_failure_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        each(lambda number: 1 // number, [1, 0, 2])


def test_every_damaged_tensor_is_listed_in_the_order_of_the_network(tmp_path: Path) -> None:
    path = tmp_path / "weights.h5"
    path.touch()
    net = GraphBuilder(3)
    last = net.input
    for number in range(8):
        last = net.add(f"layer{number}", Conv2D(2), last)
    graph = net.build()

    def broken() -> np.ndarray:
        raise CheckpointError("it is broken")

    stored = {
        item.name: StoredTensor(item.shape, "float32", True, broken) for item in graph.parameters
    }
    with pytest.raises(CheckpointError) as error:
        Archive(path, dict(reversed(stored.items()))).read_state(graph)
    listed = [line for line in str(error.value).splitlines() if "it is broken" in line]
    assert len(listed) == len(stored)
    for line, name in zip(listed, stored, strict=True):
        assert f"weights/{name}: it is broken" in line
