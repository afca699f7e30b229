"""Faults in one op or the loss, forward or backward."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import numpy as np

from msinet_core.conformance.faults.fault import (
    Build,
    Faults,
    FaultyDevice,
    Inputs,
    Roles,
    on,
)
from msinet_core.errors import UsageError
from msinet_core.network import ops
from msinet_core.network.loss import Correlation, KLDivergence, ScanpathSaliency, Similarity
from msinet_core.reference.tape import Array, Variable, record

FAULTS = Faults()

_VANISHING = 1e-300
"""An epsilon above zero that vanishes in float32."""


def _flipped(variable: Variable) -> Variable:
    return record(variable.value[:, ::-1, ::-1], [variable], lambda g: [g[:, ::-1, ::-1]])


def _times(variable: Variable, factor: float) -> Variable:
    value = (variable.value * factor).astype(variable.value.dtype)
    return record(value, [variable], lambda gradient: [gradient * factor])


# Attributes that are ignored.

FAULTS.attribute(
    "Dilation ignored",
    ops.Conv2D,
    "device/float32",
    "forward/convolution-dilation-*",
    "gradient/convolution-dilation-*",
    "network/asymmetric",
    "network/half-pixel",
    dilation=1,
)
FAULTS.attribute(
    "ReLU forgotten",
    ops.Conv2D,
    "forward/convolution-1x1",
    "forward/convolution-3x3-*",
    "forward/convolution-no-bias",
    activation="linear",
)
FAULTS.attribute(
    "ReLU on linear convolutions",
    ops.Conv2D,
    "forward/convolution-linear",
    "gradient/convolution-linear",
    activation="relu",
)
FAULTS.attribute(
    "Bias dropped",
    ops.Conv2D,
    "forward/convolution-1x1",
    "forward/convolution-3x3-*",
    "forward/convolution-strides-*",
    use_bias=False,
)
FAULTS.attribute("Strides ignored", ops.Conv2D, "forward/convolution-strides-*", strides=1)
for _kind, _name, _rows in (
    (ops.Resize, "resize", ("resize-[23]",)),
    (ops.ResizeLike, "resize to a size", ("resize-like*", "resize-width", "resize-height")),
):
    for _wrong, _right in (("half_pixel", "asymmetric"), ("asymmetric", "half_pixel")):
        _ids = [f"{row}-{_right.replace('_', '-')}" for row in _rows]
        _title = f"{_wrong.capitalize()} {_name} instead of {_right}".replace("_", "-")
        FAULTS.attribute(
            _title,
            _kind,
            *(f"forward/{row}" for row in _ids),
            *((f"gradient/{row}" for row in _ids) if _kind is ops.Resize else ()),
            coordinates=_wrong,
        )
FAULTS.attribute(
    "Epsilon missing: a constant map is NaN",
    ops.MinMaxNormalize,
    "forward/normalization-constant",
    "gradient/normalization-constant",
    epsilon=_VANISHING,
)
FAULTS.attribute(
    "Epsilon of the normalization ignored",
    ops.MinMaxNormalize,
    "forward/normalization-epsilon",
    "gradient/normalization-epsilon",
    epsilon=1e-7,
)
FAULTS.attribute("Loss without epsilon", KLDivergence, "loss/empty-*", epsilon=_VANISHING)
FAULTS.attribute("Epsilon of the loss ignored", KLDivergence, "loss/epsilon", epsilon=1e-7)


# Convolutions.


@FAULTS.op(
    "Convolution padded at the top and left",
    ops.Conv2D,
    "forward/convolution-2x2-same",
    "gradient/convolution-2x2-same",
)
def convolution_padded_at_the_top(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Pad at the top and left instead of the bottom and right."""
    kernel = record(roles["kernel"].value[::-1, ::-1], [roles["kernel"]], lambda g: [g[::-1, ::-1]])
    return _flipped(build(op, [_flipped(inputs[0])], {**roles, "kernel": kernel}))


