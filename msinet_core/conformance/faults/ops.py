"""Faults in one op, forward or backward."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from msinet_core.conformance.faults.fault import FaultyDevice, on
from msinet_core.errors import UsageError
from msinet_core.network import ops
from msinet_core.network.graph import LayerBuilder
from msinet_core.network.loss import KLDivergence
from msinet_core.reference.tape import Array, Variable, record

Build = LayerBuilder[Variable]
Inputs = Sequence[Variable]
Roles = Mapping[str, Variable]


def _flipped(variable: Variable) -> Variable:
    return record(variable.value[:, ::-1, ::-1], [variable], lambda g: [g[:, ::-1, ::-1]])


def _scaled_gradient(variable: Variable, factor: float) -> Variable:
    return record(variable.value, [variable], lambda gradient: [gradient * factor])


def _in_16_bits(value: Array) -> Array:
    bits = np.ascontiguousarray(value, np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
    return bits.view(np.float32)


def pool_padded_at_the_top() -> FaultyDevice:
    """Pad pools at the top and left instead of the bottom and right."""

    def change(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
        return _flipped(build(op, [_flipped(inputs[0])], roles))

    return on(ops.MaxPool2D, change)


def pool_padded_with_zeros() -> FaultyDevice:
    """Let the zero padding of pools win over negative values."""

    def change(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
        output = build(op, inputs, roles)
        if op.padding == "SAME":
            output.value[:, -1] = np.maximum(output.value[:, -1], 0)
            output.value[:, :, -1] = np.maximum(output.value[:, :, -1], 0)
        return output

    return on(ops.MaxPool2D, change)


def pool_in_16_bits() -> FaultyDevice:
    """Truncate the output of pools to bfloat16."""

    def change(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
        output = build(op, inputs, roles)
        return record(_in_16_bits(output.value), [output], lambda gradient: [gradient])

    return on(ops.MaxPool2D, change)


def convolution_padded_at_the_top() -> FaultyDevice:
    """Pad convolutions at the top and left instead of the bottom and right."""

    def change(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
        kernel = record(
            roles["kernel"].value[::-1, ::-1], [roles["kernel"]], lambda g: [g[::-1, ::-1]]
        )
        return _flipped(build(op, [_flipped(inputs[0])], {**roles, "kernel": kernel}))

    return on(ops.Conv2D, change)


def relu_missing_in_the_gradient() -> FaultyDevice:
    """Pass gradients where ReLU was zero."""

    def change(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
        output = build(dataclasses.replace(op, activation="linear"), inputs, roles)
        if op.activation == "linear":
            return output
        return record(np.maximum(output.value, 0), [output], lambda gradient: [gradient])

    return on(ops.Conv2D, change)


def mean_order_reversed() -> FaultyDevice:
    """Subtract the means in BGR order."""

    def change(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
        return build(dataclasses.replace(op, mean=op.mean[::-1]), inputs, roles)

    return on(ops.SubtractMean, change)


def concat_order_reversed() -> FaultyDevice:
    """Concatenate the inputs in reverse order."""
    return on(ops.Concat, lambda build, op, inputs, roles: build(op, inputs[::-1], roles))


def sum_instead_of_mean() -> FaultyDevice:
    """Sum the pixels without dividing."""

    def change(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
        mean = build(op, inputs, roles)
        count = inputs[0].value.shape[1] * inputs[0].value.shape[2]
        return record(mean.value * count, [mean], lambda gradient: [gradient * count])

    return on(ops.GlobalMean, change)


def normalized_over_the_batch() -> FaultyDevice:
    """Take minimum and maximum over the whole batch."""

    def change(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
        shape = inputs[0].value.shape
        joined = record(
            inputs[0].value.reshape(1, -1, *shape[2:]), inputs, lambda g: [g.reshape(shape)]
        )
        output = build(op, [joined], roles)
        return record(
            output.value.reshape(shape), [output], lambda g: [g.reshape(joined.value.shape)]
        )

    return on(ops.MinMaxNormalize, change)


def gradient_off_by_a_factor(kind: type[ops.Op]) -> FaultyDevice:
    """Scale the gradient of an op's input by 1.01.

    Args:
        kind: The class of the op.
    """

    def change(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
        return build(op, [_scaled_gradient(inputs[0], 1.01), *inputs[1:]], roles)

    return on(kind, change)


def bias_gradient_missing() -> FaultyDevice:
    """Compute no gradient for biases."""

    def change(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
        stopped = {role: v if role == "kernel" else Variable(v.value) for role, v in roles.items()}
        return build(op, inputs, stopped)

    return on(ops.Conv2D, change)


def loss_summed_over_the_batch() -> FaultyDevice:
    """Return the sum of all losses for every image."""

    def change(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
        losses = build(op, inputs, roles)
        return record(np.full_like(losses.value, losses.value.sum()), [losses], lambda g: [g])

    return on(KLDivergence, change)


def half_pixel_refused() -> FaultyDevice:
    """Refuse resizes in half-pixel coordinates."""

    def change(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
        if op.coordinates == "half_pixel":
            raise UsageError("half-pixel resizes are not supported")
        return build(op, inputs, roles)

    return on(ops.Resize, change)
