"""Every backward pass of the reference against central differences in float64."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msinet_core.network import ops
from msinet_core.network.adam import Adam
from msinet_core.network.graph import GraphBuilder
from msinet_core.network.loss import Correlation, KLDivergence, ScanpathSaliency, Similarity
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.state import Batch, State
from msinet_core.reference import SPEC
from msinet_core.reference.device import ReferenceDevice
from msinet_core.reference.layers import LAYER_BUILDERS
from msinet_core.reference.tape import Tape, Variable

STEP = 1e-6
quick = settings(deadline=None, max_examples=25)
sizes = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(1, 4))
seeds = st.integers(0, 2**32 - 1)


def gradient_error(op, inputs, parameters=None, constant=()):
    """Compare backward with finite differences along random directions, for each argument.

    Returns the largest error relative to the size of the derivative (at least 1).
    """
    rng = np.random.default_rng(0)
    arguments = {**dict(enumerate(inputs)), **(parameters or {})}

    def compute(values, tape=None):
        variables = {name: Variable(value, tape) for name, value in values.items()}
        images = [variables[index] for index in range(len(inputs))]
        roles = {name: variables[name] for name in parameters or {}}
        return LAYER_BUILDERS[type(op)](op, images, roles), variables

    tape = Tape()
    output, variables = compute(arguments, tape)
    weighting = rng.standard_normal(output.value.shape)
    tape.backward(output, weighting)
    worst = 0.0
    for name, value in arguments.items():
        gradient = variables[name].gradient
        if name in constant:
            assert gradient is None
            continue
        assert gradient.shape == value.shape
        assert gradient.dtype == np.float64
        for _ in range(3):
            direction = rng.standard_normal(value.shape)
            ends = [
                np.sum(weighting * compute({**arguments, name: moved})[0].value)
                for moved in (value + STEP * direction, value - STEP * direction)
            ]
            numeric = (ends[0] - ends[1]) / (2 * STEP)
            exact = np.sum(gradient * direction)
            worst = max(worst, abs(numeric - exact) / max(1.0, abs(exact)))
    return worst


def distinct(shape, seed):
    """Values no two of which are closer than the step of the differences, some negative."""
    count = int(np.prod(shape))
    values = np.random.default_rng(seed).permutation(count) - count / 2
    return 0.01 * values.reshape(shape)


def normal(shape, seed):
    return np.random.default_rng(seed).standard_normal(shape)


@quick
@given(
    shape=sizes,
    seed=seeds,
    kernel_size=st.sampled_from([1, 2, 3]),
    spacing=st.one_of(
        st.tuples(st.just(1), st.sampled_from([1, 2, 4, 8, 12])),
        st.tuples(st.sampled_from([1, 2, 3]), st.just(1)),
    ),
    padding=st.sampled_from(["SAME", "VALID"]),
    activation=st.sampled_from(["relu", "linear"]),
    use_bias=st.booleans(),
)
def test_conv2d(shape, seed, kernel_size, spacing, padding, activation, use_bias):
    strides, dilation = spacing
    op = ops.Conv2D(3, kernel_size, strides, dilation, padding, activation, use_bias)
    if padding == "VALID":  # the window must fit
        shape = (shape[0], shape[1] + op.extent - 1, shape[2] + op.extent - 1, shape[3])
    parameters = {
        role: normal(role_shape, seed + 1)
        for role, role_shape in op.parameter_shapes([shape[-1]]).items()
    }
    assert gradient_error(op, [normal(shape, seed)], parameters) < 1e-6


@quick
@given(
    shape=sizes,
    seed=seeds,
    pool_size=st.sampled_from([1, 2, 3]),
    strides=st.sampled_from([1, 2, 3]),
    padding=st.sampled_from(["SAME", "VALID"]),
)
def test_max_pool2d(shape, seed, pool_size, strides, padding):
    if padding == "VALID":
        shape = (shape[0], shape[1] + pool_size - 1, shape[2] + pool_size - 1, shape[3])
    op = ops.MaxPool2D(pool_size, strides, padding)
    assert gradient_error(op, [distinct(shape, seed)]) < 1e-6


@quick
@given(
    shape=sizes,
    seed=seeds,
    scale=st.sampled_from([1, 2, 3]),
    coordinates=st.sampled_from(["asymmetric", "half_pixel"]),
)
def test_resize(shape, seed, scale, coordinates):
    assert gradient_error(ops.Resize(scale, coordinates), [normal(shape, seed)]) < 1e-6


@quick
@given(
    shape=sizes,
    like=sizes,
    seed=seeds,
    coordinates=st.sampled_from(["asymmetric", "half_pixel"]),
)
def test_resize_like_gives_the_size_no_gradient(shape, like, seed, coordinates):
    inputs = [normal(shape, seed), np.zeros((shape[0], *like[1:]))]
    assert gradient_error(ops.ResizeLike(coordinates), inputs, constant={1}) < 1e-6


@quick
@given(shape=sizes, channels=st.lists(st.integers(1, 4), min_size=2, max_size=5), seed=seeds)
def test_concat(shape, channels, seed):
    inputs = [normal((*shape[:3], count), seed + count) for count in channels]
    assert gradient_error(ops.Concat(), inputs) < 1e-6


@quick
@given(shape=sizes, seed=seeds)
def test_global_mean(shape, seed):
    assert gradient_error(ops.GlobalMean(), [normal(shape, seed)]) < 1e-6


@quick
@given(shape=sizes, seed=seeds)
def test_subtract_mean(shape, seed):
    op = ops.SubtractMean(tuple(range(shape[-1])))
    assert gradient_error(op, [normal(shape, seed)]) < 1e-6


@quick
@given(shape=sizes.filter(lambda shape: np.prod(shape[1:]) > 1), seed=seeds)
def test_min_max_normalize(shape, seed):
    assert gradient_error(ops.MinMaxNormalize(), [distinct(shape, seed)]) < 1e-5


@pytest.mark.parametrize(
    "loss", [KLDivergence(), Correlation(1e-3), Similarity(), ScanpathSaliency(1e-3)]
)
@quick
@given(shape=sizes, seed=seeds)
def test_losses_give_the_true_maps_no_gradient(loss, shape, seed):
    rng = np.random.default_rng(seed)
    maps = rng.uniform(0.1, 1, (*shape[:3], 1)), rng.uniform(0.1, 1, (*shape[:3], 1))
    assert gradient_error(loss, maps, constant={0}) < 1e-5


@pytest.mark.parametrize("coordinates", ["asymmetric", "half_pixel"])
def test_every_parameter_of_a_narrow_network(coordinates):
    graph = msinet_graph(width=1 / 32, resize=coordinates)
    rng = np.random.default_rng(2)
    weights = {
        parameter.name: rng.standard_normal(parameter.shape)
        * (1.5 / np.sqrt(parameter.size / parameter.shape[-1]))
        for parameter in graph.parameters
    }
    batch = Batch(rng.uniform(0, 255, (2, 24, 40, 3)), rng.uniform(0, 1, (2, 24, 40, 1)))
    device = ReferenceDevice(SPEC, dtype=np.float64)

    def loss(moved):
        model = device.compile(graph, State(moved), loss=KLDivergence())
        return np.mean(model.eval_step(batch))

    model = device.compile(graph, State(weights), loss=KLDivergence(), optimizer=Adam())
    model.train_step([batch], 1e-3)
    gradients = {name: m / 0.1 for name, m in model.state().optimizer.m.items()}
    sizes = {name: np.abs(gradient).max() for name, gradient in gradients.items()}
    # The normalization takes the last bias away again; every other parameter must matter.
    assert [name for name, size in sizes.items() if size < 1e-6] == ["decoder/conv4/bias"]
    for name, value in weights.items():
        direction = rng.standard_normal(value.shape)
        ends = [loss({**weights, name: value + sign * STEP * direction}) for sign in (1, -1)]
        numeric = (ends[0] - ends[1]) / (2 * STEP)
        exact = np.sum(gradients[name] * direction)
        assert numeric == pytest.approx(exact, rel=1e-4, abs=1e-6), name


def test_a_variable_read_twice_gets_both_gradients():
    net = GraphBuilder(channels=1)
    net.add("twice", ops.Concat(), net.input, net.input)
    tape = Tape()
    images = Variable(np.ones((1, 2, 2, 1)), tape)
    output = net.build().apply(LAYER_BUILDERS, images, {})
    gradient = np.arange(8.0).reshape(1, 2, 2, 2)
    tape.backward(output, gradient)
    np.testing.assert_array_equal(images.gradient, gradient.sum(-1, keepdims=True))


def test_relu_has_no_gradient_at_zero():
    tape = Tape()
    images = Variable(np.zeros((1, 1, 1, 1)), tape)
    kernel = Variable(np.ones((1, 1, 1, 1)), tape)
    op = ops.Conv2D(1, 1, use_bias=False)
    tape.backward(
        LAYER_BUILDERS[ops.Conv2D](op, [images], {"kernel": kernel}), np.ones((1, 1, 1, 1))
    )
    assert images.gradient.item() == 0


def test_the_first_of_equal_maxima_gets_the_gradient():
    tape = Tape()
    images = Variable(np.full((1, 2, 2, 1), -3.0), tape)
    tape.backward(
        LAYER_BUILDERS[ops.MaxPool2D](ops.MaxPool2D(), [images], {}), np.ones((1, 1, 1, 1))
    )
    np.testing.assert_array_equal(images.gradient.ravel(), [1, 0, 0, 0])


def test_equal_extremes_share_the_gradient():
    tape = Tape()
    images = Variable(np.array([0.0, 0.0, 1.0, 2.0, 2.0]).reshape(1, 1, 5, 1), tape)
    op = dataclasses.replace(ops.MinMaxNormalize(), epsilon=1e-12)
    weighting = np.array([0, 0, 1.0, 0, 0]).reshape(1, 1, 5, 1)
    tape.backward(LAYER_BUILDERS[ops.MinMaxNormalize](op, [images], {}), weighting)
    # (x - min) / (max - min) at x = 1: d/dx = 1/2, d/dmax = -1/4, d/dmin = -1/4, shared by two.
    np.testing.assert_allclose(images.gradient.ravel(), [-0.125, -0.125, 0.5, -0.125, -0.125])
