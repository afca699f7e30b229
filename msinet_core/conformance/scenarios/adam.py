"""Rows about Adam: how weights and moments change in a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from msinet_core.conformance.cases import LIFTED, MIX, Case, Float32, chain
from msinet_core.conformance.comparison import (
    Outcome,
    compare_bits,
    worst,
)
from msinet_core.conformance.scenario import Rows, Subject
from msinet_core.conformance.scenarios.gradients import split
from msinet_core.conformance.states import same_moments, same_movement
from msinet_core.device import Device
from msinet_core.network.adam import Adam
from msinet_core.network.loss import KLDivergence
from msinet_core.network.ops import Conv2D, Op
from msinet_core.network.state import Batch, OptimizerState, State

ROWS = Rows()


def train(
    device: Device,
    case: Case,
    rates: Sequence[float],
    optimizer: Adam | None = None,
    moments: OptimizerState | None = None,
    batches: Sequence[Batch] = (),
) -> tuple[Float32, State]:
    """Make steps on a case's batch.

    Args:
        device: The device.
        case: The graph, its weights and the batch.
        rates: The learning rate of each step.
        optimizer: None for the default.
        moments: To continue from; None for zeros.
        batches: The same images in several batches; empty for one.

    Returns:
        The losses and the final state.
    """
    state = State(case.state.weights, moments)
    loss, optimizer = KLDivergence(), optimizer or Adam()
    model = device.compile(case.graph, state, loss=loss, optimizer=optimizer)
    losses = [float(model.train_step(batches or [case.batch], rate)) for rate in rates]
    return np.array(losses, np.float32), model.state()


def _train_both(
    subject: Subject,
    case: Case,
    rates: Sequence[float],
    optimizer: Adam | None = None,
    moments: OptimizerState | None = None,
    batches: Sequence[Batch] = (),
) -> tuple[State, State]:
    """Return the states after training on the device and on the oracle."""
    (_, actual), (_, expected) = (
        train(device, case, rates, optimizer, moments, batches)
        for device in (subject.device, subject.oracle)
    )
    return actual, expected


def _adam(
    subject: Subject,
    rates: Sequence[float],
    optimizer: Adam | None = None,
    step: int | None = None,
) -> Outcome:
    """Compare how weights and moments change where no gradient is close to zero.

    Args:
        subject: The device.
        rates: The learning rate of each step.
        optimizer: None for the default.
        step: The number of steps to continue from; None to begin.
    """
    case = _four_channels()
    moments = None if step is None else moments_of(case, step)
    actual, expected = _train_both(subject, case, rates, optimizer, moments)
    return _same_step(subject, case, actual, expected)


def _four_channels(**between: Op) -> Case:
    graph = chain(first=Conv2D(4), **between, last=Conv2D(1, 1, activation="linear"))
    return Case(graph, fixed={"last/bias": 4.0})


def _same_step(subject: Subject, case: Case, actual: State, expected: State) -> Outcome:
    return worst(
        same_movement(case.state, actual, expected, subject.tolerances.update),
        same_moments(actual.optimizer, expected.optimizer, subject.tolerances.gradient),
    )


def moments_of(case: Case, step: int) -> OptimizerState:
    """Return random moments for a case's weights.

    Args:
        case: The case.
        step: The number of steps that they stand for.
    """
    random = np.random.default_rng(4)
    weights = case.state.weights
    return OptimizerState(
        step=step,
        m={name: random.normal(0, 0.02, w.shape).astype("f4") for name, w in weights.items()},
        v={name: random.uniform(1e-4, 1e-3, w.shape).astype("f4") for name, w in weights.items()},
    )


@ROWS.row("adam/first-step", "update", "training")
def _first_step(subject: Subject) -> Outcome:
    """The first step changes weights and moments as Adam does."""
    return _adam(subject, [0.01])


@ROWS.row("adam/constants", "update", "training")
def _constants(subject: Subject) -> Outcome:
    """Betas and epsilon are used, with epsilon outside the bias correction."""
    return _adam(subject, [0.1] * 3, Adam(beta_1=0.8, beta_2=0.9, epsilon=0.01))


@ROWS.row("adam/learning-rate", "update", "training")
def _learning_rate(subject: Subject) -> Outcome:
    """Each step uses its own learning rate; at zero, only the moments change."""
    return _adam(subject, [0.01, 0.0001, 0.0, 0.03])


@ROWS.row("adam/continued", "update", "training")
def _continued(subject: Subject) -> Outcome:
    """A step continues from given moments and a given step count."""
    return _adam(subject, [0.01], step=5)


@ROWS.row("adam/late-steps", "update", "training")
def _late_steps(subject: Subject) -> Outcome:
    """After 299, 1,000 and 70,000 steps, the bias correction is still right."""
    return worst(*(_adam(subject, [0.01] * 2, step=step) for step in (299, 1_000, 70_000)))


def _two_models(device: Device, case: Case) -> tuple[State, State]:
    """Return the state after a step over two batches, and after one in a model made from it."""
    loss, optimizer = KLDivergence(), Adam()
    model = device.compile(case.graph, case.state, loss=loss, optimizer=optimizer)
    float(model.train_step(split(case.batch, 1, 1), 0.01))
    halfway = model.state()
    model = device.compile(case.graph, halfway, loss=loss, optimizer=optimizer)
    float(model.train_step([case.batch], 0.01))
    return halfway, model.state()


@ROWS.row("adam/many-values", "update", "training", "dynamic_shapes")
def _many_values(subject: Subject) -> Outcome:
    """All 147,456 weights of a kernel move: in a step over two batches, and in one of a new model.

    Most of MSI-Net's kernels have more values than 2**16.
    """
    last = Conv2D(1, 1, activation="linear")
    graph = chain(64, many=Conv2D(256, activation="linear"), last=last)
    case = Case(graph, (2, 5, 6), fixed={"last/bias": 90.0})  # both maps stay above zero
    states = (_two_models(device, case) for device in (subject.device, subject.oracle))
    outcomes = []
    for actual, expected in zip(*states, strict=True):
        outcomes += [
            same_movement(case.state, actual, expected, subject.tolerances.update),
            same_moments(actual.optimizer, expected.optimizer, subject.tolerances.network_gradient),
        ]
    return worst(*outcomes)


@ROWS.row("adam/factors", "update", "training")
def _factors(subject: Subject) -> Outcome:
    """Some weights have a factor on their learning rate; frozen ones keep weights and moments. A
    factor is that of the first entry that a name begins with, and of this model alone.
    """
    names = ("second", "third", "fourth", "fifth", "then/second")
    case = _four_channels(**dict.fromkeys(names, Conv2D(4)))
    factors = (
        *(("first/", 0.1), ("second/", 0.0), ("third/", 0.0)),
        *(("fourth/k", 3.0), ("fourth/", 0.5), ("fifth/", 0.25)),
    )
    moments = moments_of(case, 5)
    rates = [0.01, 0.003, 0.002]
    actual, expected = _train_both(subject, case, rates, Adam(factors=factors), moments)
    without = _train_both(subject, case, rates, Adam(), moments)
    halves = _train_both(
        subject, case, rates, Adam(factors=factors), moments, split(case.batch, 1, 1)
    )
    assert actual.optimizer is not None
    frozen = {
        f"The {kind} of {name}, which is frozen,": (ours[name], theirs[name])
        for kind, ours, theirs in (
            ("weight", actual.weights, case.state.weights),
            ("first moment", actual.optimizer.m, moments.m),
            ("second moment", actual.optimizer.v, moments.v),
        )
        for name in ("second/kernel", "second/bias", "third/kernel", "third/bias")
    }
    return worst(
        _same_step(subject, case, actual, expected),
        compare_bits(frozen),
        _same_step(subject, case, *without),
        _same_step(subject, case, *halves),
    )


@ROWS.row("adam/zero-gradients", "update", "training")
def _zero_gradients(subject: Subject) -> Outcome:
    """A step moves on with its momentum if all gradients are zero, or those of a kernel."""
    graph = chain(first=Conv2D(2, activation="linear"), last=MIX, lifted=LIFTED)
    case = Case(graph, (2, 6, 8))
    models = subject.compile(graph, case.state, KLDivergence(), Adam())
    empty, black = Batch(case.images, 0 * case.batch.maps), Batch(0 * case.images, case.batch.maps)
    for batch in (case.batch, empty, black, case.batch):
        for model in models:
            float(model.train_step([batch], 0.01))
    actual, expected = (model.state() for model in models)
    return worst(
        same_movement(case.state, actual, expected, subject.tolerances.update),
        same_moments(actual.optimizer, expected.optimizer, subject.tolerances.network_gradient),
    )


@ROWS.row("adam/learning-rate-digits", "rate", "training")
def _learning_rate_digits(subject: Subject) -> Outcome:
    """Learning rates from 2 to 1e-9 keep their digits.

    Start at zero, so that float32 holds the movement with all its digits.
    """
    graph = chain(only=Conv2D(1, activation="linear", use_bias=False), lifted=LIFTED)
    case = Case(graph, low=0.5, fixed={"only/kernel": 0.0})
    outcomes = []
    for rates in ([2.003], [0.1], [1.0003e-3], [1.23e-5], [1.17e-7], [1.31e-9], [7e-9, 1e-9]):
        actual, expected = _train_both(subject, case, rates, Adam(epsilon=1e-12))
        outcome = same_movement(case.state, actual, expected, subject.tolerances.rate)
        outcomes.append(replace(outcome, reason=f"Learning rate {rates[-1]}: {outcome.reason}"))
    return worst(*outcomes)