@FAULTS.op(
    "ReLU missing in the gradient",
    ops.Conv2D,
    "gradient/convolution-1x1",
    "gradient/convolution-3x3-*",
    "gradient/network",
)
def relu_missing_in_the_gradient(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Pass gradients where ReLU was zero."""
    output = build(dataclasses.replace(op, activation="linear"), inputs, roles)
    if op.activation == "linear":
        return output
    return record(np.maximum(output.value, 0), [output], lambda gradient: [gradient])


@FAULTS.op("Leaky ReLU", ops.Conv2D, "forward/convolution-1x1", "network/asymmetric")
def leaky_relu(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Let a hundredth of negative values through."""
    output = build(dataclasses.replace(op, activation="linear"), inputs, roles)
    if op.activation == "linear":
        return output
    slope = np.where(output.value > 0, 1, 0.01).astype(output.value.dtype)
    return record(output.value * slope, [output], lambda gradient: [gradient * slope])


@FAULTS.op("ReLU6 instead of ReLU", ops.Conv2D, "numerics/large-weights", "network/asymmetric")
def relu6(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Cut values above 6."""
    output = build(op, inputs, roles)
    if op.activation == "linear":
        return output
    inside = output.value < 6
    return record(np.minimum(output.value, 6), [output], lambda gradient: [gradient * inside])


@FAULTS.op("Bias added after ReLU", ops.Conv2D, "forward/convolution-1x1", "network/asymmetric")
def bias_after_relu(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Apply ReLU before the bias."""
    output = build(dataclasses.replace(op, use_bias=False), inputs, {"kernel": roles["kernel"]})
    if not op.use_bias:
        return output
    bias = roles["bias"]
    return record(output.value + bias.value, [output, bias], lambda g: [g, g.sum(axis=(0, 1, 2))])


@FAULTS.op(
    "Gradient of biases missing",
    ops.Conv2D,
    "gradient/convolution-1x1",
    "gradient/convolution-strides-*",
    "gradient/network",
)
def bias_gradient_missing(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Compute no gradient for biases."""
    stopped = {role: v if role == "kernel" else Variable(v.value) for role, v in roles.items()}
    return build(op, inputs, stopped)


@FAULTS.op(
    "Gradient of dilated kernels computed without dilation",
    ops.Conv2D,
    "gradient/convolution-dilation-*",
)
def undilated_kernel_gradient(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Compute the kernel's gradient as if dilation were 1."""
    right = build(op, inputs, {**roles, "kernel": Variable(roles["kernel"].value)})
    if op.dilation == 1 or op.padding == "VALID":
        return build(op, inputs, roles) if op.dilation == 1 else right
    wrong = build(dataclasses.replace(op, dilation=1), [Variable(inputs[0].value)], dict(roles))
    return record(right.value, [right, wrong], lambda gradient: [gradient, gradient])


@FAULTS.op("Channels beyond 1024 ignored", ops.Conv2D, "forward/convolution-1280")
def channels_beyond_1024(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Compute with the first 1024 channels."""
    value = inputs[0].value.copy()
    value[..., 1024:] = 0
    return build(op, [record(value, inputs, lambda gradient: [gradient])], roles)


@FAULTS.op(
    "Channels rounded down to a multiple of four",
    ops.Conv2D,
    "forward/convolution-17-to-33",
)
def channels_in_fours(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Ignore the rest of channels in wide layers."""
    value = inputs[0].value.copy()
    channels = value.shape[-1]
    if channels > 16:
        value[..., channels - channels % 4 :] = 0
    return build(op, [record(value, inputs, lambda gradient: [gradient])], roles)


# Pools.


@FAULTS.op(
    "Pool padded at the top and left",
    ops.MaxPool2D,
    "forward/pool-strides-1-same",
    "gradient/pool-strides-1-same",
)
def pool_padded_at_the_top(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Pad at the top and left instead of the bottom and right."""
    return _flipped(build(op, [_flipped(inputs[0])], roles))


@FAULTS.op(
    "Pool padded with zeros",
    ops.MaxPool2D,
    "forward/pool-strides-1-same",
    "forward/pool-3x3-strides-2-same",
)
def pool_padded_with_zeros(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Let the zero padding win over negative values."""
    output = build(op, inputs, roles)
    if op.padding == "SAME":
        output.value[:, -1] = np.maximum(output.value[:, -1], 0)
        output.value[:, :, -1] = np.maximum(output.value[:, :, -1], 0)
    return output


@FAULTS.op("Pool in bfloat16", ops.MaxPool2D, "forward/pool-*")
def pool_in_16_bits(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Truncate the output to bfloat16."""
    output = build(op, inputs, roles)
    return record(truncated(output.value), [output], lambda gradient: [gradient])


@FAULTS.op("Smallest value of a pool", ops.MaxPool2D, "forward/pool-*", "network/asymmetric")
def smallest_of_the_pool(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Select the minimum."""
    return _times(build(op, [_times(inputs[0], -1)], roles), -1)


@FAULTS.op("Pool of 2 for every pool", ops.MaxPool2D, "forward/pool-3x3-strides-2-same")
def pool_of_two(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Ignore the size of the window."""
    return build(dataclasses.replace(op, pool_size=min(op.pool_size, 2)), inputs, roles)


# Resizes.


@FAULTS.op(
    "Half-pixel resize refused", ops.Resize, "forward/resize-[23]-half-pixel", "network/half-pixel"
)
def half_pixel_refused(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Raise on half-pixel coordinates."""
    if op.coordinates == "half_pixel":
        raise UsageError("half-pixel resizes are not supported")
    return build(op, inputs, roles)


@FAULTS.op("Nearest neighbor resize", ops.Resize, "forward/resize-[23]-*", "network/asymmetric")
def nearest_neighbor(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Repeat pixels."""
    value = inputs[0].value.repeat(op.scale, axis=1).repeat(op.scale, axis=2)
    right = build(op, inputs, roles)
    return record(value, [right], lambda gradient: [gradient])


@FAULTS.op(
    "Gradient of an asymmetric resize computed in half-pixel coordinates",
    ops.Resize,
    "gradient/resize-[23]-asymmetric",
)
def half_pixel_gradient(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Interpolate right and propagate wrongly."""
    right = build(op, [Variable(inputs[0].value)], roles)
    wrong = build(dataclasses.replace(op, coordinates="half_pixel"), inputs, roles)
    return record(right.value, [wrong], lambda gradient: [gradient])


# Other ops.


@FAULTS.op(
    "Sum instead of the global mean",
    ops.GlobalMean,
    "forward/global-mean",
    "gradient/global-mean",
)
def sum_instead_of_mean(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Sum the pixels without dividing."""
    _, height, width, _ = inputs[0].value.shape
    return _times(build(op, inputs, roles), height * width)


@FAULTS.op("Global mean over the batch", ops.GlobalMean, "forward/global-mean")
def mean_over_the_batch(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Average over the images as well."""
    mean = build(op, inputs, roles)
    value = np.broadcast_to(mean.value.mean(axis=0, keepdims=True), mean.value.shape)
    return record(value, [mean], lambda g: [np.broadcast_to(g.mean(axis=0), g.shape)])


@FAULTS.op("Concatenation reversed", ops.Concat, "forward/concat")
def concat_reversed(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Concatenate the inputs in reverse order."""
    return build(op, inputs[::-1], roles)


@FAULTS.op(
    "An input that is concatenated twice gets one gradient",
    ops.Concat,
    "gradient/concat-repeated",
)
def one_gradient(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Forget that gradients of several uses add up."""
    seen: list[Variable] = []
    parts = []
    for variable in inputs:
        parts.append(Variable(variable.value) if variable in seen else variable)
        seen.append(variable)
    return build(op, parts, roles)


@FAULTS.op(
    "An input that is concatenated twice is used once", ops.Concat, "forward/concat-repeated"
)
def used_once(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Fill the second use with zeros, as if its buffer had been freed."""
    first = inputs[0]
    return build(
        op,
        [first, *(_times(one, 0) if one is first else one for one in inputs[1:])],
        roles,
    )


@FAULTS.op("RGB means reversed", ops.SubtractMean, "forward/subtract-mean")
def means_reversed(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Subtract the means in BGR order."""
    return build(dataclasses.replace(op, mean=op.mean[::-1]), inputs, roles)


@FAULTS.op(
    "Normalized over the batch", ops.MinMaxNormalize, "forward/normalization", "forward/batch-[25]"
)
def normalized_over_the_batch(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Take minimum and maximum over the whole batch."""
    shape = inputs[0].value.shape
    joined = record(
        inputs[0].value.reshape(1, -1, *shape[2:]), inputs, lambda g: [g.reshape(shape)]
    )
    output = build(op, [joined], roles)
    return record(output.value.reshape(shape), [output], lambda g: [g.reshape(joined.value.shape)])


@FAULTS.op("Normalized by channel", ops.MinMaxNormalize, "forward/normalization")
def normalized_by_channel(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Take minimum and maximum of each channel."""
    right = build(op, inputs, roles)
    value = inputs[0].value - inputs[0].value.min(axis=(1, 2), keepdims=True)
    value = value / (op.epsilon + value.max(axis=(1, 2), keepdims=True))
    return record(value.astype(right.value.dtype), [right], lambda gradient: [gradient])


@FAULTS.op(
    "Gradient of the normalization ignores its extremes",
    ops.MinMaxNormalize,
    "gradient/normalization",
    "numerics/normalization-gradient",
)
def extremes_are_constants(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Treat minimum and maximum as constants."""
    images = inputs[0].value
    right = build(op, [Variable(images)], roles)
    spread = images.max(axis=(1, 2, 3), keepdims=True) - images.min(axis=(1, 2, 3), keepdims=True)
    return record(right.value, inputs, lambda gradient: [gradient / (op.epsilon + spread)])


# The loss.


@FAULTS.op("Loss summed over the batch", KLDivergence, "loss/random", "loss/constant")
def loss_summed(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Return the sum of all losses for every image."""
    losses = build(op, inputs, roles)
    return record(np.full_like(losses.value, losses.value.sum()), [losses], lambda g: [g])


@FAULTS.op("Mean loss for every image", KLDivergence, "loss/random", "loss/batch-9")
def loss_averaged(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Return the mean of all losses for every image."""
    losses = build(op, inputs, roles)
    return record(np.full_like(losses.value, losses.value.mean()), [losses], lambda g: [g])


@FAULTS.op("Losses in reverse order", KLDivergence, "loss/random", "loss/batch-9")
def losses_reversed(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Return the losses of the batch backwards."""
    losses = build(op, inputs, roles)
    return record(losses.value[::-1], [losses], lambda gradient: [gradient[::-1]])


@FAULTS.op("True and predicted maps swapped", KLDivergence, "loss/random", "loss/empty-*")
def maps_swapped(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Compute the divergence of the true from the predicted map."""
    return build(op, inputs[::-1], roles)


@FAULTS.op("Loss averaged over the pixels", KLDivergence, "loss/random", "train/four-losses")
def loss_over_pixels(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Divide by the number of pixels."""
    _, height, width, _ = inputs[0].value.shape
    return _times(build(op, inputs, roles), 1 / (height * width))


@FAULTS.op("Loss in bits", KLDivergence, "loss/random", "train/four-losses")
def loss_in_bits(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Use the binary logarithm."""
    return _times(build(op, inputs, roles), 1 / np.log(2))


for _loss, _metric in ((Correlation, "cc"), (Similarity, "sim"), (ScanpathSaliency, "nss")):

    @FAULTS.op(
        f"Losses {_metric} in reverse order",
        _loss,
        *(f"loss/{_metric}{suffix}" for suffix in ("", "-empty-true", "-240x320")),
        "loss/sum" if _metric != "sim" else "loss/sim-constant",
    )
    def losses_backwards(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
        """Return the losses of the batch backwards."""
        return losses_reversed(build, op, inputs, roles)

    @FAULTS.op(f"Gradient of {_metric} doubled", _loss, f"gradient/loss-{_metric}")
    def loss_gradient_doubled(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
        """Multiply the gradient by two."""
        losses = build(op, inputs, roles)
        return record(losses.value, [losses], lambda gradient: [gradient * 2])


for _loss, _metric, _caught in (
    (Correlation, "cc", ("loss/cc-constant", "gradient/loss-constant")),
    (ScanpathSaliency, "nss", ("gradient/loss-constant",)),
):

    @FAULTS.op(f"Loss {_metric} without epsilon", _loss, *_caught)
    def loss_without_epsilon(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
        """Divide by the standard deviation alone; a constant map has none."""
        losses = build(op, inputs, roles)
        spread = np.ptp(inputs[1].value, axis=(1, 2, 3))
        broken = np.where(spread == 0, np.nan, 1).astype(losses.value.dtype)
        return record(losses.value * broken, [losses], lambda gradient: [gradient * broken])


# Gradients that are slightly off.


def truncated(value: Array) -> Array:
    """Truncate to bfloat16.

    Args:
        value: Any shape.
    """
    bits = np.ascontiguousarray(value, np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
    return bits.view(np.float32)


def scaled_gradient(kind: type) -> FaultyDevice:
    """Make a device that scales the gradient of an op's input by 1.01.

    Args:
        kind: The class of the op.
    """

    def change(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
        wrong = record(inputs[0].value, [inputs[0]], lambda gradient: [gradient * 1.01])
        return build(op, [wrong, *inputs[1:]], roles)

    return on(kind, change)


for _op, _caught_by in (
    (ops.Conv2D, ("gradient/convolution-*", "gradient/network")),
    (ops.MaxPool2D, ("gradient/pool-*",)),
    (ops.Resize, ("gradient/resize-[23]-*",)),
    (
        ops.ResizeLike,
        ("gradient/resize-like*", "gradient/resize-width-*", "gradient/resize-height-*"),
    ),
    (ops.GlobalMean, ("gradient/global-mean",)),
    (ops.Concat, ("gradient/concat", "gradient/concat-large")),
    (ops.MinMaxNormalize, ("gradient/normalization", "gradient/normalization-large")),
    (ops.SubtractMean, ("gradient/subtract-mean", "gradient/subtract-mean-large")),
):
    FAULTS.device(f"Gradient of {_op.__name__} off by 1%", *_caught_by)(
        partial(scaled_gradient, _op)
    )
