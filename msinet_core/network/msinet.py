"""MSI-Net itself: a VGG16 encoder, an ASPP module and a decoder."""

from __future__ import annotations

import math
from collections.abc import Mapping

from msinet_core.errors import UsageError
from msinet_core.network.graph import Graph, GraphBuilder
from msinet_core.network.ops import (
    Concat,
    Conv2D,
    Coordinates,
    GlobalMean,
    MaxPool2D,
    MinMaxNormalize,
    Resize,
    ResizeLike,
    Size,
    SubtractMean,
)
from msinet_core.system.kinds import image_size

DEFAULT_IMAGE_SIZE: Size = (240, 320)
"""Height and width in pixels of the images that the published SALICON model was trained on."""

IMAGE_SIZE = image_size(DEFAULT_IMAGE_SIZE)
"""What settings accept as a size of images."""

PARTS: Mapping[str, tuple[str, ...]] = {
    "encoder": tuple(f"conv{block}/" for block in range(1, 6)),
    "aspp": ("aspp/",),
    "decoder": ("decoder/",),
}
"""The parts of the network, and the beginnings of their parameters' names."""

IMAGE_MEAN = (103.939, 116.779, 123.68)
"""ImageNet's channel means in BGR order. They are subtracted from RGB images, as in the training of
the published weights."""


def msinet_graph(width: float = 1.0, resize: Coordinates = "asymmetric") -> Graph:
    """Build MSI-Net, from ``(N, H, W, 3)`` RGB images in 0..255 to ``(N, H, W, 1)`` maps in 0..1.

    Args:
        width: Factor on the number of channels of every layer but the last; 1 is the published
            network.
        resize: ``"asymmetric"``, which the published weights require, or ``"half_pixel"``.

    Raises:
        UsageError: `width` is not a number above 0.

    Source: Kroner, Senden, Driessens, Goebel: Contextual encoder-decoder network for visual
        saliency prediction, Neural Networks 129, 2020, section 3.1 and figure 2.
    """
    if not 0 < width < math.inf:
        raise UsageError(f"Invalid width: {width}; must be a number above 0.")

    def channels(published: int) -> int:
        return max(1, round(published * width))

    net = GraphBuilder(channels=3)
    x = net.add("subtract_mean", SubtractMean(IMAGE_MEAN), net.input)

    # Encoder: VGG16, but the last two pools keep the resolution and conv5 is dilated instead.
    pooled = []
    for block, (layers, filters) in enumerate([(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)], 1):
        for layer in range(1, layers + 1):
            conv = Conv2D(channels(filters), dilation=2 if block == 5 else 1)
            x = net.add(f"conv{block}/conv{block}_{layer}", conv, x)
        pool = MaxPool2D() if block <= 3 else MaxPool2D(strides=1, padding="SAME")
        x = net.add(f"pool{block}", pool, x)
        pooled.append(x)
    features = net.add("encoder/concat", Concat(), *pooled[2:])

    # ASPP: the features at four dilations, and their global mean.
    branches = [net.add("aspp/conv1_1", Conv2D(channels(256), kernel_size=1), features)]
    for layer, dilation in enumerate((4, 8, 12), 2):
        conv = Conv2D(channels(256), dilation=dilation)
        branches.append(net.add(f"aspp/conv1_{layer}", conv, features))
    x = net.add("aspp/mean", GlobalMean(), features)
    x = net.add("aspp/conv1_5", Conv2D(channels(256), kernel_size=1, padding="VALID"), x)
    branches.append(net.add("aspp/resize", ResizeLike(resize), x, features))
    x = net.add("aspp/concat", Concat(), *branches)
    x = net.add("aspp/conv2", Conv2D(channels(256), kernel_size=1), x)

    # Decoder: three times, double the size and halve the channels.
    for layer, filters in enumerate((128, 64, 32), 1):
        x = net.add(f"decoder/resize{layer}", Resize(2, resize), x)
        x = net.add(f"decoder/conv{layer}", Conv2D(channels(filters)), x)
    x = net.add("decoder/conv4", Conv2D(1, activation="linear"), x)
    net.add("output", MinMaxNormalize(), x)
    return net.build()


def learning_rate_factors(
    graph: Graph, rates: Mapping[str, float]
) -> tuple[tuple[str, float], ...]:
    """Return the factors on the learning rate of some parts, for `Adam`.

    Args:
        graph: The network.
        rates: The factor of each part by its name in `PARTS`; 0 freezes it.

    Raises:
        UsageError: The network has no such part, or nothing is left to train.
    """
    names = [parameter.name for parameter in graph.parameters]
    for part in rates:
        if not any(name.startswith(PARTS[part]) for name in names):
            raise UsageError(f"The network has no part named {part}.")
    factors = [(start, factor) for part, factor in rates.items() for start in PARTS[part]]
    frozen = tuple(start for start, factor in factors if not factor)
    if all(name.startswith(frozen) for name in names):
        raise UsageError(
            "Nothing is left to train: every part of the network is frozen. Freeze fewer parts."
        )
    return tuple(factors)
