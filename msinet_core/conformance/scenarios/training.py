"""Rows about training: the loss, Adam, steps in a row."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
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
from msinet_core.conformance.scenario import ORACLE, Check, Rows, Subject
from msinet_core.conformance.scenarios.gradients import LIFT, TRAINS_DILATED, split
from msinet_core.device import Device
from msinet_core.network.adam import Adam
from msinet_core.network.graph import GraphBuilder
from msinet_core.network.loss import (
    Correlation,
    KLDivergence,
    Loss,
    ScanpathSaliency,
    Similarity,
    WeightedSum,
)
from msinet_core.network.ops import Conv2D, SubtractMean
from msinet_core.network.state import Batch, OptimizerState, State

RATE = 1e-3
"""A hundred times the published learning rate, so that four steps change the loss."""

ROWS = Rows()


def _loss(
    change: Callable[[Float32, Float32], None],
    shape: tuple[int, int, int] = (3, 7, 10),
    loss: Loss | None = None,
) -> Check:
    """Compare the losses of given true and predicted maps; the graph only copies its input.

    Args:
        change: Changes true and predicted maps, ``(N, H, W, 1)``, in place.
        shape: ``(N, H, W)`` of the maps.
        loss: None for the default.
    """

    def check(subject: Subject) -> Outcome:
        net = GraphBuilder(1)
        net.add("copy", Conv2D(1, 1, activation="linear", use_bias=False), net.input)
        case = Case(net.build(), shape, low=0.0, fixed={"copy/kernel": 1.0})
        batch = Batch(case.images.copy(), case.batch.maps.copy())
        change(batch.maps, batch.images)
        actual, expected = (
            np.asarray(
                device.compile(case.graph, case.state, loss=loss or KLDivergence()).eval_step(batch)
            )
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


def _nearly_constant(true: Float32, predicted: Float32) -> None:
    """Make every addition to a running sum in float32 round in the same direction."""
    predicted[...] = 0.7003 + 1e-4 * predicted
    true[...] = 0.3001 + 1e-4 * true
    true[:, : true.shape[1] // 2] = 0


def _correlated(true: Float32, predicted: Float32) -> None:
    """Keep 1 - CC and NSS away from zero, where rounding decides."""
    true[...] = (true + predicted) / 2


for _name, _description, _check in (
    ("random", "The loss of each image matches the reference.", _loss(_random)),
    ("empty-true", "The loss of an empty true map is finite.", _loss(_empty_true)),
    ("empty-predicted", "The loss of an empty predicted map is finite.", _loss(_empty_predicted)),
    ("constant", "The loss of constant maps matches the reference.", _loss(_constant)),
    ("batch-9", "In a batch of 9, each image has its own loss.", _loss(_random, (9, 6, 10))),
    ("batch-33", "In a batch of 33, each image has its own loss.", _loss(_random, (33, 4, 6))),
    (
        "epsilon",
        "The loss with an epsilon of 0.01 matches the reference.",
        _loss(_random, loss=KLDivergence(epsilon=0.01)),
    ),
    (
        "240x320",
        "The loss of maps of 240x320 pixels matches the reference: sums lose no digits.",
        _loss(_nearly_constant, (2, 240, 320)),
    ),
):
    ROWS.row(f"loss/{_name}", _description, "loss", "training")(_check)


SUM = WeightedSum(((1.0, KLDivergence()), (0.5, Correlation()), (0.25, ScanpathSaliency())))

for _name, _other in (("cc", Correlation()), ("sim", Similarity()), ("nss", ScanpathSaliency())):
    for _change, _shape, _suffix, _of in (
        (_random, (3, 7, 10), "", "each image"),
        (_empty_true, (3, 7, 10), "-empty-true", "a batch with an empty true map"),
        (_constant, (3, 7, 10), "-constant", "constant maps"),
        (_correlated, (2, 240, 320), "-240x320", "maps of 240x320 pixels"),
    ):
        if (_name, _change) == ("nss", _constant):
            continue  # 0 up to rounding; gradient/loss-constant checks that it is finite
        ROWS.row(
            f"loss/{_name}{_suffix}",
            f"The loss {_name} of {_of} matches the reference.",
            "loss",
            "training",
        )(_loss(_change, _shape, replace(_other, epsilon=1e-3) if "const" in _suffix else _other))

ROWS.row("loss/sum", "A weighted sum of losses matches the reference.", "loss", "training")(
    _loss(_random, loss=SUM)
)


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
        (_, actual), (_, expected) = (
            train(device, case, rates, optimizer, moments)
            for device in (subject.device, subject.oracle)
        )
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
    (_, actual), (_, expected) = (
        train(device, case, [0.01] * 3, optimizer, moments)
        for device in (subject.device, subject.oracle)
    )
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
        (_, actual), (_, expected) = (
            train(device, case, [rate], Adam(epsilon=1e-12))
            for device in (subject.device, subject.oracle)
        )
        outcome = same_movement(case.state, actual, expected, subject.tolerances.rate)
        outcomes.append(replace(outcome, reason=f"Learning rate {rate}: {outcome.reason}"))
    return worst(*outcomes)


@cache
def _four_steps_of_the_oracle() -> tuple[Float32, State]:
    return train(ORACLE, narrow_network(), [RATE] * 4)


@ROWS.row(
    "train/four-losses",
    "The losses of four steps of a narrow MSI-Net match the reference.",
    "steps",
    *TRAINS_DILATED,
)
def _four_losses(subject: Subject) -> Outcome:
    actual, _ = train(subject.device, narrow_network(), [RATE] * 4)
    expected, _ = _four_steps_of_the_oracle()
    return compare(actual, expected, subject.tolerances.steps)


@ROWS.row(
    "train/four-updates",
    "Four steps move the weights of a narrow MSI-Net as the reference does.",
    "update",
    *TRAINS_DILATED,
)
def _four_updates(subject: Subject) -> Outcome:
    case = narrow_network()
    _, actual = train(subject.device, case, [RATE] * 4)
    _, expected = _four_steps_of_the_oracle()
    return same_movement(case.state, actual, expected, subject.tolerances.update)


@cache
def _twenty_losses_of_the_oracle() -> Float32:
    return train(ORACLE, narrow_network(), [RATE] * 20)[0]


@ROWS.row(
    "train/twenty-losses",
    "The losses of twenty steps of a narrow MSI-Net match the reference.",
    "curve",
    *TRAINS_DILATED,
    longer_than=("train/four-losses", 5.0),
)
def _twenty_losses(subject: Subject) -> Outcome:
    actual, _ = train(subject.device, narrow_network(), [RATE] * 20)
    return compare(actual, _twenty_losses_of_the_oracle(), subject.tolerances.curve)


@ROWS.row(
    "train/same-twice",
    "Two runs from the same weights on the same images are equal bit for bit.",
    "bits",
    *TRAINS_DILATED,
    "deterministic",
)
def _same_twice(subject: Subject) -> Outcome:
    first, second = (train(subject.device, narrow_network(), [RATE] * 3) for _ in range(2))
    pairs: dict[str, tuple[Array, Array]] = {"The losses of the second run": (second[0], first[0])}
    for name, weight in first[1].weights.items():
        pairs[f"Weight {name} of the second run"] = (second[1].weights[name], weight)
    return compare_bits(pairs)


@ROWS.row(
    "train/accumulated-loss",
    "Two batches of unequal size have the mean loss of all their images.",
    "steps",
    *TRAINS_DILATED,
    "dynamic_shapes",
)
def _accumulated_loss(subject: Subject) -> Outcome:
    case = narrow_network(count=3)
    loss, optimizer = KLDivergence(), Adam()
    model = subject.device.compile(case.graph, case.state, loss=loss, optimizer=optimizer)
    oracle = subject.oracle.compile(case.graph, case.state, loss=loss)
    actual = np.array([float(model.train_step(split(case.batch, 1, 2), RATE))], np.float32)
    expected = np.asarray(oracle.eval_step(case.batch)).mean(keepdims=True)
    return compare(actual, expected, subject.tolerances.steps)


@ROWS.row(
    "train/resumed",
    "Two steps, a new model from the state, and two more equal four steps.",
    "update",
    *TRAINS_DILATED,
)
def _resumed(subject: Subject) -> Outcome:
    _, halfway = train(subject.device, narrow_network(), [RATE] * 2)
    return _continued(subject, halfway)


@ROWS.row(
    "train/resumed-from-file",
    "Two steps, a checkpoint file, a new model from it, and two more equal four steps.",
    "update",
    *TRAINS_DILATED,
)
def _resumed_from_file(subject: Subject) -> Outcome:
    from msinet_core.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

    case = narrow_network()
    _, halfway = train(subject.device, case, [RATE] * 2)
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
    return same_movement(case.state, state, expected, subject.tolerances.update)
