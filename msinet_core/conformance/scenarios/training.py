"""Rows about training: the loss, Adam, steps in a row."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from msinet_core.conformance.cases import Case, Float32, narrow_network
from msinet_core.conformance.comparison import (
    Array,
    Outcome,
    compare,
    compare_bits,
    compare_norms,
    worst,
)
from msinet_core.conformance.scenario import ORACLE, Check, Scenario, Subject
from msinet_core.conformance.scenarios.gradients import TRAINS_DILATED
from msinet_core.device import Device
from msinet_core.network.adam import Adam
from msinet_core.network.graph import GraphBuilder
from msinet_core.network.loss import KLDivergence
from msinet_core.network.ops import Conv2D
from msinet_core.network.state import Batch, OptimizerState, State

RATE = 1e-3
"""A hundred times the published learning rate, so that four steps change the loss."""


def _loss(change: Callable[[Float32, Float32], None]) -> Check:
    """Compare the losses of given true and predicted maps; the graph only copies its input.

    Args:
        change: Changes three true and three predicted maps, ``(3, H, W, 1)``, in place.
    """

    def check(subject: Subject) -> Outcome:
        net = GraphBuilder(1)
        net.add("copy", Conv2D(1, 1, activation="linear", use_bias=False), net.input)
        case = Case(net.build(), (3, 7, 10), low=0.0, fixed={"copy/kernel": 1.0})
        batch = Batch(case.images.copy(), case.batch.maps.copy())
        change(batch.maps, batch.images)
        actual, expected = (
            np.asarray(device.compile(case.graph, case.state, loss=KLDivergence()).eval_step(batch))
            for device in (subject.device, subject.oracle)
        )
        return compare(actual, expected, subject.tolerances.loss)

    return check


def _random(true: Float32, predicted: Float32) -> None:
    pass


def _empty_true(true: Float32, predicted: Float32) -> None:
    true[1] = 0


def _empty_predicted(true: Float32, predicted: Float32) -> None:
    predicted[1] = 0


def _constant(true: Float32, predicted: Float32) -> None:
    true[0], predicted[1] = 0.5, 0.25
    true[2], predicted[2] = 1.0, 0.125


def _train(
    device: Device,
    case: Case,
    rates: Sequence[float],
    optimizer: Adam | None = None,
    moments: OptimizerState | None = None,
) -> tuple[Float32, State]:
    """Make steps on the case's batch; return the losses and the final state."""
    state = State(case.state.weights, moments)
    loss, optimizer = KLDivergence(), optimizer or Adam()
    model = device.compile(case.graph, state, loss=loss, optimizer=optimizer)
    losses = [float(model.train_step([case.batch], rate)) for rate in rates]
    return np.array(losses, np.float32), model.state()


def _movement(case: Case, state: State) -> Mapping[str, Array]:
    return {name: state.weights[name] - start for name, start in case.state.weights.items()}


def _same_movement(case: Case, actual: State, expected: State, tolerance: float) -> Outcome:
    """Compare how far the weights moved, relative to the tensor that moved farthest.

    Adam moves a weight whose gradient is only rounding as far as any other, in an arbitrary
    direction; relative to the farthest tensor such a weight does not count.
    """
    moved, right = _movement(case, actual), _movement(case, expected)
    pairs = {f"The movement of {name}": (moved[name], right[name]) for name in right}
    return compare_norms(pairs, tolerance, share=1.0)


def _adam(
    rates: Sequence[float],
    optimizer: Adam | None = None,
    moments: Callable[[Case], OptimizerState] | None = None,
) -> Check:
    """Compare how weights and moments change where no gradient is close to zero."""

    def check(subject: Subject) -> Outcome:
        net = GraphBuilder(3)
        net.add("first", Conv2D(4), net.input)
        net.add("last", Conv2D(1, 1, activation="linear"), "first")
        case = Case(net.build(), fixed={"last/bias": 4.0})
        start = moments(case) if moments else None
        (_, actual), (_, expected) = (
            _train(device, case, rates, optimizer, start)
            for device in (subject.device, subject.oracle)
        )
        moved = _same_movement(case, actual, expected, subject.tolerances.update)
        return worst(moved, _same_moments(subject, actual.optimizer, expected.optimizer))

    return check


def _same_moments(
    subject: Subject, actual: OptimizerState | None, expected: OptimizerState | None
) -> Outcome:
    assert expected is not None
    if actual is None or actual.step != expected.step:
        step = None if actual is None else actual.step
        reason = f"The optimizer's step is {step} afterwards, should be {expected.step}."
        return Outcome(np.inf, subject.tolerances.gradient, reason)
    pairs = {
        f"The {order} moment of {name}": (ours[name], theirs[name])
        for order, ours, theirs in (
            ("first", actual.m, expected.m),
            ("second", actual.v, expected.v),
        )
        for name in theirs
    }
    return compare_norms(pairs, subject.tolerances.gradient)


def _moments_of_five_steps(case: Case) -> OptimizerState:
    random = np.random.default_rng(4)
    weights = case.state.weights
    return OptimizerState(
        step=5,
        m={name: random.normal(0, 0.02, w.shape).astype("f4") for name, w in weights.items()},
        v={name: random.uniform(1e-4, 1e-3, w.shape).astype("f4") for name, w in weights.items()},
    )


@cache
def _four_steps_of_the_oracle() -> tuple[Float32, State]:
    return _train(ORACLE, narrow_network(), [RATE] * 4)


def _four_losses(subject: Subject) -> Outcome:
    actual, _ = _train(subject.device, narrow_network(), [RATE] * 4)
    expected, _ = _four_steps_of_the_oracle()
    return compare(actual, expected, subject.tolerances.steps)


