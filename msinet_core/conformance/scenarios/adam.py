"""Rows about Adam: how weights and moments change in a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from msinet_core.conformance.cases import LIFT, Case, Float32
from msinet_core.conformance.comparison import (
    Array,
    Outcome,
    compare_bits,
    compare_norms,
    worst,
)
from msinet_core.conformance.scenario import Check, Rows, Subject
from msinet_core.device import Device
from msinet_core.network.adam import Adam
from msinet_core.network.graph import GraphBuilder
from msinet_core.network.loss import (
    KLDivergence,
)
from msinet_core.network.ops import Conv2D, SubtractMean
from msinet_core.network.state import OptimizerState, State

ROWS = Rows()


def train(
    device: Device,
    case: Case,
    rates: Sequence[float],
    optimizer: Adam | None = None,
    moments: OptimizerState | None = None,
) -> tuple[Float32, State]:
    """Make steps on a case's batch.

    Args:
        device: The device.
        case: The graph, its weights and the batch.
        rates: The learning rate of each step.
        optimizer: None for the default.
        moments: To continue from; None for zeros.

    Returns:
        The losses and the final state.
    """
    state = State(case.state.weights, moments)
    loss, optimizer = KLDivergence(), optimizer or Adam()
    model = device.compile(case.graph, state, loss=loss, optimizer=optimizer)
    losses = [float(model.train_step([case.batch], rate)) for rate in rates]
    return np.array(losses, np.float32), model.state()


def _train_both(
    subject: Subject,
    case: Case,
    rates: Sequence[float],
    optimizer: Adam | None = None,
    moments: OptimizerState | None = None,
) -> tuple[State, State]:
    """Return the states after training on the device and on the oracle."""
    (_, actual), (_, expected) = (
        train(device, case, rates, optimizer, moments)
        for device in (subject.device, subject.oracle)
    )
    return actual, expected


def movement(start: State, state: State) -> Mapping[str, Array]:
    """Return how far each weight moved.

    Args:
        start: Before.
        state: After.
    """
    return {name: state.weights[name] - value for name, value in start.weights.items()}


def same_movement(start: State, actual: State, expected: State, tolerance: float) -> Outcome:
    """Compare how far the weights moved, relative to the tensor that moved farthest.

    Adam moves a weight whose gradient is only rounding as far as any other, in an arbitrary
    direction; relative to the farthest tensor such a weight does not count.

    Args:
        start: Before.
        actual: The device's state.
        expected: The oracle's state.
        tolerance: The largest difference that passes.
    """
    moved, right = movement(start, actual), movement(start, expected)
    pairs = {f"The movement of {name}": (moved[name], right[name]) for name in right}
    return compare_norms(pairs, tolerance, share=1.0)


def same_moments(
    actual: OptimizerState | None, expected: OptimizerState | None, tolerance: float
) -> Outcome:
    """Compare the step and both moments of every parameter.

    Args:
        actual: The device's.
        expected: The oracle's.
        tolerance: The largest difference that passes.
    """
    assert expected is not None
    if actual is None or actual.step != expected.step:
        step = None if actual is None else actual.step
        reason = f"The optimizer's step is {step} afterwards, should be {expected.step}."
        return Outcome(np.inf, tolerance, reason)
    pairs = {
        f"The {order} moment of {name}": (ours[name], theirs[name])
        for order, ours, theirs in (
            ("first", actual.m, expected.m),
            ("second", actual.v, expected.v),
        )
        for name in theirs
    }
    return compare_norms(pairs, tolerance)


def _adam(
    rates: Sequence[float],
    optimizer: Adam | None = None,
    step: int | None = None,
) -> Check:
    """Compare how weights and moments change where no gradient is close to zero.

    Args:
        rates: The learning rate of each step.
        optimizer: None for the default.
        step: The number of steps to continue from; None to begin.
    """

    def check(subject: Subject) -> Outcome:
        net = GraphBuilder(3)
        net.add("first", Conv2D(4), net.input)
        net.add("last", Conv2D(1, 1, activation="linear"), "first")
        case = Case(net.build(), fixed={"last/bias": 4.0})
        moments = None if step is None else _moments(case, step)
        actual, expected = _train_both(subject, case, rates, optimizer, moments)
        return worst(
            same_movement(case.state, actual, expected, subject.tolerances.update),
            same_moments(actual.optimizer, expected.optimizer, subject.tolerances.gradient),
        )

    return check


def _moments(case: Case, step: int) -> OptimizerState:
    random = np.random.default_rng(4)
    weights = case.state.weights
    return OptimizerState(
        step=step,
        m={name: random.normal(0, 0.02, w.shape).astype("f4") for name, w in weights.items()},
        v={name: random.uniform(1e-4, 1e-3, w.shape).astype("f4") for name, w in weights.items()},
    )


for _name, _description, _check in (
    ("first-step", "The first step changes weights and moments as Adam does.", _adam([0.01])),
    (
        "constants",
        "Betas and epsilon are used, with epsilon outside the bias correction.",
        _adam([0.1] * 3, Adam(beta_1=0.8, beta_2=0.9, epsilon=0.01)),
    ),
    (
        "learning-rate",
        "Each step uses its own learning rate; at zero, only the moments change.",
        _adam([0.01, 0.0001, 0.0, 0.03]),
    ),
    (
        "continued",
        "A step continues from given moments and a given step count.",
        _adam([0.01], step=5),
    ),
    (
        "late-steps",
        "After 299 and after 70,000 steps, the bias correction is still right.",
        lambda subject: worst(
            _adam([0.01] * 2, step=299)(subject), _adam([0.01] * 2, step=70_000)(subject)
        ),
    ),
):
    ROWS.row(f"adam/{_name}", _description, "update", "training")(_check)


@ROWS.row(
    "adam/factors",
    "Some weights have a factor on their learning rate; frozen ones keep weights and moments.",
    "update",
    "training",
)
def _factors(subject: Subject) -> Outcome:
    net = GraphBuilder(3)
    net.add("first", Conv2D(4), net.input)
    net.add("second", Conv2D(4), "first")
    net.add("last", Conv2D(1, 1, activation="linear"), "second")
    case = Case(net.build(), fixed={"last/bias": 4.0})
    optimizer, moments = Adam(factors=(("first/", 0.0), ("second/", 0.1))), _moments(case, 5)
    actual, expected = _train_both(subject, case, [0.01] * 3, optimizer, moments)
    assert actual.optimizer is not None
    frozen = {
        f"The {kind} of {name}, which is frozen,": (ours[name], theirs[name])
        for kind, ours, theirs in (
            ("weight", actual.weights, case.state.weights),
            ("first moment", actual.optimizer.m, moments.m),
            ("second moment", actual.optimizer.v, moments.v),
        )
        for name in ("first/kernel", "first/bias")
    }
    return worst(
        same_movement(case.state, actual, expected, subject.tolerances.update),
        same_moments(actual.optimizer, expected.optimizer, subject.tolerances.gradient),
        compare_bits(frozen),
    )


@ROWS.row(
    "adam/learning-rate-digits",
    "Learning rates from 2 to 1e-9 keep their digits.",
    "rate",
    "training",
)
def _learning_rate_digits(subject: Subject) -> Outcome:
    """Start at zero, so that float32 holds the movement with all its digits."""
    net = GraphBuilder(3)
    net.add("only", Conv2D(1, activation="linear", use_bias=False), net.input)
    net.add("lifted", SubtractMean((-LIFT,)), "only")
    case = Case(net.build(), low=0.5, fixed={"only/kernel": 0.0})
    outcomes = []
    for rate in (2.003, 0.1, 1.0003e-3, 1.23e-5, 1.17e-7, 1.31e-9):
        actual, expected = _train_both(subject, case, [rate], Adam(epsilon=1e-12))
        outcome = same_movement(case.state, actual, expected, subject.tolerances.rate)
        outcomes.append(replace(outcome, reason=f"Learning rate {rate}: {outcome.reason}"))
    return worst(*outcomes)
