"""Rows about prediction: single ops, batches, forms of images, narrow networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np

from msinet_core.conformance.cases import MIX, Case, Float32, chain, narrow_network
from msinet_core.conformance.comparison import Array, Outcome, compare, compare_all, compare_bits
from msinet_core.conformance.scenario import ORACLE, Rows, Subject
from msinet_core.conformance.scenarios.layers import (
    LARGE_SETTINGS,
    SETTINGS,
    Setting,
    after,
)
from msinet_core.conformance.scenarios.unusual_layers import PREDICTED_SETTINGS, UNUSUAL_SETTINGS
from msinet_core.network.adam import Adam
from msinet_core.network.graph import Graph, GraphBuilder
from msinet_core.network.layout import CANONICAL_DATA_FORMAT
from msinet_core.network.loss import KLDivergence
from msinet_core.network.msinet import IMAGE_MEAN
from msinet_core.network.ops import (
    Conv2D,
    Coordinates,
    MaxPool2D,
    MinMaxNormalize,
    Resize,
    SubtractMean,
)

ROWS = Rows()


def _op_alone(subject: Subject, setting: Setting) -> Outcome:
    net = GraphBuilder(setting.channels)
    setting.add(net, net.input)
    case = Case(net.build(), setting.shape, *setting.range)
    tolerance = getattr(subject.tolerances, setting.measure)
    return same_prediction(subject, case, case.images, tolerance)


def same_prediction(subject: Subject, case: Case, images: Float32, tolerance: float) -> Outcome:
    """Compare a prediction with the oracle's.

    Args:
        subject: The device.
        case: The graph and its weights.
        images: The images.
        tolerance: The largest difference that passes.
    """
    models = subject.compile(case.graph, case.state)
    actual, expected = (np.asarray(model.predict(images)) for model in models)
    outcome = compare(actual, expected, tolerance)
    hint = shape_hint(subject, actual.shape, expected.shape)
    return replace(outcome, reason=f"{outcome.reason} {hint}") if hint else outcome


def shape_hint(subject: Subject, actual: tuple[int, ...], expected: tuple[int, ...]) -> str:
    """Explain a wrong shape in the device's own data format, which its builders see.

    Args:
        subject: The device.
        actual: The shape of a map on the host, ``(N, H, W, C)``.
        expected: The right shape.

    Returns:
        An empty string if the shape is right, or the data format is the host's.
    """
    order = subject.spec.data_format
    if actual == expected or len(actual) != len(expected) or order == CANONICAL_DATA_FORMAT:
        return ""
    native, expected_native = (
        tuple(shape[CANONICAL_DATA_FORMAT.index(axis)] for axis in order)
        for shape in (actual, expected)
    )
    hint = f"In {order}, as on the device: {native} instead of {expected_native}."
    if native == expected:
        hint += f" That is {CANONICAL_DATA_FORMAT}: a builder must return {order}."
    return hint


def small_network() -> Graph:
    """Return a network of every kind of op that changes the size."""
    return chain(
        first=Conv2D(4),
        pool=MaxPool2D(),
        dilated=Conv2D(4, dilation=2),
        resize=Resize(),
        last=Conv2D(1, activation="linear"),
        output=MinMaxNormalize(),
    )


def _images_of(
    subject: Subject,
    shape: tuple[int, int, int],
    view: Callable[[Float32], Float32] = lambda images: images,
) -> Outcome:
    case = Case(small_network(), shape)
    return same_prediction(subject, case, view(case.images), subject.tolerances.convolution)


def _narrow(subject: Subject, coordinates: Coordinates) -> Outcome:
    case = narrow_network(coordinates)
    return same_prediction(subject, case, case.images, subject.tolerances.network)


for _setting in (*SETTINGS, *UNUSUAL_SETTINGS, *PREDICTED_SETTINGS, *LARGE_SETTINGS):
    ROWS.row(
        f"forward/{_setting.id}",
        _setting.measure,
        description=f"Prediction through {_setting.clause} matches the reference.",
    )(partial(_op_alone, setting=_setting))


@ROWS.row("forward/convolution-128-channels", "wide_convolution")
def _wide_convolution(subject: Subject) -> Outcome:
    """Prediction through a 3x3 convolution of 128 to 128 channels at 64x64 matches the
    reference.
    """
    case = Case(chain(128, op=Conv2D(128)), (1, 64, 64))
    return same_prediction(subject, case, case.images, subject.tolerances.wide_convolution)


@ROWS.row("forward/convolution-64-large", "wide_convolution")
def _second_convolution(subject: Subject) -> Outcome:
    """Prediction through a 3x3 convolution of 64 to 64 channels at 240x320 matches the reference.

    It is MSI-Net's second one, and has the most pixels of its wide ones.
    """
    net = GraphBuilder(3)
    after(64, Conv2D(64))(net, net.input)
    case = Case(net.build(), (1, 240, 320))
    return same_prediction(subject, case, case.images, subject.tolerances.wide_convolution)


@ROWS.row("forward/normalization-constant", "op")
def _constant_image(subject: Subject) -> Outcome:
    """The normalization of a constant image is zero."""
    case = Case(chain(op=MinMaxNormalize()), (2, 5, 7), low=3.0, high=3.0)
    return same_prediction(subject, case, case.images, subject.tolerances.op)


for _count in (1, 2, 3, 5, 6, 7, 9, 12, 16, 17, 24, 33, 130):
    ROWS.row(
        f"forward/batch-{_count}",
        "convolution",
        description=f"In a batch of {_count}, each image has its own map.",
    )(partial(_images_of, shape=(_count, 8, 12)))

for _name, _text, _shape in (
    ("wide-images", "Images wider than high are not transposed.", (1, 6, 22)),
    ("high-images", "Images higher than wide are not transposed.", (1, 22, 6)),
    ("equal-axes", "A batch of eight images of 8x8 pixels is not transposed.", (8, 8, 8)),
    ("square-images", "Square images are not transposed.", (3, 8, 8)),
    ("long-images", "Images of 8x4112 pixels match the reference.", (1, 8, 4112)),
    ("tall-images", "Images of 4112x8 pixels match the reference.", (1, 4112, 8)),
):
    ROWS.row(f"forward/{_name}", "convolution", description=_text)(
        partial(_images_of, shape=_shape)
    )


@ROWS.row("forward/strided-images", "convolution")
def _strided_images(subject: Subject) -> Outcome:
    """Images in a view with steps and reversed rows are read correctly."""
    return _images_of(subject, (3, 12, 20), lambda images: images[::2, ::-1, ::2])


@ROWS.row("forward/transposed-images", "convolution")
def _transposed_images(subject: Subject) -> Outcome:
    """Images in a transposed view are read correctly."""
    return _images_of(subject, (3, 12, 20), lambda images: images.transpose(0, 2, 1, 3))


@ROWS.row("forward/read-only-images", "convolution")
def _read_only_images(subject: Subject) -> Outcome:
    """Read-only images are accepted."""
    case = Case(small_network(), (2, 8, 12))
    case.images.flags.writeable = False
    return same_prediction(subject, case, case.images, subject.tolerances.convolution)


@ROWS.row("forward/large-batch", "convolution")
def _large_batch(subject: Subject) -> Outcome:
    """Eight images of 240x320 pixels in one batch, as ``predict`` takes, match the reference.

    Behind the first convolution they have 39 million values, more than 128 MiB.
    """
    case = Case(chain(first=Conv2D(64, 1), last=MIX), (8, 240, 320))
    return same_prediction(subject, case, case.images, subject.tolerances.convolution)


@ROWS.row("forward/megapixels", "op")
def _megapixels(subject: Subject) -> Outcome:
    """An image of 1,030x1,024 pixels matches the reference.

    More than 2**20 pixels, as photos have that are predicted at their own size.
    """
    case = Case(chain(only=SubtractMean(IMAGE_MEAN)), (1, 1030, 1024), 0.0, 255.0)
    return same_prediction(subject, case, case.images, subject.tolerances.op)


@ROWS.row("forward/megapixels-of-each-op", "convolution")
def _megapixels_of_each_op(subject: Subject) -> Outcome:
    """A convolution, a pool, a resize and a normalization of 1,030x1,024 pixels match the
    reference.
    """
    graph = chain(
        1,
        convolution=Conv2D(1, activation="linear"),
        pool=MaxPool2D(),
        resize=Resize(),
        output=MinMaxNormalize(),
    )
    case = Case(graph, (1, 1030, 1024))
    return same_prediction(subject, case, case.images, subject.tolerances.convolution)


@ROWS.row("forward/many-widths", "convolution", "dynamic_shapes")
def _many_widths(subject: Subject) -> Outcome:
    """One model predicts images of 40 widths, as in a folder of photos of any size, and some again;
    if it trains, after a step.
    """
    cases = [Case(small_network(), (1, 8, width)) for width in (*range(8, 48), *range(8, 13))]
    training: dict[str, Any] = {}
    capabilities = subject.spec.capabilities
    if capabilities.training and capabilities.dilated_gradient:
        training = {"loss": KLDivergence(), "optimizer": Adam()}
    models = subject.compile(cases[0].graph, cases[0].state, **training)
    if training:
        for model in models:
            np.asarray(model.predict(cases[0].images))
            float(model.train_step([cases[0].batch], 1e-3))
    pairs: dict[str, tuple[Any, Array]] = {}
    for index, case in enumerate(cases):
        actual, expected = (model.predict(case.images) for model in models)
        pairs[f"Map {index}, of 8x{case.shape[2]} pixels,"] = actual, np.asarray(expected)
    return compare_all(pairs, subject.tolerances.convolution)


@ROWS.row("forward/many-sizes", "convolution", "dynamic_shapes")
def _many_sizes(subject: Subject) -> Outcome:
    """One model predicts batches of several sizes, and no result overwrites another.

    Predict three times before reading a result: results may be lazy, but not overwritten.
    """
    cases = [Case(small_network(), shape) for shape in ((1, 8, 10), (2, 6, 16), (1, 8, 10))]
    images = [cases[0].images, cases[1].images, cases[2].images[:, ::-1]]
    device, oracle = subject.compile(cases[0].graph, cases[0].state)
    actual = [device.predict(batch) for batch in images]
    expected = [np.asarray(oracle.predict(batch)) for batch in images]
    names = ("The first size", "Another size", "The first size again")
    pairs = dict(zip(names, zip(actual, expected, strict=True), strict=True))
    return compare_all(pairs, subject.tolerances.convolution)


@ROWS.row("forward/images-unchanged", "bits")
def _unchanged(subject: Subject) -> Outcome:
    """Prediction does not change the caller's images.

    Read the result before comparing, since a lazy one may be computed late.
    """
    graph = chain(first=SubtractMean(IMAGE_MEAN), output=MinMaxNormalize())
    case = Case(graph, (2, 8, 12), low=0.0, high=255.0)
    images = case.images.copy()
    np.asarray(subject.device.compile(case.graph, case.state).predict(images))
    return compare_bits({"The images afterwards": (images, case.images)})


@ROWS.row("forward/repeated", "bits", "deterministic")
def _same_again(subject: Subject) -> Outcome:
    """The same images give the same map again, bit for bit."""
    case = narrow_network()
    model = subject.device.compile(case.graph, case.state)
    first = np.array(model.predict(case.images))
    return compare_bits({"The second map": (model.predict(case.images), first)})


for _coordinates, _name in (("asymmetric", "asymmetric"), ("half_pixel", "half-pixel")):
    ROWS.row(
        f"network/{_name}",
        "network",
        description=f"The map of a narrow MSI-Net with {_name} resizes matches the reference.",
    )(partial(_narrow, coordinates=_coordinates))  # type: ignore[arg-type]


@ROWS.row("network/extreme-images", "network")
def _extreme_images(subject: Subject) -> Outcome:
    """The maps of black, white, gray and random images in one batch match the reference."""
    case = narrow_network(count=4)
    images = case.images.copy()
    images[0], images[1], images[2] = 0.0, 255.0, 126.0
    return same_prediction(subject, case, images, subject.tolerances.network)


@cache
def _map_of_published_size() -> Array:
    case = narrow_network(count=1, size=(240, 320))
    return np.asarray(ORACLE.compile(case.graph, case.state).predict(case.images))


@ROWS.row("network/240x320", "network")
def _published_size(subject: Subject) -> Outcome:
    """The map of a narrow MSI-Net at 240x320 pixels matches the reference."""
    case = narrow_network(count=1, size=(240, 320))
    actual = subject.device.compile(case.graph, case.state).predict(case.images)
    return compare(actual, _map_of_published_size(), subject.tolerances.network)
