"""The cpu device computes what the reference computes, on whole networks at published sizes.

Every op alone, its gradient and the loss are proven by the conformance kit.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from msinet_core.conformance.cases import Case
from msinet_core.device import Device
from msinet_core.network.adam import Adam
from msinet_core.network.graph import Graph
from msinet_core.network.loss import KLDivergence
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.state import State
from msinet_core.reference import SPEC as REFERENCE
from msinet_cpu import SPEC

pytest.importorskip("tensorflow")

PUBLISHED_SIZES = [(240, 320), (216, 384), (360, 360)]
NARROW = 0.125


@pytest.fixture(scope="module")
def cpu() -> Device:
    return SPEC.open()


@pytest.fixture(scope="module")
def reference() -> Device:
    return REFERENCE.open()


def network_case(width: float, size: tuple[int, int], count: int = 1) -> Case:
    return Case(msinet_graph(width), (count, *size), low=0.0, high=255.0)


def largest_difference(one: Device, other: Device, case: Case) -> float:
    maps = [device.compile(case.graph, case.state).predict(case.images) for device in (one, other)]
    first, second = (np.asarray(values) for values in maps)
    assert first.shape == second.shape == case.batch.maps.shape
    assert first.dtype == np.float32
    assert first.max() > 0.99  # a map, and not what two broken devices agree on
    return float(np.abs(first - second).max())


@pytest.mark.parametrize("size", PUBLISHED_SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_narrow_network_at_each_published_size(
    cpu: Device, reference: Device, size: tuple[int, int]
) -> None:
    assert largest_difference(cpu, reference, network_case(NARROW, size)) <= 1e-4


def test_published_network(cpu: Device, reference: Device) -> None:
    case = network_case(1.0, (240, 320))
    assert case.graph.parameter_count == 24_934_209
    assert largest_difference(cpu, reference, case) <= 1e-4


def test_four_steps_give_the_same_losses(cpu: Device, reference: Device) -> None:
    case = network_case(NARROW, (96, 128), count=2)
    losses = []
    for device in (cpu, reference):
        model = device.compile(case.graph, case.state, loss=KLDivergence(), optimizer=Adam())
        losses.append([float(model.train_step([case.batch], 1e-3)) for _ in range(4)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert losses[0][3] < losses[0][0]


def test_published_weights(cpu: Device, reference: Device) -> None:
    graph = msinet_graph().between("aspp/concat", "output")
    state = published_state(graph)
    channels = graph.channels[graph.input.name]
    features = np.random.default_rng(4).standard_normal((1, 30, 40, channels), np.float32)
    maps = [
        np.asarray(device.compile(graph, state).predict(np.maximum(features, 0)))
        for device in (cpu, reference)
    ]
    assert maps[0].shape == (1, 240, 320, 1)
    assert maps[0].max() > 0.99
    np.testing.assert_allclose(maps[0], maps[1], rtol=0, atol=1e-4)


def published_state(graph: Graph) -> State:
    """Read the published, trained weights of a part of the network; skip where they are not."""
    default = Path(__file__).parents[3] / "shared"
    folder = Path(os.environ.get("MSINET_SHARED", default)) / "data" / "msinet_published_tail"
    file = folder / "tensors_f16.npz"
    if not file.is_file():
        pytest.skip(f"the published weights are not at {file}; MSINET_SHARED says where they are")
    with np.load(file) as tensors:
        names = {
            parameter.name: parameter.name.replace("/", "__") for parameter in graph.parameters
        }
        weights = {name: tensors[key].astype(np.float32) for name, key in names.items()}
    state = State(weights)
    assert state.mismatches(graph) == []
    return state
