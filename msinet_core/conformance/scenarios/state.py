"""Rows about the state: weights and moments come back bit for bit, and are copies."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
from numpy.typing import ArrayLike

from msinet_core.conformance.cases import Case, Float32, chain, narrow_network
from msinet_core.conformance.comparison import Array, Outcome, compare_bits, worst
from msinet_core.conformance.scenario import Rows, Subject
from msinet_core.conformance.scenarios.gradients import TRAINS_DILATED
from msinet_core.conformance.states import same_state
from msinet_core.network.graph import Graph
from msinet_core.network.ops import Conv2D
from msinet_core.network.state import OptimizerState, State, state_arrays

ROWS = Rows()

LATE_STEP = 2**24 + 1
"""The first step that float32 cannot count."""


def _graph() -> Graph:
    """Return a graph with kernels of several shapes, one of them with four equal axes."""
    return chain(
        **{"scope/square": Conv2D(3), "scope/many": Conv2D(16, 1)},
        few=Conv2D(2, 3, dilation=2, use_bias=False),
        last=Conv2D(1, 2, activation="linear"),
    )


def _tensors(graph: Graph, seed: int) -> dict[str, Float32]:
    """Return values of every size that training meets, and a negative zero."""
    random = np.random.default_rng(seed)
    tensors = {}
    for parameter in graph.parameters:
        values = random.standard_normal(parameter.shape) * 10.0 ** random.integers(-15, 5)
        values.flat[0] = -0.0
        tensors[parameter.name] = values.astype(np.float32)
    return tensors


def _state(step: int) -> State:
    graph = _graph()
    second = {name: np.abs(value) for name, value in _tensors(graph, 7).items()}
    return State(_tensors(graph, 5), OptimizerState(step, m=_tensors(graph, 6), v=second))


@ROWS.row("state/conversion", "bits")
def _conversion(subject: Subject) -> Outcome:
    """Canonical to native to canonical returns every weight bit for bit."""
    graph = _graph()
    device, tensors = subject.device, _tensors(graph, 5)
    pairs: dict[str, tuple[ArrayLike, Array]] = {}
    for parameter in graph.parameters:
        native = device.to_native(parameter, tensors[parameter.name])
        back = device.to_canonical(parameter, native)
        pairs[parameter.name] = (back, tensors[parameter.name])
    return compare_bits(pairs)


@ROWS.row("state/weights-come-back", "bits")
def _weights_come_back(subject: Subject) -> Outcome:
    """A compiled model's state holds the given weights bit for bit."""
    state = State(_tensors(_graph(), 5))
    return same_state(subject.device.compile(_graph(), state).state(), state)


@ROWS.row("state/moments-come-back", "bits", "training")
def _moments_come_back(subject: Subject) -> Outcome:
    """A compiled model's state holds the given moments and step, even beyond 2**24."""
    outcomes = []
    for step in (123, 70_001, LATE_STEP):
        state = _state(step)
        outcomes.append(same_state(subject.trained(Case(_graph()), state).state(), state))
    return worst(*outcomes)


@ROWS.row("state/moments-start-at-zero", "bits", "training")
def _moments_start_at_zero(subject: Subject) -> Outcome:
    """Without given moments, moments and step start at zero."""
    weights = _tensors(_graph(), 5)
    model = subject.trained(Case(_graph()), State(weights))
    return same_state(model.state(), State(weights, OptimizerState.zeros(weights)))


@ROWS.row("state/given-arrays", "bits")
def _given_arrays(subject: Subject) -> Outcome:
    """Weights may be read-only or transposed views, and may be overwritten after compile."""
    case = narrow_network(count=1)
    right = case.state.weights
    weights = {name: np.array(weight.T, order="C").T for name, weight in right.items()}
    for weight in weights.values():
        weight.flags.writeable = False
    model = subject.device.compile(case.graph, State(weights))
    before = np.array(model.predict(case.images))
    for weight in weights.values():
        weight.flags.writeable = True
        weight[...] = np.nan
    after = np.asarray(model.predict(case.images))
    same = Outcome(float(not np.allclose(before, after)), 0.0, "The map changed with the arrays.")
    return worst(same, same_state(model.state(), State(right)))


@ROWS.row("state/order", "bits", "training")
def _order(subject: Subject) -> Outcome:
    """Weights and moments are taken by name, in any order, and may be overwritten after compile."""
    graph = chain(first=Conv2D(3), second=Conv2D(3), third=Conv2D(3), last=Conv2D(1))
    tensors = [_tensors(graph, seed) for seed in (5, 6, 7)]
    weights, m, v = ({name: one[name].copy() for name in reversed(one)} for one in tensors)
    state = State(weights, OptimizerState(9, m, v))
    model = subject.trained(Case(graph), state)
    for array in state_arrays(state).values():
        array[...] = 3
    return same_state(model.state(), State(tensors[0], OptimizerState(9, *tensors[1:])))


@ROWS.row("state/only-steps-change-it", "bits", *TRAINS_DILATED)
def _only_steps_change_the_state(subject: Subject) -> Outcome:
    """Evaluation and prediction do not change weights and moments."""
    case = narrow_network(count=1)
    model = subject.trained(case)
    model.train_step([case.batch], 1e-3)
    before = deepcopy(model.state())
    np.asarray(model.eval_step(case.batch))
    np.asarray(model.predict(case.images))
    return same_state(model.state(), before)


@ROWS.row("state/is-a-copy", "bits", *TRAINS_DILATED)
def _state_is_a_copy(subject: Subject) -> Outcome:
    """A state does not change with later steps, nor the model with the state."""
    case = narrow_network(count=1)
    model = subject.trained(case)
    state = model.state()
    model.train_step([case.batch], 1e-3)
    unchanged = same_state(state, case.state)
    later = model.state()
    right = deepcopy(later)
    for array in state_arrays(later).values():
        if array.flags.writeable:
            array[...] = np.nan
    return worst(unchanged, same_state(model.state(), right))
