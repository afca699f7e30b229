"""Rows about the losses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from msinet_core.conformance.cases import MIX, Case, Float32, chain
from msinet_core.conformance.comparison import Outcome, compare, worst
from msinet_core.conformance.scenario import Check, Rows, Subject
from msinet_core.network.loss import (
    Correlation,
    KLDivergence,
    Loss,
    ScanpathSaliency,
    Similarity,
    WeightedSum,
)
from msinet_core.network.state import Batch

ROWS = Rows()


def _loss(
    change: Callable[[Float32, Float32], None],
    shape: tuple[int, int, int] = (3, 7, 10),
    loss: Loss | None = None,
) -> Check:
    """Compare the losses of given true and predicted maps; the graph only copies its input.

    Args:
        change: Changes true and predicted maps, ``(N, H, W, 1)``, in place.
        shape: ``(N, H, W)`` of the maps.
        loss: None for the default.
    """

    def check(subject: Subject) -> Outcome:
        case = Case(chain(1, copy=MIX), shape, low=0.0, fixed={"copy/kernel": 1.0})
        batch = Batch(case.images.copy(), case.batch.maps.copy())
        change(batch.maps, batch.images)
        models = subject.compile(case.graph, case.state, loss or KLDivergence())
        actual, expected = (np.asarray(model.eval_step(batch)) for model in models)
        return compare(actual, expected, subject.tolerances.loss)

    return check


def _random(true: Float32, predicted: Float32) -> None:
    pass


def _empty_true(true: Float32, predicted: Float32) -> None:
    true[1] = 0


def _empty_predicted(true: Float32, predicted: Float32) -> None:
    predicted[1] = 0


def _constant(true: Float32, predicted: Float32) -> None:
    true[0], predicted[1] = 0.5, 0.25
    true[2], predicted[2] = 1.0, 0.125


def _nearly_constant(true: Float32, predicted: Float32) -> None:
    """Make every addition to a running sum in float32 round in the same direction."""
    predicted[...] = 0.7003 + 1e-4 * predicted
    true[...] = 0.3001 + 1e-4 * true
    true[:, : true.shape[1] // 2] = 0


def _correlated(true: Float32, predicted: Float32) -> None:
    """Keep 1 - CC and NSS away from zero, where rounding decides."""
    true[...] = (true + predicted) / 2


for _name, _description, _check in (
    ("random", "The loss of each image matches the reference.", _loss(_random)),
    ("empty-true", "The loss of an empty true map is finite.", _loss(_empty_true)),
    ("empty-predicted", "The loss of an empty predicted map is finite.", _loss(_empty_predicted)),
    ("constant", "The loss of constant maps matches the reference.", _loss(_constant)),
    ("batch-9", "In a batch of 9, each image has its own loss.", _loss(_random, (9, 6, 10))),
    ("batch-33", "In a batch of 33, each image has its own loss.", _loss(_random, (33, 4, 6))),
    ("batch-130", "In a batch of 130, each image has its own loss.", _loss(_random, (130, 4, 6))),
    (
        "epsilon",
        "The loss with an epsilon of 0.01 matches the reference.",
        _loss(_random, loss=KLDivergence(epsilon=0.01)),
    ),
    (
        "240x320",
        "The loss of maps of 240x320 pixels matches the reference: sums lose no digits.",
        _loss(_nearly_constant, (2, 240, 320)),
    ),
    (
        "batch-3-large",
        "Each of three maps of 240x320 pixels has its own loss.",
        _loss(_random, (3, 240, 320)),
    ),
):
    ROWS.row(f"loss/{_name}", "loss", "training", description=_description)(_check)


SUMS = (
    WeightedSum(((1.0, KLDivergence()), (0.5, Correlation()), (0.25, ScanpathSaliency()))),
    WeightedSum(((1.0, KLDivergence()), (2.0, Correlation()), (0.5, ScanpathSaliency()))),
    WeightedSum(((1.0, KLDivergence()), (0.5, Similarity()))),
    WeightedSum(((0.5, Correlation()),)),
)
SUM = SUMS[0]

for _name, _other in (("cc", Correlation()), ("sim", Similarity()), ("nss", ScanpathSaliency())):
    for _change, _shape, _suffix, _of in (
        (_random, (3, 7, 10), "", "each image"),
        (_empty_true, (3, 7, 10), "-empty-true", "a batch with an empty true map"),
        (_constant, (3, 7, 10), "-constant", "constant maps"),
        (_correlated, (2, 240, 320), "-240x320", "maps of 240x320 pixels"),
    ):
        if (_name, _change) == ("nss", _constant):
            continue  # 0 up to rounding; gradient/loss-constant checks that it is finite
        ROWS.row(
            f"loss/{_name}{_suffix}",
            "loss",
            "training",
            description=f"The loss {_name} of {_of} matches the reference.",
        )(_loss(_change, _shape, replace(_other, epsilon=1e-3) if "const" in _suffix else _other))


@ROWS.row("loss/sum", "loss", "training")
def _sums(subject: Subject) -> Outcome:
    """Weighted sums of losses match the reference, one after another."""
    return worst(*(_loss(_random, loss=loss)(subject) for loss in SUMS))
