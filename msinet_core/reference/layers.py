"""Every op and the loss, forward and backward, in plain NumPy.

Where a function has no derivative, the gradient is TensorFlow's: zero for ReLU at 0, all of it to
the first of equal maxima in a pooling window, and equal shares to equal extremes of an image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from msinet_core.device.layers import Layers
from msinet_core.network import ops
from msinet_core.network.interpolation import interpolation_matrix
from msinet_core.network.loss import Correlation, KLDivergence, ScanpathSaliency, Similarity
from msinet_core.reference import convolution
from msinet_core.reference.tape import Array, Variable, exact_sum, record

IMAGE_AXES = (1, 2, 3)
Inputs = Sequence[Variable]
Parameters = Mapping[str, Variable]


class ReferenceLayers(Layers):
    """Compute each op on a `Variable`."""

    def subtract_mean(
        self, op: ops.SubtractMean, inputs: Inputs, parameters: Parameters
    ) -> Variable:
        """Subtract a constant from each channel."""
        value = inputs[0].value
        return record(value - np.asarray(op.mean, value.dtype), inputs, lambda gradient: [gradient])

    def conv2d(self, op: ops.Conv2D, inputs: Inputs, parameters: Parameters) -> Variable:
        """Convolve, add the bias, apply the activation."""
        images, kernel = inputs[0], parameters["kernel"]
        output = convolution.convolve(op, images.value, kernel.value)
        if op.use_bias:
            output += parameters["bias"].value
        if op.activation == "relu":
            np.maximum(output, 0, out=output)

        def backward(gradient: Array) -> list[Array]:
            if op.activation == "relu":
                gradient = gradient * (output > 0)
            gradients = list(
                convolution.convolve_backward(op, images.value, kernel.value, gradient)
            )
            if op.use_bias:
                gradients.append(exact_sum(gradient, axis=(0, 1, 2)))
            return gradients

        read = [images, kernel, parameters["bias"]] if op.use_bias else [images, kernel]
        return record(output, read, backward)

    def max_pool2d(self, op: ops.MaxPool2D, inputs: Inputs, parameters: Parameters) -> Variable:
        """Take the maximum over windows; padding is never the maximum."""
        images = inputs[0].value
        size = op.output_size([(images.shape[1], images.shape[2])])
        padding = convolution.window_padding(op, images.shape, op.pool_size)
        padded = convolution.pad(images, padding, -np.inf)
        views = [view for _, _, view in convolution.taps(op.pool_size, 1, op.strides, size)]
        output = padded[views[0]].copy()
        for view in views[1:]:
            np.maximum(output, padded[view], out=output)

        def backward(gradient: Array) -> list[Array]:
            padded_gradient = np.zeros_like(padded)
            waiting = np.ones(output.shape, bool)
            for view in views:
                first = waiting & (padded[view] == output)
                padded_gradient[view] += gradient * first
                waiting &= ~first
            return [convolution.unpad(padded_gradient, padding)]

        return record(output, inputs, backward)

    def resize(
        self, op: ops.Resize | ops.ResizeLike, inputs: Inputs, parameters: Parameters
    ) -> Variable:
        """Resize the first input bilinearly; a second one gives the size and gets no gradient."""
        sizes = [(variable.value.shape[1], variable.value.shape[2]) for variable in inputs]
        return _resize(inputs[0], op.output_size(sizes), op.coordinates)

    resize_like = resize

    def concat(self, op: ops.Concat, inputs: Inputs, parameters: Parameters) -> Variable:
        """Concatenate along the channels."""
        values = [variable.value for variable in inputs]
        ends = np.cumsum([value.shape[-1] for value in values])[:-1]
        return record(
            np.concatenate(values, axis=-1),
            inputs,
            lambda gradient: np.split(gradient, ends, axis=-1),
        )

    def global_mean(self, op: ops.GlobalMean, inputs: Inputs, parameters: Parameters) -> Variable:
        """Average over height and width."""
        images = inputs[0].value
        # Not a Python int: NumPy 1 divides float32 by a large one in float64.
        pixels = images.dtype.type(images.shape[1] * images.shape[2])
        return record(
            exact_sum(images, axis=(1, 2), keepdims=True) / pixels,
            inputs,
            lambda gradient: [np.broadcast_to(gradient / pixels, images.shape)],
        )

    def min_max_normalize(
        self, op: ops.MinMaxNormalize, inputs: Inputs, parameters: Parameters
    ) -> Variable:
        """Scale each image to 0..1."""
        images = inputs[0].value
        lowest = images.min(axis=IMAGE_AXES, keepdims=True)
        shifted = images - lowest
        highest = shifted.max(axis=IMAGE_AXES, keepdims=True)
        divisor = op.epsilon + highest

        def backward(gradient: Array) -> list[Array]:
            of_shifted = gradient / divisor
            of_highest = -_image_sum(gradient * shifted) / divisor**2
            of_shifted = of_shifted + _shares(shifted == highest, of_highest)
            of_lowest = -_image_sum(of_shifted)
            return [of_shifted + _shares(images == lowest, of_lowest)]

        return record(shifted / divisor, inputs, backward)

    def kl_divergence(self, op: KLDivergence, inputs: Inputs, parameters: Parameters) -> Variable:
        """Compare true and predicted maps; the true maps get no gradient."""
        true, share = (_shares_of_sum(variable.value, op.epsilon) for variable in inputs)
        shifted = op.epsilon + share
        inside = op.epsilon + true / shifted

        def backward(gradient: Array) -> list[Array | None]:
            of_share = -gradient.reshape(-1, 1, 1, 1) * true**2 / (inside * shifted**2)
            return [None, _of_map(of_share, inputs[1].value, op.epsilon)]

        return record(exact_sum(true * np.log(inside), IMAGE_AXES), inputs, backward)

    def correlation(self, op: Correlation, inputs: Inputs, parameters: Parameters) -> Variable:
        """Return 1 minus the mean product of the standardized maps."""
        true, _ = _standardize(inputs[0].value, op.epsilon)
        return _mean_product(-true / _pixels(true), inputs, op.epsilon, constant=1)

    def similarity(self, op: Similarity, inputs: Inputs, parameters: Parameters) -> Variable:
        """Return 1 minus the sum of the smaller share of each pixel."""
        true, share = (_shares_of_sum(variable.value, op.epsilon) for variable in inputs)

        def backward(gradient: Array) -> list[Array | None]:
            below = (1 + np.sign(true - share)) / 2  # half the gradient where they are equal
            of_share = -gradient.reshape(-1, 1, 1, 1) * below.astype(share.dtype)
            return [None, _of_map(of_share, inputs[1].value, op.epsilon)]

        return record(1 - exact_sum(np.minimum(true, share), IMAGE_AXES), inputs, backward)

    def scanpath_saliency(
        self, op: ScanpathSaliency, inputs: Inputs, parameters: Parameters
    ) -> Variable:
        """Return minus the mean of the standardized prediction, weighted by the true map."""
        true = _shares_of_sum(inputs[0].value, op.epsilon)
        return _mean_product(-true, inputs, op.epsilon, constant=0)


LAYER_BUILDERS = ReferenceLayers().builders()


def _image_sum(maps: Array) -> Array:
    return exact_sum(maps, IMAGE_AXES, keepdims=True)


def _shares_of_sum(maps: Array, epsilon: float) -> Array:
    """Return each pixel's share of the sum of its map."""
    return maps / (epsilon + _image_sum(maps))


