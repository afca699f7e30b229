"""The reference's forward passes against values worked out by hand or by plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msinet_core.network import ops
from msinet_core.network.graph import GraphBuilder
from msinet_core.network.interpolation import interpolation_matrix
from msinet_core.network.loss import KLDivergence
from msinet_core.reference.layers import LAYER_BUILDERS
from msinet_core.reference.tape import Variable, exact_sum, record


def compute(op, *images, **parameters):
    variables = {role: Variable(np.asarray(value, float)) for role, value in parameters.items()}
    inputs = [Variable(np.asarray(value, float)) for value in images]
    return LAYER_BUILDERS[type(op)](op, inputs, variables).value


def row(*values):
    return np.array(values, float).reshape(1, 1, -1, 1)


@settings(deadline=None, max_examples=40)
@given(
    size=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    kernel_size=st.sampled_from([1, 2, 3]),
    spacing=st.sampled_from([(1, 1), (2, 1), (3, 1), (1, 2), (1, 4), (1, 8), (1, 12)]),
    padding=st.sampled_from(["SAME", "VALID"]),
)
def test_convolution_is_the_sum_that_defines_it(size, kernel_size, spacing, padding):
    strides, dilation = spacing
    op = ops.Conv2D(2, kernel_size, strides, dilation, padding, "linear", use_bias=False)
    if padding == "VALID":
        size = (size[0] + op.extent - 1, size[1] + op.extent - 1)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((2, *size, 3))
    kernel = rng.standard_normal((kernel_size, kernel_size, 3, 2))
    height, width = op.output_size([size])
    top, left = (
        ops.same_padding(axis, op.extent, strides)[0] if padding == "SAME" else 0 for axis in size
    )
    expected = np.zeros((2, height, width, 2))
    for y, x, i, j in np.ndindex(height, width, kernel_size, kernel_size):
        source = y * strides + i * dilation - top, x * strides + j * dilation - left
        if 0 <= source[0] < size[0] and 0 <= source[1] < size[1]:
            expected[:, y, x] += images[:, source[0], source[1]] @ kernel[i, j]
    np.testing.assert_allclose(compute(op, images, kernel=kernel), expected, atol=1e-12)


def test_bias_comes_before_relu():
    op = ops.Conv2D(2, 1)
    kernel = np.ones((1, 1, 1, 2))
    result = compute(op, row(1.0, -1.0), kernel=kernel, bias=[0.5, -2.0])
    np.testing.assert_array_equal(result, [[[[1.5, 0.0], [0.0, 0.0]]]])


def test_same_padding_puts_the_odd_pixel_at_the_bottom_and_right():
    op = ops.Conv2D(1, 2, activation="linear", use_bias=False)
    kernel = np.array([1.0, 10.0, 100.0, 1000.0]).reshape(2, 2, 1, 1)
    images = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1)
    expected = [[4321.0, 402.0], [43.0, 4.0]]
    np.testing.assert_array_equal(compute(op, images, kernel=kernel)[0, :, :, 0], expected)


def test_pool_with_stride_1_pads_bottom_and_right_with_less_than_any_value():
    images = -np.array([[9.0, 8.0, 7.0], [6.0, 5.0, 4.0]]).reshape(1, 2, 3, 1)
    result = compute(ops.MaxPool2D(strides=1, padding="SAME"), images)
    np.testing.assert_array_equal(result[0, :, :, 0], [[-5, -4, -4], [-5, -4, -4]])


def test_pool_with_stride_2_drops_an_odd_last_row():
    images = np.arange(15.0).reshape(1, 3, 5, 1)
    np.testing.assert_array_equal(compute(ops.MaxPool2D(), images)[0, :, :, 0], [[6, 8]])


@pytest.mark.parametrize(
    ("coordinates", "expected"),
    [
        ("asymmetric", [0, 2, 4, 6, 8, 8]),  # source 0, .5, 1, 1.5, 2, 2.5: the last is clamped
        ("half_pixel", [0, 1, 3, 5, 7, 8]),  # source -.25, .25, .75, 1.25, 1.75, 2.25
    ],
)
def test_resize_on_both_axes(coordinates, expected):
    columns = compute(ops.Resize(2, coordinates), row(0.0, 4.0, 8.0))
    np.testing.assert_allclose(columns[0, :, :, 0], [expected, expected])
    rows = compute(ops.Resize(2, coordinates), row(0.0, 4.0, 8.0).transpose(0, 2, 1, 3))
    np.testing.assert_allclose(rows[0, :, :, 0].T, [expected, expected])


@pytest.mark.parametrize(
    ("coordinates", "expected"),
    [("asymmetric", [0, 1, 2, 2]), ("half_pixel", [0, 0.625, 1.375, 2])],
)
def test_resize_like_takes_a_size_that_is_no_multiple(coordinates, expected):
    expected = np.interp(
        np.arange(4) * 0.75 if coordinates == "asymmetric" else (np.arange(4) + 0.5) * 0.75 - 0.5,
        [0, 1, 2],
        [0, 10, 20],
    )
    result = compute(ops.ResizeLike(coordinates), row(0.0, 10.0, 20.0), np.zeros((1, 1, 4, 7)))
    np.testing.assert_allclose(result[0, 0, :, 0], expected)


@given(
    source=st.integers(1, 20),
    target=st.integers(1, 40),
    coordinates=st.sampled_from(["asymmetric", "half_pixel"]),
)
def test_interpolation_keeps_a_constant(source, target, coordinates):
    matrix = interpolation_matrix(source, target, coordinates)
    assert matrix.shape == (target, source)
    assert (matrix >= 0).all()
    np.testing.assert_allclose(matrix.sum(1), 1)


def test_global_mean_and_concat_and_subtract_mean():
    images = np.arange(12.0).reshape(1, 2, 3, 2)
    np.testing.assert_array_equal(compute(ops.GlobalMean(), images), [[[[5, 6]]]])
    joined = compute(ops.Concat(), row(1, 2), row(3, 4), row(5, 6))
    np.testing.assert_array_equal(joined, [[[[1, 3, 5], [2, 4, 6]]]])
    shifted = compute(ops.SubtractMean((1.0, 2.0)), np.full((1, 1, 1, 2), 5.0))
    np.testing.assert_array_equal(shifted, [[[[4, 3]]]])


def test_normalization_of_each_image_on_its_own():
    images = np.concatenate([row(-2, 0, 2), row(7, 7, 7)])
    result = compute(ops.MinMaxNormalize(epsilon=1.0), images)
    np.testing.assert_allclose(result[:, 0, :, 0], [[0, 2 / 5, 4 / 5], [0, 0, 0]])


def test_loss_is_the_divergence_of_the_maps_as_distributions():
    true, predicted = np.array([1.0, 3.0]), np.array([2.0, 2.0])
    result = compute(KLDivergence(), row(*true), row(*predicted))
    expected = 0.25 * np.log(0.25 / 0.5) + 0.75 * np.log(0.75 / 0.5)
    np.testing.assert_allclose(result, [expected], atol=1e-6)


def test_loss_is_finite_for_empty_maps():
    zero, some = np.zeros((1, 1, 2, 1)), row(1, 2)
    assert compute(KLDivergence(), zero, some).item() == pytest.approx(0)
    # log((1/3) / epsilon) and log((2/3) / epsilon), weighted with 1/3 and 2/3
    expected = np.log(1e7) + np.log(1 / 3) / 3 + np.log(2 / 3) * 2 / 3
    assert compute(KLDivergence(), some, zero).item() == pytest.approx(expected, abs=1e-5)


def test_forward_computes_in_the_dtype_of_its_inputs():
    net = GraphBuilder(channels=2)
    net.add("conv", ops.Conv2D(3), net.input)
    net.add("pool", ops.MaxPool2D(), "conv")
    net.add("up", ops.Resize(), "pool")
    net.add("mean", ops.GlobalMean(), "up")
    net.add("like", ops.ResizeLike(), "mean", "up")
    net.add("output", ops.MinMaxNormalize(), "like")
    graph = net.build()
    for dtype in (np.float32, np.float64):
        weights = {p.name: np.ones(p.shape, dtype) for p in graph.parameters}
        variables = {name: Variable(value) for name, value in weights.items()}
        images = Variable(np.ones((2, 4, 6, 2), dtype))
        result = graph.apply(LAYER_BUILDERS, images, variables).value
        assert result.dtype == dtype
        assert result.shape == (2, 4, 6, 3)


def test_nothing_is_recorded_without_a_tape():
    result = record(np.zeros(1), [Variable(np.zeros(1))], lambda gradient: [gradient])
    assert result.tape is None


def test_exact_sum_does_not_lose_small_values():
    values = np.full((100_000, 2), 0.1, np.float32)  # added one by one: off by more than 1e-4
    total = exact_sum(values, axis=0)
    assert total.dtype == np.float32
    np.testing.assert_allclose(total, np.float64(np.float32(0.1)) * 100_000, rtol=1e-7)
