"""Bilinear interpolation as a matrix."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msinet_core.errors import GraphError
from msinet_core.network.interpolation import interpolation_matrix


def test_asymmetric_doubling_keeps_every_other_pixel_and_repeats_the_last() -> None:
    doubled = interpolation_matrix(3, 6, "asymmetric") @ [0.0, 2.0, 4.0]
    np.testing.assert_array_equal(doubled, [0, 1, 2, 3, 4, 4])


def test_half_pixel_doubling_keeps_none() -> None:
    doubled = interpolation_matrix(3, 6, "half_pixel") @ [0.0, 2.0, 4.0]
    np.testing.assert_array_equal(doubled, [0, 0.5, 1.5, 2.5, 3.5, 4])


@given(st.integers(1, 12), st.integers(1, 30), st.sampled_from(["asymmetric", "half_pixel"]))
def test_each_row_is_a_mean_of_at_most_two_neighbors(source, target, coordinates) -> None:
    matrix = interpolation_matrix(source, target, coordinates)
    assert matrix.shape == (target, source)
    np.testing.assert_allclose(matrix.sum(axis=1), 1)
    assert (matrix >= 0).all()
    assert ((matrix > 0).sum(axis=1) <= 2).all()


def test_other_coordinates_are_refused() -> None:
    with pytest.raises(GraphError, match=r"'align_corners'.*asymmetric or half_pixel"):
        interpolation_matrix(2, 4, "align_corners")  # type: ignore[arg-type]
