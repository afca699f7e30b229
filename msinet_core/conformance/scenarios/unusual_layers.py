"""Ops in settings that MSI-Net does not use: a builder honors every attribute, or refuses it."""

from __future__ import annotations

from msinet_core.conformance.scenarios.layers import (
    NEGATIVE,
    Attach,
    Setting,
    after,
    global_mean,
    twice,
)
from msinet_core.network.graph import GraphBuilder
from msinet_core.network.ops import (
    Concat,
    Conv2D,
    MaxPool2D,
    MinMaxNormalize,
    Resize,
    ResizeLike,
    SubtractMean,
)

SHAPE = (2, 13, 17)
"""Larger than every kernel, and odd."""
LARGER = (2, 17, 31)
"""Larger than every dilation as well."""


def _back(net: GraphBuilder, name: str) -> str:
    """Resize to the odd size before a convolution with strides."""
    smaller = net.add("smaller", Conv2D(3, 1, strides=2, activation="linear"), name)
    return net.add("op", ResizeLike("half_pixel"), smaller, name)


def _read_again(net: GraphBuilder, name: str) -> str:
    """Read inputs in several ops, two of a kind with other constants, and again at the end."""
    subtracted = net.add("subtracted", SubtractMean((0.3, 0.2, 0.1)), name)
    normalized = net.add("normalized", MinMaxNormalize(0.5), subtracted)
    otherwise = net.add("otherwise", MinMaxNormalize(0.01), subtracted)
    again = net.add("again", SubtractMean((1.3, 2.2, -0.1)), normalized)
    return net.add("op", Concat(), name, subtracted, normalized, otherwise, again)


def _beside(*convolutions: Conv2D) -> Attach:
    """Concatenate convolutions of the same input."""

    def attach(net: GraphBuilder, name: str) -> str:
        parts = [net.add(f"part{index}", op, name) for index, op in enumerate(convolutions)]
        return net.add("op", Concat(), *parts)

    return attach


UNUSUAL_SETTINGS: tuple[Setting, ...] = (
    *(
        Setting(
            f"convolution-{name}",
            f"a convolution with {op.kernel_size}x{op.kernel_size} kernels, strides {op.strides}, "
            f"dilation {op.dilation}, {op.padding} padding and {op.activation} activation",
            op,
            SHAPE,
        )
        for name, op in (
            ("4x4-same", Conv2D(5, 4)),
            ("5x5-same", Conv2D(5, 5)),
            ("2x2-valid", Conv2D(5, 2, padding="VALID")),
            ("2x2-strides-2", Conv2D(5, 2, strides=2)),
            ("1x1-strides-2", Conv2D(5, 1, strides=2, activation="linear")),
            ("strides-3", Conv2D(5, strides=3)),
            (
                "dilation-3-linear-no-bias",
                Conv2D(5, dilation=3, activation="linear", use_bias=False),
            ),
            ("dilation-2-of-2x2", Conv2D(5, 2, dilation=2)),
            ("dilation-16", Conv2D(5, dilation=16)),
            ("dilation-2-of-5x5", Conv2D(5, 5, dilation=2)),
        )
    ),
    Setting(
        "convolution-7x7-strides-2",
        "a convolution with 7x7 kernels and strides 2 of an even image",
        Conv2D(5, 7, strides=2),
        (2, 14, 20),
    ),
    Setting("convolution-one-row", "a convolution of images one pixel high", Conv2D(5), (2, 1, 9)),
    Setting(
        "convolution-one-column", "a convolution of images one pixel wide", Conv2D(5), (2, 9, 1)
    ),
    Setting(
        "convolution-one-channel",
        "a 3x3 convolution of one channel",
        after(1, Conv2D(5)),
        SHAPE,
    ),
    Setting(
        "convolution-dilations",
        "convolutions with dilations 1 to 16, side by side",
        _beside(*(Conv2D(2, dilation=dilation) for dilation in range(1, 17))),
        LARGER,
    ),
    Setting(
        "convolution-kernels",
        "convolutions with kernels of 1x1 to 11x11, side by side",
        _beside(*(Conv2D(2, size) for size in range(1, 12))),
        LARGER,
    ),
    Setting("convolution-64", "a convolution of 64 channels", Conv2D(8), SHAPE, channels=64),
    *(
        Setting(
            f"pool-{name}",
            f"a {op.pool_size}x{op.pool_size} pool with strides {op.strides} and {op.padding} "
            f"padding",
            op,
            SHAPE,
            "selection",
        )
        for name, op in (
            ("4x4-strides-3", MaxPool2D(4, 3)),
            ("strides-1-valid", MaxPool2D(2, 1)),
            ("strides-2-same", MaxPool2D(2, 2, "SAME")),
            ("3x3-strides-1-same", MaxPool2D(3, 1, "SAME")),
        )
    ),
    Setting("resize-1", "a resize by 1", Resize(1), measure="op"),
    Setting("resize-4", "a resize by 4", Resize(4), measure="op"),
    Setting("resize-5-half-pixel", "a resize by 5", Resize(5, "half_pixel"), measure="op"),
    Setting("resize-like-same", "a resize to the same size", twice(ResizeLike()), measure="op"),
    Setting("resize-like-back", "a resize back to an odd size", _back, SHAPE, "op"),
    Setting(
        "read-again",
        "ops of one kind with other constants, whose inputs are read again",
        _read_again,
        measure="op",
    ),
    Setting(
        "concat-eight",
        "a concatenation of eight inputs",
        _beside(*(Conv2D(2, 1, activation="linear") for _ in range(8))),
    ),
)
"""Those with rows about prediction and gradients."""

PREDICTED_SETTINGS: tuple[Setting, ...] = (
    Setting(
        "normalization-negative",
        "a normalization of negative values",
        MinMaxNormalize(),
        measure="op",
        range=NEGATIVE,
    ),
    Setting(
        "pool-far-below-zero",
        "a pool with SAME padding over values near -20,000",
        MaxPool2D(strides=1, padding="SAME"),
        measure="selection",
        range=(-30_000.0, -10_000.0),
    ),
    Setting("resize-one-pixel", "a resize of one pixel", Resize(2), (2, 1, 1), "op"),
    Setting("global-mean-one-channel", "a global mean of one channel", after(1, global_mean)),
)
"""Those whose gradients, taken around zero, would show nothing new."""
