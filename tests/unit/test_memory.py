"""The estimate of the memory of a training step."""

from __future__ import annotations

import pytest

from msinet_core.network.graph import GraphBuilder
from msinet_core.network.memory import USABLE, estimate_memory, memory_sentences
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.ops import Conv2D

SIZE = (48, 64)
GRAPH = msinet_graph(0.1)


def test_the_parts_of_one_convolution() -> None:
    builder = GraphBuilder()
    builder.add("conv", Conv2D(8), builder.input)
    estimate = estimate_memory(builder.build(), (10, 10), "bfloat16")
    parameters = 3 * 3 * 3 * 8 + 8
    # Weights and their copies, gradients, two moments.
    assert estimate.fixed == (4 + 2 + 4 + 8) * parameters
    assert estimate.activations == {"input": 2 * 100 * 3, "conv": 2 * 100 * 8}
    assert estimate.workspace == 3 * 4 * 100 * 8
    assert estimate.per_image == 2 * 100 * 3 + 2 * 100 * 8 + 3 * 4 * 100 * 8


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_largest_batch_is_the_last_that_fits(precision: str) -> None:
    memory = 2**28
    one = estimate_memory(GRAPH, SIZE, precision)
    batch = one.largest_batch(memory)
    assert one.fixed + batch * one.per_image <= USABLE * memory
    assert one.fixed + (batch + 1) * one.per_image > USABLE * memory
    assert one.largest_batch(1000) == 0


@pytest.mark.parametrize(("memory", "count"), [(None, 2), (2**28, 3), (1000, 3)])
def test_the_description_fits_the_memory(memory: int | None, count: int) -> None:
    one = estimate_memory(GRAPH, SIZE, "float32")
    lines = list(memory_sentences(one, SIZE, "float32", memory))
    assert len(lines) == count
    if memory == 2**28:
        assert str(one.largest_batch(memory)) in lines[-1]
    if memory == 1000:
        assert "--image-size" in lines[-1]
