"""Rows about prediction: single ops, forms of images, narrow networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np

from msinet_core.conformance.cases import Case, Float32, narrow_network
from msinet_core.conformance.comparison import Array, Outcome, compare, compare_all, compare_bits
from msinet_core.conformance.scenario import ORACLE, Check, Scenario, Subject
from msinet_core.conformance.scenarios.layers import CHANNELS, SETTINGS, Setting
from msinet_core.network.graph import Graph, GraphBuilder
from msinet_core.network.layout import CANONICAL_DATA_FORMAT
from msinet_core.network.msinet import IMAGE_MEAN, msinet_graph
from msinet_core.network.ops import (
    Conv2D,
    Coordinates,
    MaxPool2D,
    MinMaxNormalize,
    Resize,
    SubtractMean,
)


def _op_alone(setting: Setting) -> Check:
    def check(subject: Subject) -> Outcome:
        net = GraphBuilder(CHANNELS)
        setting.attach(net, net.input)
        case = Case(net.build(), setting.shape, setting.low, setting.high)
        tolerance = getattr(subject.tolerances, setting.measure)
        return _same_prediction(subject, case, case.images, tolerance)

    return check


def _same_prediction(subject: Subject, case: Case, images: Float32, tolerance: float) -> Outcome:
    actual, expected = (
        np.asarray(device.compile(case.graph, case.state).predict(images))
        for device in (subject.device, subject.oracle)
    )
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


def _small_network() -> Graph:
    net = GraphBuilder(CHANNELS)
    net.add("first", Conv2D(4), net.input)
    net.add("pool", MaxPool2D(), "first")
    net.add("dilated", Conv2D(4, dilation=2), "pool")
    net.add("resize", Resize(), "dilated")
    net.add("last", Conv2D(1, activation="linear"), "resize")
    net.add("output", MinMaxNormalize(), "last")
    return net.build()


def _images_of(shape: tuple[int, int, int]) -> Check:
    def check(subject: Subject) -> Outcome:
        case = Case(_small_network(), shape)
        return _same_prediction(subject, case, case.images, subject.tolerances.convolution)

    return check


def _not_contiguous(view: Callable[[Float32], Float32]) -> Check:
    def check(subject: Subject) -> Outcome:
        case = Case(_small_network(), (3, 12, 20))
        return _same_prediction(subject, case, view(case.images), subject.tolerances.convolution)

    return check


def _many_sizes(subject: Subject) -> Outcome:
    """Predict three times before reading a result: results may be lazy, but not overwritten."""
    cases = [Case(_small_network(), shape) for shape in ((1, 8, 10), (2, 6, 16), (1, 8, 10))]
    images = [cases[0].images, cases[1].images, cases[2].images[:, ::-1]]
    device, oracle = (
        opened.compile(cases[0].graph, cases[0].state)
        for opened in (subject.device, subject.oracle)
    )
    actual = [device.predict(batch) for batch in images]
    expected = [np.asarray(oracle.predict(batch)) for batch in images]
    names = ("The first size", "Another size", "The first size again")
    pairs = dict(zip(names, zip(actual, expected, strict=True), strict=True))
    return compare_all(pairs, subject.tolerances.convolution)


def _constant_map(subject: Subject) -> Outcome:
    net = GraphBuilder(CHANNELS)
    net.add("op", MinMaxNormalize(), net.input)
    case = Case(net.build(), (2, 5, 7), low=3.0, high=3.0)
    return _same_prediction(subject, case, case.images, subject.tolerances.op)


def _read_only(subject: Subject) -> Outcome:
    """Pass images that cannot be written, like those of a mapped file."""
    case = Case(_small_network(), (2, 8, 12))
    images = case.images.copy()
    images.flags.writeable = False
    return _same_prediction(subject, case, images, subject.tolerances.convolution)


def _unchanged(subject: Subject) -> Outcome:
    net = GraphBuilder(CHANNELS)
    net.add("first", SubtractMean(IMAGE_MEAN), net.input)
    net.add("output", MinMaxNormalize(), "first")
    case = Case(net.build(), (2, 8, 12), low=0.0, high=255.0)
    images = case.images.copy()
    np.asarray(subject.device.compile(case.graph, case.state).predict(images))
    return compare_bits({"The images afterwards": (images, case.images)})


def _repeated(subject: Subject) -> Outcome:
    case = narrow_network()
    model = subject.device.compile(case.graph, case.state)
    first = np.array(model.predict(case.images))
    return compare_bits({"The second map": (model.predict(case.images), first)})


def _full_size(subject: Subject) -> Outcome:
    case = _full_size_case()
    actual = subject.device.compile(case.graph, case.state).predict(case.images)
    return compare(actual, _full_size_map_of_the_oracle(), subject.tolerances.network)


def _full_size_case() -> Case:
    """All weights on few pixels, since the oracle computes them as well."""
    return Case(msinet_graph(), (1, 40, 56), low=0.0, high=255.0)


def _narrow(coordinates: Coordinates) -> Check:
    def check(subject: Subject) -> Outcome:
        case = narrow_network(coordinates)
        return _same_prediction(subject, case, case.images, subject.tolerances.network)

    return check


@cache
def _full_size_map_of_the_oracle() -> Array:
    case = _full_size_case()
    return np.asarray(ORACLE.compile(case.graph, case.state).predict(case.images))


SCENARIOS: tuple[Scenario, ...] = (
    *(
        Scenario(
            f"forward/{setting.id}",
            f"Prediction through {setting.phrase} matches the reference.",
            _op_alone(setting),
            setting.measure,
        )
        for setting in SETTINGS
    ),
    Scenario(
        "forward/normalization-constant",
        "The normalization of a constant image is zero.",
        _constant_map,
        "op",
    ),
    *(
        Scenario(
            f"forward/batch-{count}",
            f"In a batch of {count}, each image has its own map.",
            _images_of((count, 8, 12)),
            "convolution",
        )
        for count in (1, 2, 3)
    ),
    Scenario(
        "forward/wide-images",
        "Images wider than high are not transposed.",
        _images_of((1, 6, 22)),
        "convolution",
    ),
    Scenario(
        "forward/high-images",
        "Images higher than wide are not transposed.",
        _images_of((1, 22, 6)),
        "convolution",
    ),
    Scenario(
        "forward/strided-images",
        "Images in a view with steps and reversed rows are read correctly.",
        _not_contiguous(lambda images: images[::2, ::-1, ::2]),
        "convolution",
    ),
    Scenario(
        "forward/transposed-images",
        "Images in a transposed view are read correctly.",
        _not_contiguous(lambda images: images.transpose(0, 2, 1, 3)),
        "convolution",
    ),
    Scenario(
        "forward/many-sizes",
        "One model predicts batches of several sizes, and no result overwrites another.",
        _many_sizes,
        "convolution",
        needs=("dynamic_shapes",),
    ),
    Scenario(
        "forward/read-only-images",
        "Read-only images are accepted.",
        _read_only,
        "convolution",
    ),
    Scenario(
        "forward/images-unchanged",
        "Prediction does not change the caller's images.",
        _unchanged,
        "bits",
    ),
    Scenario(
        "forward/repeated",
        "The same images give the same map again, bit for bit.",
        _repeated,
        "bits",
        needs=("deterministic",),
    ),
    Scenario(
        "network/asymmetric",
        "The map of a narrow MSI-Net with asymmetric resizes matches the reference.",
        _narrow("asymmetric"),
        "network",
    ),
    Scenario(
        "network/half-pixel",
        "The map of a narrow MSI-Net with half-pixel resizes matches the reference.",
        _narrow("half_pixel"),
        "network",
    ),
    Scenario(
        "network/full-size",
        "The map of MSI-Net with all 24.9 million weights matches the reference.",
        _full_size,
        "network",
        slow=True,
    ),
)
