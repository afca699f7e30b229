"""Faults in convolutions, forward or backward."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from msinet_core.network import ops
from msinet_core.reference.tape import Variable, record
from tests.faults.change import (
    flipped,
)
from tests.faults.fault import Build, Faults, Inputs, Roles

FAULTS = Faults()

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


@FAULTS.op(
    "Convolution padded at the top and left",
    ops.Conv2D,
    "forward/convolution-2x2-same",
    "gradient/convolution-2x2-same",
)
def convolution_padded_at_the_top(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Pad at the top and left instead of the bottom and right."""
    kernel = record(roles["kernel"].value[::-1, ::-1], [roles["kernel"]], lambda g: [g[::-1, ::-1]])
    return flipped(build(op, [flipped(inputs[0])], {**roles, "kernel": kernel}))


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


@FAULTS.op(
    "Wide convolutions of large images lose their last rows",
    ops.Conv2D,
    "forward/convolution-64-large",
)
def last_rows_lost(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Round the number of tiles down."""
    output = build(op, inputs, roles)
    _, height, width, channels = inputs[0].value.shape
    if min(channels, op.filters) >= 32 and height * width > 2**16:
        output.value[:, -(height % 32 or 32) :] = 0
    return output
