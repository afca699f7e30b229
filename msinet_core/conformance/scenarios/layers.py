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

NEGATIVE = (-3.0, -1.0)

ODD = (2, 17, 29)
"""Images larger than every kernel, whose height and width no dilation divides."""

LARGE = (1, 211, 391)
"""Images larger than the blocks and buffers of most kernels, and odd."""


@dataclass(frozen=True)
class Setting:
    """An op with its attributes and input.

    Args:
        id: The last part of the rows' ids.
        phrase: What it is, to follow "through".
        op: The op, or a function that adds several.
        shape: ``(N, H, W)`` of the images.
        measure: The field of `Tolerances` for its output.
        range: The smallest and the largest value of an image.
        channels: Of its input.
        lift: How far rows about gradients lift its output above zero, relative to the others.
    """

    id: str
    phrase: str
    op: Op | Attach
    shape: tuple[int, int, int] = (2, 7, 10)
    measure: str = "convolution"
    range: tuple[float, float] = (-1.0, 1.0)
    channels: int = 3
    lift: float = 1.0

    def add(self, net: GraphBuilder, name: str) -> str:
        """Add it to a graph.

        Args:
            net: The graph.
            name: The node that it reads.

        Returns:
            The name of its output.
        """
        return _add(self.op, net, name)

    @property
    def clause(self) -> str:
        """The phrase in a sentence that goes on: a clause after a comma ends with one too."""
        return f"{self.phrase}," if self.phrase.count(",") == 1 else self.phrase

    @property
    def dilated(self) -> bool:
        """Whether it contains a dilated convolution."""
        net = GraphBuilder(self.channels)
        self.add(net, net.input)
        return any(getattr(node.op, "dilation", 1) > 1 for node in net.build().nodes)


def _add(op: Op | Attach, net: GraphBuilder, name: str) -> str:
    return net.add("op", op, name) if isinstance(op, Op) else op(net, name)


def _concat(net: GraphBuilder, name: str) -> str:
    first = net.add("first", Conv2D(2, 1, activation="linear"), name)
    second = net.add("second", Conv2D(4, 1, activation="linear"), name)
    return net.add("op", Concat(), second, name, first)


def global_mean(net: GraphBuilder, name: str) -> str:
    """Spread the mean and mix it in before a ReLU: the loss compares pixels with one another, so a
    linear function of what is equal for all pixels has no gradient.
    """
    spread = net.add("spread", ResizeLike(), net.add("mean", GlobalMean(), name), name)
    return net.add("op", Conv2D(5, 1), net.add("beside", Concat(), name, spread))


def _enlarge(coordinates: Coordinates) -> Attach:
    def attach(net: GraphBuilder, name: str) -> str:
        return net.add("op", ResizeLike(coordinates), net.add("pooled", MaxPool2D(), name), name)

    return attach


def _widen(coordinates: Coordinates) -> Attach:
    """Resize one axis only: the images are one pixel high or wide, which a SAME pool keeps."""

    def attach(net: GraphBuilder, name: str) -> str:
        pooled = net.add("pooled", MaxPool2D(2, 2, "SAME"), name)
        return net.add("op", ResizeLike(coordinates), pooled, name)

    return attach


def _shrink(coordinates: Coordinates) -> Attach:
    def attach(net: GraphBuilder, name: str) -> str:
        return net.add("op", ResizeLike(coordinates), name, net.add("pooled", MaxPool2D(), name))

    return attach


def after(channels: int, op: Op | Attach) -> Attach:
    """Give the images another number of channels before an op.

    Args:
        channels: The number.
        op: The op, or a function that adds several.
    """
    many = Conv2D(channels, 1, activation="linear", use_bias=False)
    return lambda net, name: _add(op, net, net.add("many", many, name))


def twice(op: Op) -> Attach:
    """Give an op its input twice.

    Args:
        op: It takes two inputs.
    """
    return lambda net, name: net.add("op", op, name, name)


