"""Faults in settings of ops that MSI-Net does not use, where a builder is seldom looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from msinet_core.conformance.scenarios.unusual_layers import UNUSUAL_SETTINGS
from msinet_core.network import ops
from msinet_core.reference.tape import Array, Variable, record
from tests.faults.fault import Build, Change, Faults, Inputs, Roles

FAULTS = Faults()

Test = Callable[[Any, Array], bool]
"""Whether an op is computed wrongly, from its attributes and its first input."""


def _wrong_if(test: Test) -> Change:
    def change(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
        output = build(op, inputs, roles)
        if not test(op, inputs[0].value):
            return output
        factor = np.float32(0.9)
        return record(output.value * factor, [output], lambda gradient: [gradient * factor])

    return change


def _divides(op: Any, images: Array) -> bool:
    return not any(axis % op.dilation for axis in images.shape[1:3])


_CONVOLUTIONS: tuple[tuple[str, str, Test], ...] = (
    ("4x4 kernels", "4x4-same", lambda op, images: op.kernel_size == 4),
    ("5x5 kernels", "5x5-same", lambda op, images: op.kernel_size == 5),
    (
        "2x2 kernels with VALID padding",
        "2x2-valid",
        lambda op, images: op.kernel_size == 2 and op.padding == "VALID",
    ),
    (
        "2x2 kernels with strides",
        "2x2-strides-2",
        lambda op, images: op.kernel_size == 2 and op.strides == 2,
    ),
    (
        "1x1 kernels with strides",
        "1x1-strides-2",
        lambda op, images: op.kernel_size == 1 and op.strides == 2,
    ),
    ("strides 3", "strides-3", lambda op, images: op.strides == 3),
    ("dilation 3", "dilation-3-linear-no-bias", lambda op, images: op.dilation == 3),
    (
        "dilation without activation",
        "dilation-3-linear-no-bias",
        lambda op, images: op.dilation > 1 and op.activation == "linear",
    ),
    (
        "dilation without bias",
        "dilation-3-linear-no-bias",
        lambda op, images: op.dilation > 1 and not op.use_bias,
    ),
    (
        "dilated 2x2 kernels",
        "dilation-2-of-2x2",
        lambda op, images: op.dilation > 1 and op.kernel_size == 2,
    ),
    (
        "dilation 4 that divides height and width",
        "dilation-4-divides",
        lambda op, images: op.dilation == 4 and _divides(op, images),
    ),
    (
        "dilation 8 that divides height and width",
        "dilation-8-divides",
        lambda op, images: op.dilation == 8 and _divides(op, images),
    ),
    (
        "dilation of many channels",
        "dilation-12-from-512",
        lambda op, images: op.dilation >= 8 and images.shape[3] >= 256,
    ),
    (
        "more than four images of many channels",
        "128-of-five-images",
        lambda op, images: len(images) > 4 and images.shape[3] >= 128,
    ),
    ("dilation 7", "dilations", lambda op, images: op.dilation == 7),
    ("dilation 10", "dilations", lambda op, images: op.dilation == 10),
    ("7x7 kernels", "kernels", lambda op, images: op.kernel_size == 7),
    ("kernels above 8x8", "kernels", lambda op, images: op.kernel_size > 8),
    ("dilation above 12", "dilation-16", lambda op, images: op.dilation > 12),
    (
        "one channel",
        "one-channel",
        lambda op, images: images.shape[3] == 1 and op.kernel_size == 3,
    ),
    ("64 channels", "64", lambda op, images: images.shape[3] == 64),
    (
        "17 channels with dilation",
        "dilation-2-from-17",
        lambda op, images: op.dilation > 1 and images.shape[3] % 16 == 1,
    ),
)
for _name, _row, _test in _CONVOLUTIONS:
    FAULTS.op(
        f"Convolution wrong with {_name}",
        ops.Conv2D,
        f"forward/convolution-{_row}",
        f"gradient/convolution-{_row}",
    )(_wrong_if(_test))

_TRAINED = {setting.id for setting in UNUSUAL_SETTINGS}

_OTHERS: tuple[tuple[str, type[ops.Op], str, Test], ...] = (
    ("Pool of 4x4", ops.MaxPool2D, "pool-4x4-strides-3", lambda op, images: op.pool_size == 4),
    (
        "Pool with strides 1 and VALID padding",
        ops.MaxPool2D,
        "pool-strides-1-valid",
        lambda op, images: op.strides == 1 and op.padding == "VALID",
    ),
    ("Resize by 1", ops.Resize, "resize-1", lambda op, images: op.scale == 1),
    ("Resize by 4", ops.Resize, "resize-4", lambda op, images: op.scale == 4),
    ("Resize by 5", ops.Resize, "resize-5-half-pixel", lambda op, images: op.scale == 5),
    ("Concatenation of eight", ops.Concat, "concat-eight", lambda op, images: images.shape[3] == 2),
    (
        "Normalization of negative values",
        ops.MinMaxNormalize,
        "normalization-negative",
        lambda op, images: bool(images.max() < 0),
    ),
    (
        "Mean of one channel",
        ops.GlobalMean,
        "global-mean-one-channel",
        lambda op, images: images.shape[3] == 1,
    ),
)
for _name, _kind, _row, _test in _OTHERS:
    _rows = [f"forward/{_row}", *([f"gradient/{_row}"] if _row in _TRAINED else [])]
    FAULTS.op(f"{_name} wrong", _kind, *_rows)(_wrong_if(_test))


@FAULTS.op("Resize to the same size wrong", ops.ResizeLike, "forward/resize-like-same")
def same_size(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Shift a map that needs no resize."""
    output = build(op, inputs, roles)
    if inputs[0].value.shape[1:3] != inputs[1].value.shape[1:3]:
        return output
    return record(np.roll(output.value, 1, axis=2), [output], lambda gradient: [gradient])


