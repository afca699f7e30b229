"""Rows about the state: weights and moments come back bit for bit, and are copies."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from msinet_core.conformance.cases import Float32, narrow_network
from msinet_core.conformance.comparison import Array, Outcome, compare_bits
from msinet_core.conformance.scenario import Scenario, Subject
from msinet_core.conformance.scenarios.gradients import TRAINS_DILATED
from msinet_core.network.adam import Adam
from msinet_core.network.graph import Graph, GraphBuilder
from msinet_core.network.loss import KLDivergence
from msinet_core.network.ops import Conv2D
from msinet_core.network.state import OptimizerState, State


def _graph() -> Graph:
    """Return a graph with kernels of several shapes, one of them with four equal axes."""
    net = GraphBuilder(3)
    net.add("scope/square", Conv2D(3), net.input)
    net.add("scope/many", Conv2D(16, 1), "scope/square")
    net.add("few", Conv2D(2, 3, dilation=2, use_bias=False), "scope/many")
    net.add("last", Conv2D(1, 2, activation="linear"), "few")
    return net.build()


def _tensors(graph: Graph, seed: int) -> dict[str, Float32]:
    """Return values of every size that training meets, and a negative zero."""
    random = np.random.default_rng(seed)
    tensors = {}
    for parameter in graph.parameters:
        values = random.standard_normal(parameter.shape) * 10.0 ** random.integers(-15, 5)
        values.flat[0] = -0.0
        tensors[parameter.name] = values.astype(np.float32)
    return tensors


def _moments(graph: Graph) -> OptimizerState:
    second = {name: np.abs(value) for name, value in _tensors(graph, 7).items()}
    return OptimizerState(step=123, m=_tensors(graph, 6), v=second)


def _pairs(state: State, expected: State) -> dict[str, tuple[ArrayLike, Array]]:
    groups: list[tuple[str, Mapping[str, Array], Mapping[str, Array]]] = [
        ("Weight", state.weights, expected.weights)
    ]
    if expected.optimizer is not None:
        if state.optimizer is None:
            raise ValueError("Model.state() has no optimizer state.")
        groups += [
            ("First moment", state.optimizer.m, expected.optimizer.m),
            ("Second moment", state.optimizer.v, expected.optimizer.v),
        ]
    return {
        f"{group} {name}": (actual[name], right[name])
        for group, actual, right in groups
        for name in right
    }


def _same_state(state: State, expected: State) -> Outcome:
    outcome = compare_bits(_pairs(state, expected))
    steps = [None if one.optimizer is None else one.optimizer.step for one in (state, expected)]
    if outcome.passed and expected.optimizer is not None and steps[0] != steps[1]:
        return Outcome(1.0, 0.0, f"The optimizer's step is {steps[0]}, should be {steps[1]}.")
    return outcome


def _conversion(subject: Subject) -> Outcome:
    graph = _graph()
    device, tensors = subject.device, _tensors(graph, 5)
    pairs: dict[str, tuple[ArrayLike, Array]] = {}
    for parameter in graph.parameters:
        native = device.to_native(parameter, tensors[parameter.name])
        back = device.to_canonical(parameter, native)
        pairs[f"Weight {parameter.name}"] = (back, tensors[parameter.name])
    return compare_bits(pairs)


def _weights_come_back(subject: Subject) -> Outcome:
    state = State(_tensors(_graph(), 5))
    return _same_state(subject.device.compile(_graph(), state).state(), state)


def _moments_come_back(subject: Subject) -> Outcome:
    graph = _graph()
    state = State(_tensors(graph, 5), _moments(graph))
    loss, optimizer = KLDivergence(), Adam()
    model = subject.device.compile(graph, state, loss=loss, optimizer=optimizer)
    return _same_state(model.state(), state)


def _moments_begin_at_zero(subject: Subject) -> Outcome:
    graph = _graph()
    weights = _tensors(graph, 5)
    zeros = {name: np.zeros_like(value) for name, value in weights.items()}
    loss, optimizer = KLDivergence(), Adam()
    model = subject.device.compile(graph, State(weights), loss=loss, optimizer=optimizer)
    return _same_state(model.state(), State(weights, OptimizerState(0, zeros, zeros)))


def _only_steps_change_the_state(subject: Subject) -> Outcome:
    case = narrow_network()
    loss, optimizer = KLDivergence(), Adam()
    model = subject.device.compile(case.graph, case.state, loss=loss, optimizer=optimizer)
    model.train_step([case.batch], 1e-3)
    before = model.state()
    np.asarray(model.eval_step(case.batch))
    np.asarray(model.predict(case.images))
    return _same_state(model.state(), before)


def _state_is_a_copy(subject: Subject) -> Outcome:
    case = narrow_network()
    loss, optimizer = KLDivergence(), Adam()
    model = subject.device.compile(case.graph, case.state, loss=loss, optimizer=optimizer)
    state = model.state()
    model.train_step([case.batch], 1e-3)
    return _same_state(state, case.state)


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "state/conversion",
        "Canonical to native to canonical returns every weight bit for bit.",
        _conversion,
        "bits",
    ),
    Scenario(
        "state/weights-come-back",
        "A compiled model's state holds the given weights bit for bit.",
        _weights_come_back,
        "bits",
    ),
    Scenario(
        "state/moments-come-back",
        "A compiled model's state holds the given moments and step bit for bit.",
        _moments_come_back,
        "bits",
        needs=("training",),
    ),
    Scenario(
        "state/moments-begin-at-zero",
        "Without given moments, moments and step start at zero.",
        _moments_begin_at_zero,
        "bits",
        needs=("training",),
    ),
    Scenario(
        "state/only-steps-change-it",
        "Evaluation and prediction do not change weights and moments.",
        _only_steps_change_the_state,
        "bits",
        needs=TRAINS_DILATED,
    ),
    Scenario(
        "state/is-a-copy",
        "A state that was read does not change with later steps.",
        _state_is_a_copy,
        "bits",
        needs=TRAINS_DILATED,
    ),
)
