"""Faults in pools, resizes, means, concatenations and normalizations, forward or backward."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from msinet_core.errors import UsageError
from msinet_core.network import ops
from msinet_core.reference.device import ReferenceModel
from msinet_core.reference.layers import LAYER_BUILDERS
from msinet_core.reference.tape import Array, Variable, record
from tests.faults.change import (
    VANISHING,
    flipped,
    scaled_gradient,
    times,
    truncated,
)
from tests.faults.fault import Build, Faults, Inputs, Roles

FAULTS = Faults()

# Pools.


@FAULTS.op(
    "Pool padded at the top and left",
    ops.MaxPool2D,
    "forward/pool-strides-1-same",
    "gradient/pool-strides-1-same",
)
def pool_padded_at_the_top(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Pad at the top and left instead of the bottom and right."""
    return flipped(build(op, [flipped(inputs[0])], roles))


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


@FAULTS.op("Pool padded with -10,000", ops.MaxPool2D, "forward/pool-far-below-zero")
def pool_padded_with_a_number(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Pad with a number that seems low enough."""
    output = build(op, inputs, roles)
    if op.padding == "SAME":
        output.value[:, -1] = np.maximum(output.value[:, -1], -10_000)
    return output


@FAULTS.op("Resize of one pixel is empty", ops.Resize, "forward/resize-one-pixel")
def one_pixel(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Divide by the number of pixels, less one."""
    output = build(op, inputs, roles)
    return times(output, 0) if inputs[0].value.shape[1:3] == (1, 1) else output


@FAULTS.op("Pool in bfloat16", ops.MaxPool2D, "forward/pool-*")
def pool_in_16_bits(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Truncate the output to bfloat16."""
    output = build(op, inputs, roles)
    return record(truncated(output.value), [output], lambda gradient: [gradient])


@FAULTS.op("Smallest value of a pool", ops.MaxPool2D, "forward/pool-*", "network/asymmetric")
def smallest_of_the_pool(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Select the minimum."""
    return times(build(op, [times(inputs[0], -1)], roles), -1)


@FAULTS.op("Pool of 2 for every pool", ops.MaxPool2D, "forward/pool-3x3-strides-2-same")
def pool_of_two(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Ignore the size of the window."""
    return build(dataclasses.replace(op, pool_size=min(op.pool_size, 2)), inputs, roles)


# Resizes.

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

FAULTS.attribute(
    "Epsilon missing: a constant map is NaN",
    ops.MinMaxNormalize,
    "forward/normalization-constant",
    "gradient/normalization-constant",
    epsilon=VANISHING,
)
FAULTS.attribute(
    "Epsilon of the normalization ignored",
    ops.MinMaxNormalize,
    "forward/normalization-epsilon",
    "gradient/normalization-epsilon",
    epsilon=1e-7,
)


@FAULTS.op(
    "Sum instead of the global mean",
    ops.GlobalMean,
    "forward/global-mean",
    "gradient/global-mean",
)
def sum_instead_of_mean(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Sum the pixels without dividing."""
    _, height, width, _ = inputs[0].value.shape
    return times(build(op, inputs, roles), height * width)


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
        [first, *(times(one, 0) if one is first else one for one in inputs[1:])],
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


# Gradients that are slightly off.

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


@FAULTS.op("ReLU passes half the gradient at zero", ops.Conv2D, "gradient/relu-at-zero")
def half_at_zero(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Take the maximum with zero, whose gradient is shared between equal values."""
    if op.activation == "linear":
        return build(op, inputs, roles)
    output = build(dataclasses.replace(op, activation="linear"), inputs, roles)
    slope = np.heaviside(output.value, 0.5).astype(output.value.dtype)
    return record(np.maximum(output.value, 0), [output], lambda gradient: [gradient * slope])


def _in_place(kind: type) -> Callable[[Build, Any, Inputs, Roles], Variable]:
    def change(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
        output = build(op, inputs, roles)
        inputs[0].value = output.value
        return output

    return change


for _op in (ops.SubtractMean, ops.MinMaxNormalize):
    FAULTS.op(
        f"{_op.__name__} in place, although its input is read again",
        _op,
        "forward/read-again",
        "gradient/read-again",
    )(_in_place(_op))


class _FirstOfAKind(ReferenceModel):
    """Names constants after the kind of op, so that a second one finds those of the first."""

    kind: type

    def _output(self, images: Array, variables: Mapping[str, Variable]) -> Variable:
        first: list[Any] = []

        def build(op: Any, inputs: Inputs, roles: Roles) -> Variable:
            first.append(op)
            return LAYER_BUILDERS[self.kind](first[0], inputs, roles)  # type: ignore[no-any-return]

        builders = {**self._builders, self.kind: build}
        given = Variable(np.asarray(images, self._dtype))
        output: Variable = self._graph.apply(builders, given, variables)
        return output


@FAULTS.model("Two SubtractMean of a graph share their constant", "forward/read-again")
class SharedMeans(_FirstOfAKind):
    """Uploads one mean."""

    kind = ops.SubtractMean


@FAULTS.model("Two normalizations of a graph share their epsilon", "forward/read-again")
class SharedEpsilons(_FirstOfAKind):
    """Compiles one epsilon."""

    kind = ops.MinMaxNormalize
