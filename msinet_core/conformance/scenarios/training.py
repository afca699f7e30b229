"""Rows about training: steps in a row, and runs that continue."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from msinet_core.conformance.cases import MIX, Case, Float32, chain, narrow_network
from msinet_core.conformance.comparison import (
    Array,
    Outcome,
    compare,
    compare_all,
    compare_bits,
)
from msinet_core.conformance.scenario import ORACLE, NotApplicable, Rows, Subject
from msinet_core.conformance.scenarios.adam import moments_of, train
from msinet_core.conformance.scenarios.gradients import TRAINS_DILATED, split
from msinet_core.conformance.scenarios.inputs import linear_network
from msinet_core.conformance.scenarios.losses import SUM
from msinet_core.conformance.states import same_moments, same_movement, same_state
from msinet_core.network.adam import Adam
from msinet_core.network.loss import (
    Correlation,
    KLDivergence,
    Loss,
    ScanpathSaliency,
    Similarity,
)
from msinet_core.network.ops import Conv2D
from msinet_core.network.state import Batch, State

RATE = 1e-3
"""A hundred times the published learning rate, so that four steps change the loss."""

OVERFLOWING, COUNTED = 24, 3
"""Steps in which the scale of the loss has to fall far enough that so many of them count."""

ROWS = Rows()


@cache
def _four_steps_of_the_oracle() -> tuple[Float32, State]:
    return train(ORACLE, narrow_network(), [RATE] * 4)


@ROWS.row("train/four-losses", "steps", *TRAINS_DILATED)
def _four_losses(subject: Subject) -> Outcome:
    """The losses of four steps of a narrow MSI-Net match the reference."""
    actual, _ = train(subject.device, narrow_network(), [RATE] * 4)
    expected, _ = _four_steps_of_the_oracle()
    return compare(actual, expected, subject.tolerances.steps)


@ROWS.row("train/loss-digits", "loss", "training")
def _loss_digits(subject: Subject) -> Outcome:
    """The loss of a step, of one batch and of two, has as many digits as evaluation's."""
    case = Case(linear_network(), (5, 6, 10))
    pairs = {}
    for counts in ((5,), (3, 2)):
        batches = split(case.batch, *counts)
        pairs[f"The loss of {len(counts)} batches"] = _losses(
            subject, case, KLDivergence(), batches
        )
    return compare_all(pairs, subject.tolerances.loss)


@ROWS.row("train/other-losses", "loss", "training")
def _other_losses(subject: Subject) -> Outcome:
    """The loss of a step is that of its loss function, also in a batch of three."""
    case = Case(linear_network(), (3, 6, 10))
    predicted = np.asarray(ORACLE.compile(case.graph, case.state).predict(case.images))
    # Correlated with the prediction: NSS of unrelated maps is zero up to rounding.
    maps = case.batch.maps + (predicted - predicted.min()) / np.ptp(predicted)
    batch = Batch(case.images, (maps / 2).astype(np.float32))
    pairs = {}
    for loss in (Correlation(), Similarity(), ScanpathSaliency(), SUM):
        name = f"The loss {type(loss).__name__} of a step"
        pairs[name] = _losses(subject, case, loss, [batch])
    return compare_all(pairs, subject.tolerances.loss)


def _losses(
    subject: Subject, case: Case, loss: Loss, batches: Sequence[Batch]
) -> tuple[Float32, Float32]:
    """Return the loss of a step on the device and on the reference."""
    models = subject.compile(case.graph, case.state, loss, Adam())
    actual, expected = (
        np.array([float(model.train_step(batches, RATE))], np.float32) for model in models
    )
    return actual, expected


@ROWS.row("train/four-updates", "update", *TRAINS_DILATED)
def _four_updates(subject: Subject) -> Outcome:
    """Four steps move the weights of a narrow MSI-Net as the reference does."""
    case = narrow_network()
    _, actual = train(subject.device, case, [RATE] * 4)
    _, expected = _four_steps_of_the_oracle()
    return same_movement(case.state, actual, expected, subject.tolerances.update)


@cache
def _twenty_losses_of_the_oracle() -> Float32:
    return train(ORACLE, narrow_network(), [RATE] * 20)[0]