def _four_updates(subject: Subject) -> Outcome:
    case = narrow_network()
    _, actual = _train(subject.device, case, [RATE] * 4)
    _, expected = _four_steps_of_the_oracle()
    return _same_movement(case, actual, expected, subject.tolerances.update)


def _accumulated_loss(subject: Subject) -> Outcome:
    case = narrow_network(count=3)
    images, maps = case.batch
    parts = [Batch(images[:1], maps[:1]), Batch(images[1:], maps[1:])]
    loss, optimizer = KLDivergence(), Adam()
    model = subject.device.compile(case.graph, case.state, loss=loss, optimizer=optimizer)
    oracle = subject.oracle.compile(case.graph, case.state, loss=loss)
    actual = np.array([float(model.train_step(parts, RATE))], np.float32)
    expected = np.asarray(oracle.eval_step(case.batch)).mean(keepdims=True)
    return compare(actual, expected, subject.tolerances.steps)


@cache
def _twenty_losses_of_the_oracle() -> Float32:
    return _train(ORACLE, narrow_network(), [RATE] * 20)[0]


def _twenty_losses(subject: Subject) -> Outcome:
    actual, _ = _train(subject.device, narrow_network(), [RATE] * 20)
    return compare(actual, _twenty_losses_of_the_oracle(), subject.tolerances.curve)


def _same_twice(subject: Subject) -> Outcome:
    first, second = (_train(subject.device, narrow_network(), [RATE] * 3) for _ in range(2))
    pairs: dict[str, tuple[Array, Array]] = {"The losses of the second run": (second[0], first[0])}
    for name, weight in first[1].weights.items():
        pairs[f"Weight {name} of the second run"] = (second[1].weights[name], weight)
    return compare_bits(pairs)


def _resumed(subject: Subject) -> Outcome:
    _, halfway = _train(subject.device, narrow_network(), [RATE] * 2)
    return _continued(subject, halfway)


def _resumed_from_file(subject: Subject) -> Outcome:
    from msinet_core.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

    case = narrow_network()
    _, halfway = _train(subject.device, case, [RATE] * 2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "halfway.msinet.h5"
        save_checkpoint(path, Checkpoint(case.graph, halfway))
        return _continued(subject, load_checkpoint(path).state)


def _continued(subject: Subject, halfway: State) -> Outcome:
    """Make two more steps; compare the whole movement and the step count."""
    case = narrow_network()
    loss, optimizer = KLDivergence(), Adam()
    model = subject.device.compile(case.graph, halfway, loss=loss, optimizer=optimizer)
    for _ in range(2):
        model.train_step([case.batch], RATE)
    _, expected = _four_steps_of_the_oracle()
    state = model.state()
    step = state.optimizer and state.optimizer.step
    if step != 4:
        reason = f"The optimizer's step is {step} after two steps and two more."
        return Outcome(np.inf, subject.tolerances.update, reason)
    return _same_movement(case, state, expected, subject.tolerances.update)


SCENARIOS: tuple[Scenario, ...] = (
    *(
        Scenario(f"loss/{name}", description, _loss(change), "loss", needs=("training",))
        for name, description, change in (
            ("random", "The loss of each image matches the reference.", _random),
            ("empty-true", "The loss of an empty true map is finite.", _empty_true),
            ("empty-predicted", "The loss of an empty predicted map is finite.", _empty_predicted),
            ("constant", "The loss of constant maps matches the reference.", _constant),
        )
    ),
    *(
        Scenario(f"adam/{name}", description, check, "update", needs=("training",))
        for name, description, check in (
            (
                "first-step",
                "The first step changes weights and moments as Adam does.",
                _adam([0.01]),
            ),
            (
                "constants",
                "Betas and epsilon are used, with epsilon outside the bias correction.",
                _adam([0.1] * 3, Adam(beta_1=0.8, beta_2=0.9, epsilon=0.01)),
            ),
            (
                "learning-rate",
                "Each step uses its own learning rate.",
                _adam([0.01, 0.0001, 0.03]),
            ),
            (
                "continued",
                "A step continues from given moments and a given step count.",
                _adam([0.01], moments=_moments_of_five_steps),
            ),
        )
    ),
    Scenario(
        "train/four-losses",
        "The losses of four steps of a narrow MSI-Net match the reference.",
        _four_losses,
        "steps",
        needs=TRAINS_DILATED,
    ),
    Scenario(
        "train/four-updates",
        "Four steps move the weights of a narrow MSI-Net as the reference does.",
        _four_updates,
        "update",
        needs=TRAINS_DILATED,
    ),
    Scenario(
        "train/twenty-losses",
        "The losses of twenty steps of a narrow MSI-Net match the reference.",
        _twenty_losses,
        "curve",
        needs=TRAINS_DILATED,
        longer_than=("train/four-losses", 5.0),
    ),
    Scenario(
        "train/same-twice",
        "Two runs from the same weights on the same images are equal bit for bit.",
        _same_twice,
        "bits",
        needs=(*TRAINS_DILATED, "deterministic"),
    ),
    Scenario(
        "train/accumulated-loss",
        "Two batches of unequal size have the mean loss of all their images.",
        _accumulated_loss,
        "steps",
        needs=(*TRAINS_DILATED, "dynamic_shapes"),
    ),
    Scenario(
        "train/resumed",
        "Two steps, a new model from the state, and two more equal four steps.",
        _resumed,
        "update",
        needs=TRAINS_DILATED,
    ),
    Scenario(
        "train/resumed-from-file",
        "Two steps, a checkpoint file, a new model from it, and two more equal four steps.",
        _resumed_from_file,
        "update",
        needs=TRAINS_DILATED,
    ),
)