@FAULTS.op("Resize back to a larger size wrong", ops.ResizeLike, "forward/resize-like-back")
def larger_size(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Ignore half-pixel coordinates if a map becomes larger."""
    if inputs[0].value.shape[1] < inputs[1].value.shape[1] < 2 * inputs[0].value.shape[1]:
        op = ops.ResizeLike("asymmetric")
    return build(op, inputs, roles)


@FAULTS.op("Gradient of equal maxima counted twice", ops.MaxPool2D, "gradient/pool-ties")
def ties(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Pass the gradient on to every pixel that equals the maximum."""
    output, images = build(op, inputs, roles), inputs[0].value
    if (op.pool_size, op.strides, op.padding) != (2, 2, "VALID"):
        return output
    _, height, width, _ = output.value.shape

    def enlarged(array: Array) -> Array:
        return array.repeat(2, axis=1).repeat(2, axis=2)

    def backward(gradient: Array) -> list[Array]:
        whole, rows, columns = np.zeros_like(images), slice(2 * height), slice(2 * width)
        is_maximum = images[:, rows, columns] == enlarged(output.value)
        whole[:, rows, columns] = enlarged(gradient) * is_maximum
        return [whole]

    return record(output.value, inputs, backward)


@FAULTS.op(
    "Large kernels with strides padded alike on both sides",
    ops.Conv2D,
    "forward/convolution-7x7-strides-2",
    "gradient/convolution-7x7-strides-2",
)
def padded_alike(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Pad half of the kernel, as other frameworks do."""
    images = inputs[0]
    even = not images.value.shape[1] % 2
    if op.kernel_size < 5 or op.strides != 2 or op.padding != "SAME" or not even:
        return build(op, inputs, roles)
    pad = op.kernel_size // 2
    padded = record(
        np.pad(images.value, ((0, 0), (pad, pad), (pad, pad), (0, 0))),
        [images],
        lambda gradient: [gradient[:, pad:-pad, pad:-pad]],
    )
    return build(replace(op, padding="VALID"), [padded], roles)


def _shifted(output: Variable, by: int) -> Variable:
    return record(
        np.roll(output.value, by, (1, 2)),
        [output],
        lambda gradient: [np.roll(gradient, -by, (1, 2))],
    )


@FAULTS.op(
    "Dilated 5x5 kernels have the extent of 3x3",
    ops.Conv2D,
    "forward/convolution-dilation-2-of-5x5",
    "gradient/convolution-dilation-2-of-5x5",
)
def dilated_like_3x3(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Pad too little at the top and left."""
    output = build(op, inputs, roles)
    return _shifted(output, op.dilation) if op.kernel_size > 3 and op.dilation > 1 else output


@FAULTS.op(
    "3x3 pools with strides 1 padded at the bottom alone",
    ops.MaxPool2D,
    "forward/pool-3x3-strides-1-same",
    "gradient/pool-3x3-strides-1-same",
)
def padded_below(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Begin at the first pixel."""
    output = build(op, inputs, roles)
    return (
        _shifted(output, 1) if (op.pool_size, op.strides, op.padding) == (3, 1, "SAME") else output
    )


@FAULTS.op(
    "An axis of one pixel is squeezed",
    ops.Conv2D,
    *(
        f"{_group}/convolution-one-{_axis}"
        for _group in ("forward", "gradient")
        for _axis in ("row", "column")
    ),
)
def squeezed(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Use the first row or column of the kernel, not the middle one."""
    height, width = inputs[0].value.shape[1:3]
    if min(height, width) > 1 or op.kernel_size == 1 or op.padding == "VALID":
        return build(op, inputs, roles)
    kernel, axis, by = roles["kernel"], 0 if height == 1 else 1, op.kernel_size // 2
    turned = record(
        np.roll(kernel.value, by, axis), [kernel], lambda gradient: [np.roll(gradient, -by, axis)]
    )
    return build(op, inputs, {**roles, "kernel": turned})