@ROWS.row("train/twenty-losses", "curve", *TRAINS_DILATED, slow=True)
def _twenty_losses(subject: Subject) -> Outcome:
    """The losses of twenty steps of a narrow MSI-Net match the reference."""
    actual, _ = train(subject.device, narrow_network(), [RATE] * 20)
    return compare(actual, _twenty_losses_of_the_oracle(), subject.tolerances.curve)


@ROWS.row("train/same-twice", "bits", *TRAINS_DILATED, "deterministic")
def _same_twice(subject: Subject) -> Outcome:
    """Two runs from the same weights on the same images are equal bit for bit."""
    first, second = (train(subject.device, narrow_network(), [RATE] * 3) for _ in range(2))
    pairs: dict[str, tuple[Array, Array]] = {"The losses of the second run": (second[0], first[0])}
    for name, weight in first[1].weights.items():
        pairs[f"Weight {name} of the second run"] = (second[1].weights[name], weight)
    return compare_bits(pairs)


@ROWS.row("train/accumulated-loss", "steps", *TRAINS_DILATED, "dynamic_shapes")
def _accumulated_loss(subject: Subject) -> Outcome:
    """Two batches of unequal size have the mean loss of all their images."""
    case = narrow_network(count=3)
    model = subject.trained(case)
    oracle = subject.oracle.compile(case.graph, case.state, loss=KLDivergence())
    actual = np.array([float(model.train_step(split(case.batch, 1, 2), RATE))], np.float32)
    expected = np.asarray(oracle.eval_step(case.batch)).mean(keepdims=True)
    return compare(actual, expected, subject.tolerances.steps)


@ROWS.row("train/resumed", "update", *TRAINS_DILATED)
def _resumed(subject: Subject) -> Outcome:
    """Two steps, a new model from the state, and two more equal four steps."""
    _, halfway = train(subject.device, narrow_network(), [RATE] * 2)
    return _continued(subject, halfway)


@ROWS.row("train/resumed-from-file", "update", *TRAINS_DILATED)
def _resumed_from_file(subject: Subject) -> Outcome:
    """Two steps, a checkpoint file, a new model from it, and two more equal four steps."""
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
    model = subject.trained(case, halfway)
    for _ in range(2):
        model.train_step([case.batch], RATE)
    _, expected = _four_steps_of_the_oracle()
    state = model.state()
    step = state.optimizer and state.optimizer.step
    if step != 4:
        reason = f"The optimizer's step is {step} after two steps and two more."
        return Outcome(np.inf, subject.tolerances.update, reason)
    return same_movement(case.state, state, expected, subject.tolerances.update)


@ROWS.row("train/overflow", "gradient", "training", "float16")
def _overflow(subject: Subject) -> Outcome:
    """In float16, steps whose gradients overflow change nothing and do not count, and steps that
    count follow: their moments match the reference.
    """
    if subject.device.precision != "float16":
        raise NotApplicable("the device is open in another precision")
    graph = chain(first=Conv2D(4), second=Conv2D(4, use_bias=False), last=MIX)
    small = {"first/kernel": 1e-3, "first/bias": 1e-3, "second/kernel": 2e-3, "last/kernel": 1.0}
    case = Case(graph, (2, 6, 8), low=0.1, fixed=small)
    case.batch.maps[...] **= 8  # steep, so that the gradient of the small predictions overflows
    given = State(case.state.weights, moments_of(case, 5))
    device, oracle = subject.compile(graph, given, KLDivergence(), Adam())
    before, made = device.state(), 0
    for _ in range(OVERFLOWING):
        float(device.train_step([case.batch], 1e-4))
        after = device.state()
        assert before.optimizer is not None and after.optimizer is not None
        counted = after.optimizer.step - before.optimizer.step
        if not counted:
            unchanged = same_state(after, before)
            if not unchanged.passed:
                return replace(unchanged, reason=f"A step that does not count: {unchanged.reason}")
        made += counted
        before = after
        if made >= COUNTED:
            break
    else:
        return Outcome(np.inf, 0.0, f"Of {OVERFLOWING} steps {made} count; {COUNTED} should.")
    for _ in range(made):
        oracle.train_step([case.batch], 1e-4)
    expected = oracle.state().optimizer
    return same_moments(after.optimizer, expected, subject.tolerances.gradient)
