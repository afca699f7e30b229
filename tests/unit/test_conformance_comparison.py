"""How results are compared: what differs, where, and in which order of axes."""

from __future__ import annotations

import numpy as np
import pytest

from msinet_core.conformance.comparison import (
    Outcome,
    compare,
    compare_bits,
    compare_norms,
    worst,
)

EXPECTED = np.ones((2, 3))
GOOD = EXPECTED.astype(np.float32)


@pytest.mark.parametrize(
    ("actual", "reason"),
    [
        (GOOD[:1], "(1, 3), should have (2, 3)"),
        (EXPECTED, "float64"),
        (GOOD * np.nan, "6 values"),
        (GOOD * np.inf, "6 values"),
        (GOOD * np.float32(1.1), "1.1 at (0, 0), should be 1"),
    ],
)
def test_a_wrong_result_fails_with_the_reason(actual, reason):
    outcome = compare(actual, EXPECTED, 1e-6)
    assert not outcome.passed
    assert reason in outcome.reason
    assert compare(GOOD, EXPECTED, 1e-6).passed


def test_shapes_and_positions_name_their_axes():
    expected = np.ones((2, 7, 10, 5))
    good = expected.astype(np.float32)
    transposed = compare(good.transpose(0, 3, 1, 2), expected, 1e-6)
    assert "(2, 7, 10, 5), in the order (N, H, W, C)" in transposed.reason
    good[1, 2, 3, 4] = 3
    assert "(1, 2, 3, 4) of (N, H, W, C)" in compare(good, expected, 1e-6).reason
    assert "(H, W, in, out)" in compare_norms({"kernel": (good[:1], expected)}, 1e-6).reason


def test_norms_are_relative_to_a_share_of_the_largest():
    large, noise = np.ones(100, np.float32), np.full(1, 1e-6, np.float32)
    pairs = {"large": (large, large.astype(float)), "small": (noise, np.zeros(1))}
    assert compare_norms(pairs, 1e-5).passed
    assert not compare_norms(pairs, 1e-7).passed
    assert not compare_norms({**pairs, "other": (large * 2, large.astype(float))}, 0.5).passed


def test_bits_are_compared_beyond_equality():
    zero = np.zeros(3, np.float32)
    assert compare_bits({"zero": (zero, zero)}).passed
    outcome = compare_bits({"zero": (-zero, zero)})
    assert (outcome.difference, outcome.passed) == (3.0, False)
    assert not compare_bits({"zero": (zero.astype(np.float64), zero)}).passed


def test_the_worst_outcome_is_one_that_failed_or_the_closest_to_its_tolerance():
    close, far = Outcome(0.9, 1.0), Outcome(5.0, 10.0)
    assert worst(far, close) is close
    assert worst(close, failed := Outcome(np.nan, 1.0), far) is failed
