"""Scenarios of prediction: every op by itself, images as they come, narrow networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np

from msinet_core.conformance.cases import Case, Float32, narrow_network
from msinet_core.conformance.scenario import (
    ORACLE,
    Array,
    Check,
    Outcome,
    Scenario,
    Subject,
    compare,
    compare_all,
    compare_bits,
)
from msinet_core.conformance.settings import CHANNELS, SETTINGS, Setting
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
    told = shape_on_the_device(subject, actual.shape, expected.shape)
    return replace(outcome, reason=f"{outcome.reason} {told}") if told else outcome


def shape_on_the_device(
    subject: Subject, actual: tuple[int, ...], expected: tuple[int, ...]
) -> str:
    """Say a wrong shape in the device's own order of axes, which is the one that builders see.

    Args:
        subject: The device.
        actual: Of a map, ``(N, H, W, C)`` as the host reads it.
        expected: What it should be.

    Returns:
        An empty string where the shape is right, or the device's order is the host's.
    """
    order = subject.spec.data_format
    if actual == expected or len(actual) != len(expected) or order == CANONICAL_DATA_FORMAT:
        return ""
    made, wanted = (
        tuple(shape[CANONICAL_DATA_FORMAT.index(axis)] for axis in order)
        for shape in (actual, expected)
    )
    told = f"On the device, in {order}, that is {made} in place of {wanted}."
    if made == expected:
        told += f" Those are the sizes of {CANONICAL_DATA_FORMAT}: a builder must return {order}."
    return told


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
    """Ask for every prediction before reading one: results may be lazy, never overwritten."""
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
    """Lend images that cannot be written, as a mapped file's; whoever writes raises."""
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
    """All the weights on few pixels, since the oracle has them to multiply too."""
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
            f"Prediction through {setting.phrase} equals the reference's.",
            _op_alone(setting),
            setting.measure,
        )
        for setting in SETTINGS
    ),
    Scenario(
        "forward/normalization-constant",
        "The normalization of a constant image is zero, not a division by zero.",
        _constant_map,
        "op",
    ),
    *(
        Scenario(
            f"forward/batch-{count}",
            f"A batch of {count} gives each image its own map.",
            _images_of((count, 8, 12)),
            "convolution",
        )
        for count in (1, 2, 3)
    ),
    Scenario(
        "forward/wide-images",
        "Images wider than high keep their axes.",
        _images_of((1, 6, 22)),
        "convolution",
    ),
    Scenario(
        "forward/high-images",
        "Images higher than wide keep their axes.",
        _images_of((1, 22, 6)),
        "convolution",
    ),
    Scenario(
        "forward/strided-images",
        "Images that are a view with steps and reversed rows are read as they look.",
        _not_contiguous(lambda images: images[::2, ::-1, ::2]),
        "convolution",
    ),
    Scenario(
        "forward/transposed-images",
        "Images whose memory is in another order of axes are read as they look.",
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
        "Images that cannot be written are read like others.",
        _read_only,
        "convolution",
    ),
    Scenario(
        "forward/images-unchanged",
        "Prediction leaves the host's images as they are.",
        _unchanged,
        "bits",
    ),
    Scenario(
        "forward/repeated",
        "The same images give the same map again, to the last bit.",
        _repeated,
        "bits",
        needs=("deterministic",),
    ),
    Scenario(
        "network/asymmetric",
        "A narrow MSI-Net with asymmetric resizes puts out the reference's map.",
        _narrow("asymmetric"),
        "network",
    ),
    Scenario(
        "network/half-pixel",
        "A narrow MSI-Net with half-pixel resizes puts out the reference's map.",
        _narrow("half_pixel"),
        "network",
    ),
    Scenario(
        "network/full-size",
        "MSI-Net with all its 24.9 million weights puts out the reference's map.",
        _full_size,
        "network",
        slow=True,
    ),
)
