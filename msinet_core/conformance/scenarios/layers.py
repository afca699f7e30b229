"""Every op in the settings that devices get wrong, for prediction and for gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from msinet_core.network.graph import GraphBuilder
from msinet_core.network.msinet import IMAGE_MEAN
from msinet_core.network.ops import (
    Concat,
    Conv2D,
    Coordinates,
    GlobalMean,
    MaxPool2D,
    MinMaxNormalize,
    Op,
    Resize,
    ResizeLike,
    SubtractMean,
)

Attach = Callable[[GraphBuilder, str], str]
"""Adds ops that read the named node; returns the name of their output."""

ODD = (2, 17, 29)
"""Images larger than every kernel, whose height and width no dilation divides."""


@dataclass(frozen=True)
class Setting:
    """An op with its attributes and input.

    Args:
        id: The last part of the rows' ids.
        phrase: What it is, to follow "through".
        attach: Adds it to a graph.
        shape: ``(N, H, W)`` of the images.
        low: The smallest value of an image.
        high: The largest value of an image.
        measure: The field of `Tolerances` for its output.
        dilated: Whether it contains a dilated convolution.
        channels: Of its input.
        lift: How far rows about gradients lift its output above zero, relative to the others.
    """

    id: str
    phrase: str
    attach: Attach
    shape: tuple[int, int, int] = (2, 7, 10)
    low: float = -1.0
    high: float = 1.0
    measure: str = "convolution"
    dilated: bool = False
    channels: int = 3
    lift: float = 1.0


def _one(op: Op) -> Attach:
    return lambda net, name: net.add("op", op, name)


def _concat(net: GraphBuilder, name: str) -> str:
    first = net.add("first", Conv2D(2, 1, activation="linear"), name)
    second = net.add("second", Conv2D(4, 1, activation="linear"), name)
    return net.add("op", Concat(), second, name, first)


def _global_mean(net: GraphBuilder, name: str) -> str:
    """Spread the mean and mix it in before a ReLU: the loss compares pixels with one another, so a
    linear function of what is equal for all pixels has no gradient.
    """
    mean = net.add("mean", GlobalMean(), name)
    spread = net.add("spread", ResizeLike(), mean, name)
    beside = net.add("beside", Concat(), name, spread)
    return net.add("op", Conv2D(5, 1), beside)


def _enlarge(coordinates: Coordinates) -> Attach:
    def attach(net: GraphBuilder, name: str) -> str:
        pooled = net.add("pooled", MaxPool2D(), name)
        return net.add("op", ResizeLike(coordinates), pooled, name)

    return attach


def _widen(coordinates: Coordinates) -> Attach:
    """Resize one axis only: the images are one pixel high or wide, which a SAME pool keeps."""

    def attach(net: GraphBuilder, name: str) -> str:
        pooled = net.add("pooled", MaxPool2D(2, 2, "SAME"), name)
        return net.add("op", ResizeLike(coordinates), pooled, name)

    return attach


def _shrink(coordinates: Coordinates) -> Attach:
    def attach(net: GraphBuilder, name: str) -> str:
        pooled = net.add("pooled", MaxPool2D(), name)
        return net.add("op", ResizeLike(coordinates), name, pooled)

    return attach


def _channels(inputs: int, op: Conv2D) -> Attach:
    """Widen the images to more channels for a convolution."""

    def attach(net: GraphBuilder, name: str) -> str:
        net.add("many", Conv2D(inputs, 1, activation="linear", use_bias=False), name)
        return net.add("op", op, "many")

    return attach


def _repeated(net: GraphBuilder, name: str) -> str:
    return net.add("op", Concat(), name, name)


_CONVOLUTIONS = (
    Setting("convolution-1x1", "a 1x1 convolution", _one(Conv2D(5, 1))),
    Setting("convolution-3x3-same", "a 3x3 convolution with SAME padding", _one(Conv2D(5))),
    Setting(
        "convolution-3x3-valid",
        "a 3x3 convolution with VALID padding",
        _one(Conv2D(5, padding="VALID")),
    ),
    Setting(
        "convolution-2x2-same",
        "a 2x2 convolution, which pads at the bottom and right only",
        _one(Conv2D(5, 2)),
    ),
    Setting(
        "convolution-square-kernel",
        "a convolution whose kernel has four equal axes",
        _one(Conv2D(3)),
    ),
    Setting(
        "convolution-linear",
        "a convolution without activation",
        _one(Conv2D(5, activation="linear")),
    ),
    Setting("convolution-no-bias", "a convolution without bias", _one(Conv2D(5, use_bias=False))),
    Setting(
        "convolution-strides-2-same",
        "a convolution with strides 2 and SAME padding",
        _one(Conv2D(5, strides=2)),
    ),
    Setting(
        "convolution-strides-2-valid",
        "a convolution with strides 2 and VALID padding",
        _one(Conv2D(5, strides=2, padding="VALID")),
    ),
    *(
        Setting(
            f"convolution-dilation-{rate}",
            f"a convolution with dilation {rate}, which divides neither height nor width",
            _one(Conv2D(5, dilation=rate)),
            ODD,
            dilated=True,
        )
        for rate in (2, 4, 8, 12)
    ),
    Setting(
        "convolution-dilation-4-valid",
        "a convolution with dilation 4 and VALID padding",
        _one(Conv2D(5, dilation=4, padding="VALID")),
        ODD,
        dilated=True,
    ),
    Setting(
        "convolution-dilation-12-small",
        "a convolution whose dilation is larger than the image",
        _one(Conv2D(5, dilation=12)),
        dilated=True,
    ),
    *(
        # oneDNN computes 16 channels together, and its bfloat16 weight gradient of such layers
        # wrote out of bounds.
        Setting(
            f"convolution-dilation-2-from-{channels}",
            f"a dilated convolution of {channels} channels at 30x40 pixels",
            _one(Conv2D(8, dilation=2)),
            (1, 30, 40),
            dilated=True,
            channels=channels,
            lift=3.0,
        )
        for channels in (17, 102)
    ),
    Setting(
        "convolution-512",
        "a convolution of 512 channels to 512, as in the encoder",
        _channels(512, Conv2D(512)),
        (1, 3, 4),
    ),
    Setting(
        "convolution-1280",
        "a 1x1 convolution of 1280 channels, as after the encoder",
        _channels(1280, Conv2D(8, 1)),
        (2, 3, 4),
    ),
    Setting(
        "many-values",
        "a convolution of more values than float32 can count, 2**24",
        _channels(64, Conv2D(1, 1)),
        (1, 520, 512),
    ),
    Setting(
        "convolution-17-to-33",
        "a convolution of 17 channels to 33, which no vector width divides",
        _channels(17, Conv2D(33)),
        (2, 5, 6),
    ),
)

_POOLS = (
    Setting(
        "pool-strides-2",
        "a pool with strides 2",
        _one(MaxPool2D()),
        (2, 6, 10),
        measure="selection",
    ),
    Setting(
        "pool-strides-2-odd",
        "a pool with strides 2 that drops an odd last row and column",
        _one(MaxPool2D()),
        (2, 7, 11),
        measure="selection",
    ),
    Setting(
        "pool-strides-1-same",
        "a pool with strides 1 and SAME padding over negative values",
        _one(MaxPool2D(strides=1, padding="SAME")),
        low=-3.0,
        high=-1.0,
        measure="selection",
    ),
    Setting(
        "pool-3x3-strides-2-same",
        "a 3x3 pool with strides 2 and SAME padding over negative values",
        _one(MaxPool2D(3, 2, "SAME")),
        low=-3.0,
        high=-1.0,
        measure="selection",
    ),
)

_MODES: tuple[tuple[Coordinates, str], ...] = (
    ("asymmetric", "asymmetric"),
    ("half_pixel", "half-pixel"),
)

_RESIZES = tuple(
    Setting(
        f"{name}-{mode}",
        f"{phrase} in {mode} coordinates",
        attach(coordinates),
        shape,
        measure="op",
    )
    for coordinates, mode in _MODES
    for name, phrase, shape, attach in (
        ("resize-2", "a resize by 2", (2, 5, 7), lambda mode: _one(Resize(2, mode))),
        ("resize-3", "a resize by 3", (2, 5, 7), lambda mode: _one(Resize(3, mode))),
        ("resize-like", "a resize to a size that is not a multiple", (2, 7, 11), _enlarge),
        ("resize-like-smaller", "a resize to a smaller size", (2, 7, 11), _shrink),
        ("resize-width", "a resize of the width only", (2, 1, 9), _widen),
        ("resize-height", "a resize of the height only", (2, 9, 1), _widen),
    )
)

_OTHERS = (
    Setting("global-mean", "a global mean mixed into its own input", _global_mean),
    Setting("concat", "a concatenation in the given order", _concat),
    Setting("concat-repeated", "a concatenation of one input with itself", _repeated),
    Setting(
        "normalization",
        "a normalization of each image",
        _one(MinMaxNormalize()),
        measure="op",
    ),
    Setting(
        "normalization-epsilon",
        "a normalization with an epsilon of 0.5",
        _one(MinMaxNormalize(epsilon=0.5)),
        measure="op",
    ),
    Setting(
        "subtract-mean",
        "a subtraction of one mean for each channel",
        _one(SubtractMean(IMAGE_MEAN)),
        low=0.0,
        high=255.0,
        measure="op",
    ),
)

SETTINGS: tuple[Setting, ...] = (*_CONVOLUTIONS, *_POOLS, *_RESIZES, *_OTHERS)
"""All of them, in the order of reports."""

LARGE = (1, 211, 391)
"""Images larger than the blocks and buffers of most kernels, and odd."""

_ON_LARGE_IMAGES = (
    *("convolution-1x1", "convolution-3x3-same", "convolution-strides-2-same"),
    *("convolution-dilation-4", "pool-strides-2", "pool-strides-1-same"),
    *("resize-2-asymmetric", "resize-2-half-pixel", "resize-like-asymmetric"),
    *("resize-like-half-pixel", "global-mean", "concat", "normalization", "subtract-mean"),
)

LARGE_SETTINGS: tuple[Setting, ...] = tuple(
    replace(
        setting,
        id=f"{setting.id}-large",
        phrase=f"{setting.phrase}, of 211x391 pixels",
        shape=LARGE,
        measure="coordinates" if "like" in setting.id else setting.measure,
    )
    for setting in SETTINGS
    if setting.id in _ON_LARGE_IMAGES
)
"""Settings that are checked on large images as well."""