def _of_map(of_shares: Array, maps: Array, epsilon: float) -> Array:
    """Return the gradient of maps from the gradient of the shares of their sum."""
    divisor = epsilon + _image_sum(maps)
    return of_shares / divisor - _image_sum(of_shares * maps) / divisor**2


def _pixels(maps: Array) -> Array:
    """Return the number of pixels in the maps' dtype; NumPy 1 divides by a large int in float64."""
    return np.asarray(maps.shape[1] * maps.shape[2] * maps.shape[3], maps.dtype)


def _standardize(maps: Array, epsilon: float) -> tuple[Array, Array]:
    """Return the standardized maps and their standard deviations."""
    centered = maps - _image_sum(maps) / _pixels(maps)
    variance = _image_sum(centered**2) / _pixels(maps)
    deviation = np.sqrt(variance + maps.dtype.type(epsilon))
    return centered / deviation, deviation


def _mean_product(weights: Array, inputs: Inputs, epsilon: float, constant: float) -> Variable:
    """Add a constant to the weighted sum of the standardized prediction."""
    standard, deviation = _standardize(inputs[1].value, epsilon)

    def backward(gradient: Array) -> list[Array | None]:
        upstream = gradient.reshape(-1, 1, 1, 1) * weights
        pixels = _pixels(standard)
        mean, slope = _image_sum(upstream) / pixels, _image_sum(upstream * standard) / pixels
        return [None, (upstream - mean - slope * standard) / deviation]

    total = exact_sum(weights * standard, IMAGE_AXES)
    return record(total + total.dtype.type(constant), inputs, backward)


def _resize(variable: Variable, target: ops.Size, coordinates: ops.Coordinates) -> Variable:
    _, height, width, _ = variable.value.shape
    dtype = variable.value.dtype
    rows = interpolation_matrix(height, target[0], coordinates).astype(dtype)
    columns = interpolation_matrix(width, target[1], coordinates).astype(dtype)

    return record(
        _apply(rows, columns, variable.value),
        [variable],
        lambda gradient: [_apply(rows.T, columns.T, gradient)],
    )


def _apply(rows: Array, columns: Array, images: Array) -> Array:
    batch, height, width, channels = images.shape
    resized = rows @ images.reshape(batch, height, width * channels)
    return np.asarray(columns @ resized.reshape(batch, len(rows), width, channels))


def _shares(chosen: Array, gradient: Array) -> Array:
    count = chosen.sum(axis=IMAGE_AXES, keepdims=True, dtype=gradient.dtype)
    return np.where(chosen, gradient / count, 0).astype(gradient.dtype, copy=False)
