"""Compare the states of two models: weights, moments and steps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from msinet_core.conformance.comparison import Array, Outcome, compare_bits, compare_norms
from msinet_core.network.adam import Adam
from msinet_core.network.state import OptimizerState, State, state_arrays


def first_gradients(state: State) -> Mapping[str, Array]:
    """Return the gradient of each parameter in the first step of `Adam`.

    After it, Adam's first moment is ``(1 - beta_1)`` times the gradient.

    Args:
        state: After the step.
    """
    if state.optimizer is None:
        raise ValueError("Model.state() has no optimizer state after a training step.")
    scale = np.float32(1 - Adam().beta_1)
    return {name: np.asarray(moment) / scale for name, moment in state.optimizer.m.items()}


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


def same_state(actual: State, expected: State) -> Outcome:
    """Compare two states bit for bit, with the step; moments only if they are expected.

    Args:
        actual: The device's.
        expected: The right one.
    """
    if expected.optimizer is not None and actual.optimizer is None:
        raise ValueError("Model.state() has no optimizer state.")
    arrays = state_arrays(actual)
    pairs: dict[str, tuple[ArrayLike, Array]] = {
        name: (arrays[name], right) for name, right in state_arrays(expected).items()
    }
    outcome = compare_bits(pairs)
    steps = [one.optimizer and one.optimizer.step for one in (actual, expected)]
    if outcome.passed and expected.optimizer is not None and steps[0] != steps[1]:
        return Outcome(1.0, 0.0, f"The optimizer's step is {steps[0]}, should be {steps[1]}.")
    return outcome