_CONVOLUTIONS = (
    Setting("convolution-1x1", "a 1x1 convolution", Conv2D(5, 1)),
    Setting("convolution-3x3-same", "a 3x3 convolution with SAME padding", Conv2D(5)),
    Setting(
        "convolution-3x3-valid",
        "a 3x3 convolution with VALID padding",
        Conv2D(5, padding="VALID"),
    ),
    Setting(
        "convolution-2x2-same",
        "a 2x2 convolution, which pads at the bottom and right only",
        Conv2D(5, 2),
    ),
    Setting(
        "convolution-square-kernel",
        "a convolution whose kernel has four equal axes",
        Conv2D(3),
    ),
    Setting(
        "convolution-linear",
        "a convolution without activation",
        Conv2D(5, activation="linear"),
    ),
    Setting("convolution-no-bias", "a convolution without bias", Conv2D(5, use_bias=False)),
    Setting(
        "convolution-strides-2-same",
        "a convolution with strides 2 and SAME padding",
        Conv2D(5, strides=2),
    ),
    Setting(
        "convolution-strides-2-valid",
        "a convolution with strides 2 and VALID padding",
        Conv2D(5, strides=2, padding="VALID"),
    ),
    *(
        Setting(
            f"convolution-dilation-{rate}",
            f"a convolution with dilation {rate}, which divides neither height nor width",
            Conv2D(5, dilation=rate),
            ODD,
        )
        for rate in (2, 4, 8, 12)
    ),
    *(
        Setting(
            f"convolution-dilation-{rate}-divides",
            f"a convolution with dilation {rate}, which divides height and width",
            Conv2D(5, dilation=rate),
            (2, 16, 24),
        )
        for rate in (4, 8)
    ),
    Setting(
        "convolution-dilation-12-from-512",
        "a convolution of 512 channels with dilation 12, all of whose taps see the image",
        Conv2D(4, dilation=12),
        (1, 30, 40),
        channels=512,
        measure="wide_convolution",
    ),
    Setting(
        "convolution-128-of-five-images",
        "a convolution of 128 channels to 128, for five images",
        after(128, Conv2D(128)),
        (5, 16, 16),
        "wide_convolution",
        lift=3.0,
    ),
    Setting(
        "convolution-dilation-4-valid",
        "a convolution with dilation 4 and VALID padding",
        Conv2D(5, dilation=4, padding="VALID"),
        ODD,
    ),
    Setting(
        "convolution-dilation-12-small",
        "a convolution whose dilation is larger than the image",
        Conv2D(5, dilation=12),
    ),
    *(
        # oneDNN computes 16 channels together, and its bfloat16 weight gradient of such layers
        # wrote out of bounds.
        Setting(
            f"convolution-dilation-2-from-{channels}",
            f"a dilated convolution of {channels} channels at 30x40 pixels",
            Conv2D(8, dilation=2),
            (1, 30, 40),
            channels=channels,
            lift=3.0,
        )
        for channels in (17, 102)
    ),
    Setting(
        "convolution-512",
        "a convolution of 512 channels to 512, as in the encoder",
        after(512, Conv2D(512)),
        (1, 3, 4),
    ),
    Setting(
        "convolution-1280",
        "a 1x1 convolution of 1280 channels, as after the encoder",
        after(1280, Conv2D(8, 1)),
        (2, 3, 4),
    ),
    Setting(
        "many-values",
        "a convolution of more values than float32 can count, 2**24",
        after(64, Conv2D(1, 1)),
        (1, 520, 512),
    ),
    Setting(
        "convolution-17-to-33",
        "a convolution of 17 channels to 33, which no vector width divides",
        after(17, Conv2D(33)),
        (2, 5, 6),
    ),
)

_POOLS = (
    Setting("pool-strides-2", "a pool with strides 2", MaxPool2D(), (2, 6, 10), "selection"),
    Setting(
        "pool-strides-2-odd",
        "a pool with strides 2 that drops an odd last row and column",
        MaxPool2D(),
        (2, 7, 11),
        "selection",
    ),
    Setting(
        "pool-strides-1-same",
        "a pool with strides 1 and SAME padding over negative values",
        MaxPool2D(strides=1, padding="SAME"),
        measure="selection",
        range=NEGATIVE,
    ),
    Setting(
        "pool-3x3-strides-2-same",
        "a 3x3 pool with strides 2 and SAME padding over negative values",
        MaxPool2D(3, 2, "SAME"),
        measure="selection",
        range=NEGATIVE,
    ),
)

_MODES: tuple[tuple[Coordinates, str], ...] = (
    ("asymmetric", "asymmetric"),
    ("half_pixel", "half-pixel"),
)

_RESIZES = tuple(
    Setting(f"{name}-{mode}", f"{phrase} in {mode} coordinates", op, shape, "op")
    for coordinates, mode in _MODES
    for name, phrase, shape, op in (
        ("resize-2", "a resize by 2", (2, 5, 7), Resize(2, coordinates)),
        ("resize-3", "a resize by 3", (2, 5, 7), Resize(3, coordinates)),
        (
            "resize-like",
            "a resize to a size that is not a multiple",
            (2, 7, 11),
            _enlarge(coordinates),
        ),
        ("resize-like-smaller", "a resize to a smaller size", (2, 7, 11), _shrink(coordinates)),
        ("resize-width", "a resize of the width only", (2, 1, 9), _widen(coordinates)),
        ("resize-height", "a resize of the height only", (2, 9, 1), _widen(coordinates)),
    )
)

_OTHERS = (
    Setting("global-mean", "a global mean mixed into its own input", global_mean),
    Setting("concat", "a concatenation in the given order", _concat),
    Setting("concat-repeated", "a concatenation of one input with itself", twice(Concat())),
    Setting("normalization", "a normalization of each image", MinMaxNormalize(), measure="op"),
    Setting(
        "normalization-epsilon",
        "a normalization with an epsilon of 0.5",
        MinMaxNormalize(epsilon=0.5),
        measure="op",
    ),
    Setting(
        "subtract-mean",
        "a subtraction of one mean for each channel",
        SubtractMean(IMAGE_MEAN),
        measure="op",
        range=(0.0, 255.0),
    ),
)

SETTINGS: tuple[Setting, ...] = (*_CONVOLUTIONS, *_POOLS, *_RESIZES, *_OTHERS)
"""All of them, in the order of reports."""

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
