"""The loss scale's rule, in NumPy; tests/devices proves that each device obeys it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msinet_core.network.adam import Adam
from msinet_core.network.loss_scale import (
    GROWTH_INTERVAL,
    INITIAL,
    LARGEST,
    SMALLEST,
    LossScale,
)


def step(scale: LossScale, finite: bool) -> tuple[LossScale, bool]:
    after, counts = scale.next(np.where, Adam(), np.bool_(finite))
    return LossScale(*map(np.float32, after)), bool(counts)


def in_float32(scale: LossScale) -> LossScale:
    return LossScale(*map(np.float32, scale))


def test_a_new_scale_knows_the_steps_made_before() -> None:
    assert LossScale.new(Adam(), 0) == (INITIAL, 0, 0, 0, 0)
    assert LossScale.new(Adam(), 2).missing_1 == pytest.approx(1 - 0.9**2)


def test_a_step_that_overflows_does_not_count_and_halves_the_scale() -> None:
    before = in_float32(LossScale.new(Adam(), 3))
    after, counts = step(before, finite=False)
    assert not counts
    assert after.value == INITIAL / 2
    assert after.skipped == 1
    assert after[3:] == before[3:]


def test_the_scale_doubles_after_good_steps_in_a_row_and_begins_to_count_anew() -> None:
    scale = in_float32(LossScale.new(Adam(), 0))._replace(good=np.float32(GROWTH_INTERVAL - 1))
    scale, counts = step(scale, finite=True)
    assert counts
    assert (scale.value, scale.good, scale.skipped) == (2 * INITIAL, 0, 0)
    scale, _ = step(scale, finite=True)
    assert (scale.value, scale.good) == (2 * INITIAL, 1)


def test_at_scale_one_every_step_counts_so_that_divergence_shows() -> None:
    scale = in_float32(LossScale.new(Adam(), 0))._replace(value=np.float32(SMALLEST))
    after, counts = step(scale, finite=False)
    assert counts
    assert after.value == SMALLEST


def test_a_skipped_step_leaves_adams_variables_as_they_are() -> None:
    scale, gradients = in_float32(LossScale.new(Adam(), 3)), {"kernel": np.float32([1, np.inf])}
    _, rate, decays, unscaled = scale.step(np.where, Adam(), np.bool_(False), gradients, 1e-3)
    assert (float(rate), *map(float, decays)) == (0, 1, 1)
    np.testing.assert_array_equal(unscaled["kernel"], [0, 0])


def test_a_step_that_counts_has_the_losss_own_gradients() -> None:
    scale, gradients = in_float32(LossScale.new(Adam(), 3)), {"kernel": np.float32([INITIAL, 0])}
    after, rate, decays, unscaled = scale.step(np.where, Adam(), np.bool_(True), gradients, 1e-3)
    assert after.value == INITIAL
    assert float(rate) == pytest.approx(Adam().rate(1e-3, 4), rel=2e-5)
    assert tuple(map(float, decays)) == (Adam().beta_1, Adam().beta_2)
    np.testing.assert_array_equal(unscaled["kernel"], [1, 0])


@given(st.lists(st.booleans(), max_size=60), st.integers(0, 30))
def test_the_scale_is_a_power_of_two_within_its_bounds(finite: list[bool], exponent: int) -> None:
    scale = in_float32(LossScale.new(Adam(), 0))._replace(value=np.float32(2.0**exponent))
    for one in finite:
        scale = scale._replace(good=np.float32(GROWTH_INTERVAL - 1))
        scale, _ = step(scale, one)
        assert SMALLEST <= scale.value <= LARGEST
        assert float(np.log2(scale.value)).is_integer()


@pytest.mark.parametrize("begun", [0, 1, 5_000])
def test_what_is_missing_from_one_is_carried_on_exactly(begun: int) -> None:
    adam, scale = Adam(), in_float32(LossScale.new(Adam(), begun))
    for number in range(begun + 1, begun + 200):
        scale, _ = step(scale, finite=True)
        rate = float(np.sqrt(scale.missing_2) / scale.missing_1)
        assert rate == pytest.approx(adam.rate(1.0, number), rel=2e-5)
