"""Rows about gradients, which are read from Adam's first moment after one step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from msinet_core.conformance.cases import LIFT, LIFTED, MIX, Case, chain, narrow_network
from msinet_core.conformance.comparison import Array, Outcome, compare_norms, worst
from msinet_core.conformance.scenario import Rows, Subject
from msinet_core.conformance.scenarios.layers import LARGE_SETTINGS, SETTINGS, Setting
from msinet_core.conformance.scenarios.losses import SUMS
from msinet_core.conformance.scenarios.unusual_layers import UNUSUAL_SETTINGS
from msinet_core.conformance.states import first_gradients
from msinet_core.device import Device
from msinet_core.network.adam import Adam
from msinet_core.network.graph import GraphBuilder
from msinet_core.network.loss import LOSSES, KLDivergence, Loss
from msinet_core.network.ops import Conv2D, MaxPool2D, MinMaxNormalize, SubtractMean
from msinet_core.network.state import Batch

MANY_PIXELS = 1000
"""In a batch: of random images with more, sums of gradients lose digits."""

TRAINS_DILATED = ("training", "dilated_gradient")
"""The capabilities that training MSI-Net needs."""

ROWS = Rows()


def gradients(
    device: Device, case: Case, batches: Sequence[Batch], loss: Loss | None = None
) -> Mapping[str, Array]:
    """Return the gradient of the mean loss by parameter, through the public contract only.

    Args:
        device: The device.
        case: The graph and its weights.
        batches: The batches of one step.
        loss: None for the default.
    """
    model = device.compile(case.graph, case.state, loss=loss or KLDivergence(), optimizer=Adam())
    model.train_step(batches, 1e-5)
    return first_gradients(model.state())


def same_gradients(
    subject: Subject,
    case: Case,
    batches: Sequence[Batch],
    tolerance: float,
    loss: Loss | None = None,
) -> Outcome:
    """Compare the gradient of every parameter with the oracle's for one joint batch.

    Args:
        subject: The device.
        case: The graph, its weights, and the joint batch for the oracle.
        batches: The same images, as the device gets them.
        tolerance: The largest difference that passes.
        loss: None for the default.
    """
    actual = gradients(subject.device, case, batches, loss)
    expected = gradients(subject.oracle, case, [case.batch], loss)
    missing = expected.keys() - actual.keys()
    if missing:
        return Outcome(np.inf, 0.0, f"No moments for: {', '.join(sorted(missing))}.")
    pairs = {f"The gradient of {name}": (actual[name], expected[name]) for name in expected}
    return compare_norms(pairs, tolerance)


def gradient_case(setting: Setting) -> Case:
    """Put an op where its gradients are visible: after a convolution, whose kernel receives the
    gradient of the op's input, and before a mix of its channels that is lifted above zero.

    On a positive map the loss is smooth. Near zero it bends so sharply that rounding decides, and a
    normalization would hide what moves all pixels equally.

    Args:
        setting: The op.
    """
    channels = setting.channels
    net = GraphBuilder(channels)
    net.add("before", Conv2D(channels, 1, activation="linear", use_bias=False), net.input)
    net.add("after", MIX, setting.add(net, "before"))
    low, high = setting.range
    reach = (high - low) / 2
    net.add("lifted", SubtractMean((-LIFT * setting.lift * reach,)), "after")
    return Case(net.build(), setting.shape, -reach, reach)


def split(batch: Batch, *counts: int) -> list[Batch]:
    """Split a batch into batches of the given sizes.

    Args:
        batch: Images and maps.
        counts: The sizes; the rest is dropped.
    """
    ends = np.cumsum(counts)
    return [
        Batch(batch.images[end - count : end], batch.maps[end - count : end])
        for count, end in zip(counts, ends, strict=True)
    ]


def _gradients_through(subject: Subject, setting: Setting, measure: str) -> Outcome:
    case = gradient_case(setting)
    return same_gradients(subject, case, [case.batch], getattr(subject.tolerances, measure))


for _setting in (*SETTINGS, *UNUSUAL_SETTINGS, *LARGE_SETTINGS):
    # Gradients of large random images are small rests of sums of opposite signs.
    _measure = "network_gradient" if math.prod(_setting.shape) > MANY_PIXELS else "gradient"
    ROWS.row(
        f"gradient/{_setting.id}",
        _measure,
        *(TRAINS_DILATED if _setting.dilated else ("training",)),
        description=f"Gradients through {_setting.clause} match the reference.",
    )(partial(_gradients_through, setting=_setting, measure=_measure))


@ROWS.row("gradient/normalization-constant", "bits", "training")
def _constant_map(subject: Subject) -> Outcome:
    """The gradient of a constant map is finite."""
    before = Conv2D(1, 1, activation="linear")
    graph = chain(before=before, normalized=MinMaxNormalize(), lifted=LIFTED)
    case = Case(graph, fixed={"before/kernel": 0.0, "before/bias": 0.0})
    found = gradients(subject.device, case, [case.batch])
    wrong = sorted(name for name, gradient in found.items() if not np.isfinite(gradient).all())
    reason = f"Not finite: {', '.join(wrong)}." if wrong else ""
    return Outcome(float(len(wrong)), 0.0, reason)


@ROWS.row("gradient/loss-constant", "bits", "training")
def _loss_of_constant_map(subject: Subject) -> Outcome:
    """The losses of a constant map, and their gradients, are finite."""
    case = replace(_small(2), fixed={"last/kernel": 0.0})
    wrong = []
    for name, kind in LOSSES.items():
        found = gradients(subject.device, case, [case.batch], kind())
        finite = all(np.isfinite(gradient).all() for gradient in found.values())
        wrong += [] if finite else [name]
    reason = f"Not finite: {', '.join(wrong)}." if wrong else ""
    return Outcome(float(len(wrong)), 0.0, reason)


def _small(count: int) -> Case:
    return Case(chain(first=Conv2D(4), last=MIX, lifted=LIFTED), (count, 6, 10))


def _gradients_of(subject: Subject, loss: Loss | None = None, count: int = 3) -> Outcome:
    case = _small(count)
    return same_gradients(subject, case, [case.batch], subject.tolerances.gradient, loss)


for _name, _phrase, _loss in (
    (name, f"loss {name}", kind()) for name, kind in LOSSES.items() if name != "kld"
):
    ROWS.row(
        f"gradient/loss-{_name}",
        "gradient",
        "training",
        description=f"The gradient of the {_phrase} matches the reference.",
    )(partial(_gradients_of, loss=_loss))


@ROWS.row("gradient/loss-sum", "gradient", "training")
def _loss_sums(subject: Subject) -> Outcome:
    """The gradients of weighted sums match the reference, also of two batches and of one term."""
    case = _small(3)
    tolerance = subject.tolerances.gradient
    return worst(
        *(
            same_gradients(subject, case, split(case.batch, *counts), tolerance, loss)
            for loss in SUMS
            for counts in ((3,), (1, 1, 1))
        )
    )


for _count in (9, 33, 130):
    ROWS.row(
        f"gradient/batch-{_count}",
        "gradient",
        "training",
        description=f"In a batch of {_count}, every image contributes equally to the gradient.",
    )(partial(_gradients_of, count=_count))


@ROWS.row("gradient/large-batch", "network_gradient", "training")
def _large_batch(subject: Subject) -> Outcome:
    """In a batch of three images of 240x320 pixels, each contributes to the gradient."""
    case = Case(chain(first=Conv2D(4), last=MIX, lifted=LIFTED), (3, 240, 320))
    return same_gradients(subject, case, [case.batch], subject.tolerances.network_gradient)


@ROWS.row("gradient/relu-at-zero", "bits", "training")
def _relu_at_zero(subject: Subject) -> Outcome:
    """A ReLU whose inputs are all zero passes no gradient on."""
    before, dead = Conv2D(3, 1, activation="linear"), Conv2D(3, 1)
    graph = chain(before=before, dead=dead, last=MIX, lifted=LIFTED)
    case = Case(graph, (2, 6, 8), fixed={"dead/kernel": 0.0, "dead/bias": 0.0})
    found = gradients(subject.device, case, [case.batch])
    wrong = [name for name, value in found.items() if value.any() and name != "last/kernel"]
    reason = f"Not zero: the gradients of {', '.join(wrong)}." if wrong else ""
    return Outcome(float(len(wrong)), 0.0, reason)


@ROWS.row("gradient/empty-true", "gradient", "training")
def _empty_true(subject: Subject) -> Outcome:
    """An empty true map leaves the gradient of the other images alone."""
    case = _small(3)
    case.batch.maps[1] = 0
    return same_gradients(subject, case, [case.batch], subject.tolerances.gradient)


@ROWS.row("gradient/pool-ties", "gradient", "training")
def _ties(subject: Subject) -> Outcome:
    """A pool passes the gradient on once for several equal values, not once for each.

    All pixels are equal, so that it does not matter which one gets the gradient.
    """
    before, after = Conv2D(3, 1, activation="linear"), Conv2D(1, activation="linear")
    graph = chain(before=before, pool=MaxPool2D(), after=after, lifted=LIFTED)
    case = Case(graph, (2, 8, 12), 0.7, 0.7)
    return same_gradients(subject, case, [case.batch], subject.tolerances.gradient)


@ROWS.row("gradient/network", "network_gradient", *TRAINS_DILATED)
def _network(subject: Subject) -> Outcome:
    """The gradient of every parameter of a narrow MSI-Net matches the reference."""
    case = narrow_network(count=1)
    return same_gradients(subject, case, [case.batch], subject.tolerances.network_gradient)


@ROWS.row("gradient/accumulated", "network_gradient", *TRAINS_DILATED, "dynamic_shapes")
def _accumulated(subject: Subject) -> Outcome:
    """Two batches of unequal size have the gradient of one joint batch."""
    case = narrow_network(count=3)
    parts = split(case.batch, 1, 2)
    return same_gradients(subject, case, parts, subject.tolerances.network_gradient)


@ROWS.row("gradient/accumulated-many", "gradient", "training", "dynamic_shapes")
def _accumulated_many(subject: Subject) -> Outcome:
    """Forty batches, equal and unequal, have the gradient of one joint batch."""
    case = _small(46)
    parts = split(case.batch, 2, 2, 1, 3, 2, 2, *[1] * 34)
    return same_gradients(subject, case, parts, subject.tolerances.gradient)
