"""Ops in settings that MSI-Net does not use: a builder honors every attribute, or refuses it."""

from __future__ import annotations

from msinet_core.conformance.scenarios.layers import Attach, Setting
from msinet_core.network.graph import GraphBuilder
from msinet_core.network.ops import (
    Concat,
    Conv2D,
    GlobalMean,
    MaxPool2D,
    MinMaxNormalize,
    Op,
    Resize,
    ResizeLike,
)

SHAPE = (2, 13, 17)
"""Larger than every kernel, and odd."""
LARGER = (2, 17, 31)
"""Larger than every dilation as well."""


def _one(op: Op) -> Attach:
    return lambda net, name: net.add("op", op, name)


def _of_one_channel(op: Op) -> Attach:
    def attach(net: GraphBuilder, name: str) -> str:
        net.add("single", Conv2D(1, 1, activation="linear", use_bias=False), name)
        return net.add("op", op, "single")

    return attach


def _back(net: GraphBuilder, name: str) -> str:
    """Resize to the odd size before a convolution with strides."""
    smaller = net.add("smaller", Conv2D(3, 1, strides=2, activation="linear"), name)
    return net.add("op", ResizeLike("half_pixel"), smaller, name)


def _same_size(net: GraphBuilder, name: str) -> str:
    return net.add("op", ResizeLike(), name, name)


def _mean_of_one_channel(net: GraphBuilder, name: str) -> str:
    """Mix the mean in before a ReLU, or it has no gradient."""
    single = net.add("single", Conv2D(1, 1, activation="linear", use_bias=False), name)
    spread = net.add("spread", ResizeLike(), net.add("mean", GlobalMean(), single), single)
    return net.add("op", Conv2D(5, 1), net.add("beside", Concat(), single, spread))


def _beside(*convolutions: Conv2D) -> Attach:
    """Concatenate convolutions of the same input."""

    def attach(net: GraphBuilder, name: str) -> str:
        parts = [net.add(f"part{index}", op, name) for index, op in enumerate(convolutions)]
        return net.add("op", Concat(), *parts)

    return attach


_CONVOLUTIONS = (
    ("4x4-same", Conv2D(5, 4)),
    ("5x5-same", Conv2D(5, 5)),
    ("2x2-valid", Conv2D(5, 2, padding="VALID")),
    ("2x2-strides-2", Conv2D(5, 2, strides=2)),
    ("1x1-strides-2", Conv2D(5, 1, strides=2, activation="linear")),
    ("strides-3", Conv2D(5, strides=3)),
    ("dilation-3-linear-no-bias", Conv2D(5, dilation=3, activation="linear", use_bias=False)),
    ("dilation-2-of-2x2", Conv2D(5, 2, dilation=2)),
    ("dilation-16", Conv2D(5, dilation=16)),
)

UNUSUAL_SETTINGS: tuple[Setting, ...] = (
    *(
        Setting(
            f"convolution-{name}",
            f"a convolution with {op.kernel_size}x{op.kernel_size} kernels, strides {op.strides}, "
            f"dilation {op.dilation}, {op.padding} padding and {op.activation} activation",
            _one(op),
            SHAPE,
            dilated=op.dilation > 1,
        )
        for name, op in _CONVOLUTIONS
    ),
    Setting(
        "convolution-one-channel",
        "a 3x3 convolution of one channel",
        _of_one_channel(Conv2D(5)),
        SHAPE,
    ),
    Setting(
        "convolution-dilations",
        "convolutions with dilations 1 to 16, side by side",
        _beside(*(Conv2D(2, dilation=dilation) for dilation in range(1, 17))),
        LARGER,
        dilated=True,
    ),
    Setting(
        "convolution-kernels",
        "convolutions with kernels of 1x1 to 11x11, side by side",
        _beside(*(Conv2D(2, size) for size in range(1, 12))),
        LARGER,
    ),
    Setting("convolution-64", "a convolution of 64 channels", _one(Conv2D(8)), SHAPE, channels=64),
    *(
        Setting(
            f"pool-{name}",
            f"a {op.pool_size}x{op.pool_size} pool with strides {op.strides} and {op.padding} "
            f"padding",
            _one(op),
            SHAPE,
            measure="selection",
        )
        for name, op in (
            ("4x4-strides-3", MaxPool2D(4, 3)),
            ("strides-1-valid", MaxPool2D(2, 1)),
            ("strides-2-same", MaxPool2D(2, 2, "SAME")),
        )
    ),
    Setting("resize-1", "a resize by 1", _one(Resize(1)), measure="op"),
    Setting("resize-4", "a resize by 4", _one(Resize(4)), measure="op"),
    Setting("resize-5-half-pixel", "a resize by 5", _one(Resize(5, "half_pixel")), measure="op"),
    Setting("resize-like-same", "a resize to the same size", _same_size, measure="op"),
    Setting("resize-like-back", "a resize back to an odd size", _back, SHAPE, measure="op"),
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
        _one(MinMaxNormalize()),
        low=-3.0,
        high=-1.0,
        measure="op",
    ),
    Setting(
        "pool-far-below-zero",
        "a pool with SAME padding over values near -20,000",
        _one(MaxPool2D(strides=1, padding="SAME")),
        low=-30_000.0,
        high=-10_000.0,
        measure="selection",
    ),
    Setting("resize-one-pixel", "a resize of one pixel", _one(Resize(2)), (2, 1, 1), measure="op"),
    Setting("global-mean-one-channel", "a global mean of one channel", _mean_of_one_channel),
)
"""Those whose gradients, taken around zero, would show nothing new."""
