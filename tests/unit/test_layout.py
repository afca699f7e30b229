"""Axis orders and the one way between them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msinet_core.network.layout import is_axis_order, permutation, transpose

kernel_orders = st.permutations("HWIO").map("".join)
image_orders = st.permutations("NHWC").map("".join)


@given(source=kernel_orders, target=kernel_orders, shape=st.tuples(*[st.integers(1, 4)] * 4))
def test_there_and_back_is_bit_exact(source, target, shape):
    array = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    there = transpose(array, source, target)
    assert there.flags.c_contiguous
    back = transpose(there, target, source)
    assert back.tobytes() == array.tobytes()
    assert back.shape == array.shape


@given(first=kernel_orders, second=kernel_orders, third=kernel_orders)
def test_two_steps_equal_one(first, second, third):
    array = np.arange(24).reshape(1, 2, 3, 4)
    two = transpose(transpose(array, first, second), second, third)
    np.testing.assert_array_equal(two, transpose(array, first, third))


@given(source=image_orders, target=image_orders)
def test_each_axis_goes_where_its_letter_is(source, target):
    sizes = {"N": 2, "H": 3, "W": 4, "C": 5}
    array = np.zeros([sizes[axis] for axis in source])
    assert transpose(array, source, target).shape == tuple(sizes[axis] for axis in target)


def test_known_orders():
    assert permutation("HWIO", "OIHW") == (3, 2, 0, 1)
    assert permutation("NHWC", "NCHW") == (0, 3, 1, 2)
    assert permutation("HWIO", "HWIO") == (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("source", "target"), [("HWIO", "HWI"), ("HWIO", "HWIC"), ("HHIO", "HHIO"), ("HWIO", "")]
)
def test_orders_of_other_axes_are_refused(source, target):
    with pytest.raises(ValueError, match=f"'{source}' and '{target}'"):
        permutation(source, target)


def test_an_array_without_those_axes_is_refused():
    with pytest.raises(ValueError, match="axes"):
        transpose(np.zeros(3), "HWIO", "OIHW")


def test_axis_orders_are_recognized():
    assert is_axis_order("OIHW", "HWIO")
    assert not is_axis_order("OIHH", "HWIO")
    assert not is_axis_order("OIH", "HWIO")
