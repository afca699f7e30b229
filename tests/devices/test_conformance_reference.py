"""The reference itself against TensorFlow's ops, ties and other points without a derivative too."""

from __future__ import annotations

import numpy as np
import pytest

from msinet_core.network import ops
from msinet_core.network.loss import KLDivergence
from msinet_core.reference.layers import LAYER_BUILDERS
from msinet_core.reference.tape import Tape, Variable

tf = pytest.importorskip("tensorflow")

random = np.random.default_rng(0)
SMOOTH = random.standard_normal((2, 7, 10, 3)).astype(np.float32)
TIES = random.integers(-2, 2, (2, 7, 10, 3)).astype(np.float32)
CONSTANT = np.full((2, 5, 7, 1), 3.0, np.float32)


def normalize(images):
    shifted = images - tf.reduce_min(images, [1, 2, 3], keepdims=True)
    return shifted / (1e-7 + tf.reduce_max(shifted, [1, 2, 3], keepdims=True))


def resize(half_pixel, size):
    return lambda images: tf.raw_ops.ResizeBilinear(
        images=images, size=size, half_pixel_centers=half_pixel
    )


def pool(size, strides, padding):
    return lambda images: tf.nn.max_pool2d(images, size, strides, padding)


def agree(op, images, theirs, parameters=None):
    """Compare the output and every gradient, for a random gradient of the output."""
    parameters = parameters or {}
    tape = Tape()
    inputs = [Variable(value, tape) for value in images]
    roles = {role: Variable(value, tape) for role, value in parameters.items()}
    output = LAYER_BUILDERS[type(op)](op, inputs, roles)
    weighting = np.random.default_rng(1).standard_normal(output.value.shape).astype(np.float32)
    value = output.value
    tape.backward(output, weighting)

    constants = [tf.constant(array) for array in (*images, *parameters.values())]
    with tf.GradientTape() as recorded:
        recorded.watch(constants)
        expected = theirs(*constants)
    gradients = recorded.gradient(expected, constants, output_gradients=tf.constant(weighting))
    np.testing.assert_allclose(value, expected.numpy(), rtol=1e-5, atol=1e-5)
    for variable, gradient in zip([*inputs, *roles.values()], gradients, strict=True):
        if variable.gradient is not None:
            scale = np.abs(gradient.numpy()).max()
            np.testing.assert_allclose(
                variable.gradient / scale, gradient.numpy() / scale, atol=1e-5
            )


@pytest.mark.parametrize("images", [SMOOTH, TIES], ids=["smooth", "ties"])
@pytest.mark.parametrize("setting", [(2, 2, "VALID"), (2, 1, "SAME"), (3, 2, "SAME")])
def test_max_pool(images, setting):
    agree(ops.MaxPool2D(*setting), [images], pool(*setting))


@pytest.mark.parametrize("images", [SMOOTH, TIES, CONSTANT], ids=["smooth", "ties", "constant"])
def test_normalization(images):
    agree(ops.MinMaxNormalize(), [images], normalize)


@pytest.mark.parametrize("coordinates", ["asymmetric", "half_pixel"])
def test_resize(coordinates):
    half_pixel = coordinates == "half_pixel"
    agree(ops.Resize(3, coordinates), [SMOOTH], resize(half_pixel, [21, 30]))
    op = LAYER_BUILDERS[ops.ResizeLike]
    like = Variable(np.zeros((2, 5, 13, 1), np.float32))
    result = op(ops.ResizeLike(coordinates), [Variable(SMOOTH), like], {}).value
    expected = resize(half_pixel, [5, 13])(SMOOTH).numpy()
    np.testing.assert_allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize(
    "op",
    [
        ops.Conv2D(5),
        ops.Conv2D(5, dilation=4),
        ops.Conv2D(5, dilation=12),
        ops.Conv2D(5, strides=2),
        ops.Conv2D(5, 2, strides=3),
        ops.Conv2D(5, padding="VALID"),
    ],
    ids=str,
)
def test_convolution_at_the_bend_of_relu(op):
    def theirs(images, kernel, bias):
        convolved = tf.nn.conv2d(images, kernel, op.strides, op.padding, dilations=op.dilation)
        return tf.nn.relu(convolved + bias)

    whole = np.random.default_rng(2).integers(-2, 3, (op.kernel_size, op.kernel_size, 3, 5))
    parameters = {"kernel": whole.astype(np.float32), "bias": np.zeros(5, np.float32)}
    agree(op, [TIES], theirs, parameters)  # whole numbers: many sums are exactly zero


def test_loss_of_random_and_empty_maps():
    def theirs(true, predicted):
        true = true / (1e-7 + tf.reduce_sum(true, [1, 2, 3], keepdims=True))
        predicted = predicted / (1e-7 + tf.reduce_sum(predicted, [1, 2, 3], keepdims=True))
        inside = tf.math.log(1e-7 + true / (1e-7 + predicted))
        return tf.reduce_sum(true * inside, [1, 2, 3])

    maps = np.random.default_rng(3).uniform(0, 1, (2, 4, 7, 10, 1)).astype(np.float32)
    maps[0, 1] = 0
    agree(KLDivergence(), list(maps[:, :3]), theirs)
    maps[1, 3] = 0
    agree(KLDivergence(), list(maps[:, 3:]), theirs)
