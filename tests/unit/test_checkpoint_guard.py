"""Whatever goes wrong in a file is a sentence, and what is quoted from it is harmless text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msinet_core.checkpoint.archive import Archive, StoredOptimizer, StoredTensor
from msinet_core.checkpoint.guard import reading
from msinet_core.checkpoint.texts import parse_network, parse_object
from msinet_core.errors import CheckpointError, MsinetError, UsageError, printable
from msinet_core.network.graph import GraphBuilder
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.ops import Conv2D

HOSTILE = "\x1b[2J\x9b\u202e\u2028\n\t\0\ud800\u200b"
PATH = Path("x.bin")


class StrangeError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def stored(read: Callable[[], Any] = lambda: np.zeros(1, np.float32)) -> StoredTensor:
    return StoredTensor((1,), "float32", False, read)


@pytest.mark.parametrize(
    "error",
    [
        NotImplementedError("complex"),
        KeyError("shape"),
        RecursionError(),
        MemoryError(),
        OverflowError("too large"),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "invalid start byte"),
        PermissionError(13, "Permission denied"),
        StrangeError(),
    ],
)
def test_anything_unexpected_names_the_file(error: Exception) -> None:
    with pytest.raises(CheckpointError) as found, reading(PATH):
        raise error
    assert str(PATH) in str(found.value)
    assert found.value.__cause__ is error


def test_sentences_and_interrupts_are_left_as_they_are() -> None:
    for error in (UsageError("no such file"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as found, reading(PATH):
            raise error
        assert found.value is error


def test_a_tensor_that_cannot_be_read_is_listed_with_the_others(tmp_path: Path) -> None:
    net = GraphBuilder(1)
    net.add("a", Conv2D(1, kernel_size=1, use_bias=False), net.input)
    path = tmp_path / "x.bin"
    path.touch()

    def fail() -> None:
        raise NotImplementedError("float8")

    tensor = StoredTensor((1, 1, 1, 1), "float32", False, fail)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="weights/a/kernel: NotImplementedError: float8"):
        Archive(path, {"a/kernel": tensor}).read_state(net.build())


def test_messages_escape_what_is_not_text() -> None:
    text = str(MsinetError(f"first {HOSTILE} line\nsecond"))
    assert text.replace("\n", "").isprintable()
    assert text.endswith("second")
    assert text.isascii()
    assert printable(HOSTILE).isprintable()
    assert printable("C:\\Übung 漢字") == "C:\\Übung 漢字"


def test_endless_texts_are_shortened() -> None:
    assert len(printable("x" * 10**6)) < 1_100
    assert len(str(MsinetError("x" * 10**6))) < 110_000


def test_names_in_any_file_are_escaped() -> None:
    tensors = {HOSTILE: stored()}
    archive = Archive(PATH, tensors, StoredOptimizer(0, tensors, tensors), unused=(HOSTILE,))
    names = [*archive.weights, *archive.unused]
    assert archive.optimizer is not None
    for name in (*names, *archive.optimizer.m, *archive.optimizer.v):
        assert name.isprintable()


@pytest.mark.parametrize("step", [-1, 2**53 + 1, 2**64 - 1])
def test_an_impossible_step_is_refused(step: int) -> None:
    with pytest.raises(CheckpointError, match=str(step)):
        Archive(PATH, {}, StoredOptimizer(step, {}, {}))


def test_a_tensor_with_endless_axes_is_refused() -> None:
    shape = (1,) * 1_000
    with pytest.raises(CheckpointError, match="1,000 axes"):
        Archive(PATH, {"a": StoredTensor(shape, "float32", False, lambda: np.zeros(shape))})


def network(op: str, **values: Any) -> str:
    document = json.loads(msinet_graph(0.02).to_json())
    for node in document["nodes"]:
        if node["op"] == op:
            node["attributes"].update(values)
    return json.dumps(document)


@pytest.mark.parametrize(
    ("op", "values"),
    [
        ("Resize", {"scale": 4096}),
        ("Resize", {"scale": 2.0}),
        ("MaxPool2D", {"pool_size": 10**9, "padding": "SAME"}),
        ("MaxPool2D", {"strides": 10**9}),
        ("Conv2D", {"dilation": 10**9}),
        ("Conv2D", {"filters": 10**9}),
        ("Conv2D", {"filters": True}),
        ("Conv2D", {"use_bias": 1}),
        ("Input", {"channels": "3"}),
        ("MinMaxNormalize", {"epsilon": float("inf")}),
        ("SubtractMean", {"mean": [float("nan")] * 3}),
        ("SubtractMean", {"mean": ["1", "2", "3"]}),
    ],
)
def test_a_network_made_to_exhaust_memory_is_refused(op: str, values: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=r"x\.bin: its network"):
        parse_network(network(op, **values), PATH)


@pytest.mark.parametrize("width", [0.02, 1, 4])
@pytest.mark.parametrize("resize", ["asymmetric", "half_pixel"])
def test_real_networks_are_read(width: float, resize: Any) -> None:
    graph = msinet_graph(width, resize=resize)
    assert parse_network(graph.to_json(), PATH) == graph


def test_integers_are_read_for_numbers() -> None:
    assert parse_network(network("SubtractMean", mean=[1, 2, 3]), PATH)


@pytest.mark.parametrize("text", ["[]", "{", "[" * 10**5, '{"a": [' + "[]," * 400_000 + "1]}"])
def test_what_is_not_an_object_is_refused(text: str) -> None:
    with pytest.raises(CheckpointError, match=r"x\.bin: its metadata"):
        parse_object(text, PATH, "metadata")
